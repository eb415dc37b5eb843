"""Sources whose files have odd names: partners, patterns, keys."""

import os
import pathlib
import unicodedata

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences.kinds import KINDS
from tests.toys import pixels_of

COMPOSED, APART = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))
ODD = ["a\nb", "-rf", "'\"`$x", "a#1", "a|b", "[v2]?", "a+b", " ", "x" * 251, os.fsdecode(b"\xe9")]


def write_pictures(root, *names):
    for name in names:
        images.write_image(pathlib.Path(root, f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
    return str(root)


def keys(kind, **values):
    return [item.key for item in KINDS[kind](**values).items]


def test_any_name_has_a_partner_of_that_name(tmp_path):
    folder, other = write_pictures(tmp_path / "a", *ODD), write_pictures(tmp_path / "b", *ODD)
    assert keys("annotation", folder=folder, annotation_folder=other) == sorted(ODD)
    source = KINDS["annotation"](folder=folder, annotation_folder=other, pairs_per_sentence=1)
    seen = {source.sentence(0, 0, index).key for index in range(len(ODD))}
    assert seen == set(ODD)
    os.remove(f"{other}/{ODD[-1]}.png")
    with pytest.raises(ValueError, match=r"udce9\.png has no annotation"):
        keys("annotation", folder=folder, annotation_folder=other)
    assert ODD[-1] not in keys(
        "annotation", folder=folder, annotation_folder=other, exclude=(ODD[-1],)
    )


@pytest.mark.parametrize("field", ["include", "exclude"])
@pytest.mark.parametrize("name", ODD)
def test_any_name_is_a_pattern_for_itself(field, name, tmp_path):
    folder = write_pictures(tmp_path, *ODD, "v")
    chosen = keys("single", folder=folder, **{field: (name,)})
    assert chosen == ([name] if field == "include" else sorted({*ODD, "v"} - {name}))


def test_brackets_in_a_folder_are_no_pattern(tmp_path):
    write_pictures(tmp_path / "set [v2]/x/color", "a")
    write_pictures(tmp_path / "set v/x/color", "b")
    write_pictures(tmp_path / "set [v2]?/color", "c")
    assert keys("single", folder=f"{tmp_path}/set [v2]/*/color") == ["x/a"]
    assert keys("single", folder=f"{tmp_path}/set [v2]?/*") == ["color/c"]
    with pytest.raises(ValueError, match=r"set \?/\*: no folder matches"):
        keys("single", folder=f"{tmp_path}/set ?/*")


@pytest.mark.parametrize("first, second", [(COMPOSED, APART), (APART, COMPOSED)])
def test_accents_match_however_they_are_composed(first, second, tmp_path):
    folder, other = (
        write_pictures(tmp_path / "a", first, "b"),
        write_pictures(tmp_path / "b", second, "b"),
    )
    pair = {"folder": folder, "annotation_folder": other}
    # The key is spelled as in `folder`, as it was when both were the same.
    assert keys("annotation", **pair) == sorted([first, "b"])
    assert keys("annotation", **pair, exclude=(second,)) == ["b"]
    groups = KINDS["multi_annotation"](folder=folder, annotation_folders=(other,)).items
    assert [item.key for item in groups] == sorted([first, "b"])
    write_pictures(tmp_path / f"{first}/k", "x")
    assert keys("single", folder=f"{tmp_path}/{second}/k") == ["x"]
    assert keys("single", folder=f"{tmp_path}/{second[:-1].rstrip('e')}*/k") == [f"{first}/x"]


@pytest.mark.parametrize("first, second", [(COMPOSED, APART), (APART, COMPOSED)])
def test_frames_and_clips_match_however_they_are_composed(first, second, tmp_path):
    # Composed, the accent comes after "f" in the order of frames, and before it otherwise.
    frames = write_pictures(tmp_path / f"a/{first}", f"{first}1", f"{first}2", "f")
    write_pictures(tmp_path / f"b/{second}", f"{second}1", f"{second}2", "f")
    values = {"frames_per_sentence": 2, "strides": (1,)}
    clips = KINDS["annotated_video"](
        folder=str(tmp_path / "a"), annotation_folder=str(tmp_path / "b"), **values
    ).items
    assert [clip.key for clip in clips] == [first] and clips[0].paths[0].startswith(frames)
    pairs = zip(clips[0].paths, clips[0].annotation.paths)
    names = [{os.path.basename(unicodedata.normalize("NFC", path)) for path in p} for p in pairs]
    assert [len(each) for each in names] == [1, 1, 1]


def test_one_class_in_two_spellings_is_one_class(tmp_path):
    write_pictures(tmp_path / COMPOSED, "a", "b")
    write_pictures(tmp_path / APART, "c")
    source = KINDS["category"](folder=str(tmp_path))
    assert [len(pictures) for pictures in source.deck.classes.values()] == [3]


def test_clips_are_what_is_in_files_without_extension(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for number in range(4):
            pixels = np.full((32, 32, 3), 60 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    os.rename(tmp_path / "a.mp4", tmp_path / ODD[-1])
    frames = [PIL.Image.new("RGB", (8, 8), (60 * number, 0, 0)) for number in range(3)]
    frames[0].save(tmp_path / "b", "GIF", save_all=True, append_images=frames[1:])
    (tmp_path / "c.txt").write_text("no clip")
    write_pictures(tmp_path / "d", "1", "2")
    (tmp_path / "d/3").write_bytes((tmp_path / "d/2.png").read_bytes())
    source = KINDS["video"](folder=str(tmp_path), frames_per_sentence=2, strides=(1,))
    assert {clip.key: clip.num_frames for clip in source.items} == {ODD[-1]: 4, "b": 3, "d": 3}
    for index in range(3):
        for ref in source.sentence(0, 0, index).images:
            assert pixels_of(ref, 8).shape == (8, 8, 3)


def test_one_name_in_two_spellings_is_refused(tmp_path):
    folder = write_pictures(tmp_path, COMPOSED, APART)
    with pytest.raises(
        ValueError, match=r"have one name, .* composed in two ways; names"
    ) as caught:
        keys("single", folder=folder)
    for spelled in (COMPOSED, APART):
        assert ascii(f"/{spelled}.png").strip("'") in str(caught.value)


def test_a_file_of_another_extension_shares_the_name(tmp_path):
    folder = write_pictures(tmp_path, "a\n1")
    images.write_image(tmp_path / "a\n1.jpg", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a\\n1\.\w+ and .*a\\n1\.\w+ share the name 'a\\n1'"):
        keys("single", folder=folder)


def test_unknown_extensions_belong_to_the_key(tmp_path):
    folder = write_pictures(tmp_path, "a", "b", "c")
    for old, new in (("a", "scan.001"), ("b", "scan.002"), ("c", "plain")):
        os.rename(f"{folder}/{old}.png", f"{folder}/{new}")
    assert keys("single", folder=folder) == ["plain", "scan.001", "scan.002"]


def test_a_name_is_not_taken_for_a_frame_or_a_crop():
    frame, name = ImageRef(path="a", frame=5), ImageRef(path="a#5")
    assert frame.key == "a#5|center||()" != name.key
    assert ImageRef(path="a|center||()|b").key != ImageRef(path="a", derivation="()|b").key
    assert len({ImageRef(path=each).key for each in ODD}) == len(ODD)
