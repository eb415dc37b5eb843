"""Each kind of sentence shows what it says, the same for ever."""

import collections
import dataclasses
import hashlib
import logging

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.pictures import reference
from lvm_jax.sentences.kinds import KINDS
from lvm_jax.sentences.relations import Annotation, Derived
from tests.toys import pixels_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "sub/c", "sub/d", "e"):
        picture = rng.integers(1, 256, (24, 32, 3), dtype=np.uint8)
        images.write_image(root / "images" / f"{name}.png", picture)
        images.write_image(root / "masks" / f"{name}.bmp", 255 - picture)
    return root


# Pairs that need nothing but pictures, or pictures and annotations of the same names.
PAIRS = [
    kind
    for kind, source in KINDS.items()
    if issubclass(source.part_classes.get("relation", object), Derived | Annotation)
]


def make(kind, folder, **values):
    if kind == "annotation":
        values["annotation_folder"] = str(folder / "masks")
    return KINDS[kind](folder=str(folder / "images"), **values)


@pytest.mark.parametrize("kind", ["single", *PAIRS])
def test_pure_function_of_seed_epoch_and_index(kind, folder):
    values = {"crop": (0.3, 0.9), "flip": True}
    first, again = make(kind, folder, **values), make(kind, folder, **values)
    forwards = [first.sentence(1, epoch, i) for epoch in range(2) for i in range(4)]
    backwards = [again.sentence(1, epoch, i) for epoch in (1, 0) for i in (3, 2, 1, 0)]
    assert forwards == backwards[::-1]
    assert len({sentence.images for sentence in forwards}) == len(forwards)
    assert first.sentence(2, 0, 0) != forwards[0]
    for sentence in forwards:
        assert sentence.kind == kind and len(sentence.images) == first.images_per_sentence


def test_other_sources_draw_other_squares(folder):
    one, two = (make("single", folder, name=name, crop=(0.3, 0.9)) for name in "xy")
    assert one.sentence(0, 0, 0).images[0].crop != two.sentence(0, 0, 0).images[0].crop


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("same_picture", [False, True])
def test_pairs_show_one_square_of_one_picture(kind, same_picture, folder):
    values = {"pairs_per_sentence": 3, "crop": (0.4, 0.8), "flip": True}
    source = make(kind, folder, same_crop=False, same_picture=same_picture, **values)
    sentence = source.sentence(0, 0, 1)
    assert len(sentence.images) == 6
    pairs = list(zip(sentence.images[::2], sentence.images[1::2]))
    for question, answer in pairs:
        assert (question.crop, question.flip) == (answer.crop, answer.flip)
        assert question.key != answer.key
    assert len({pair[0].crop for pair in pairs}) == 3
    assert len({pair[0].path for pair in pairs}) == (1 if same_picture else 3)
    assert sentence.key.count("+") == (0 if same_picture else 2)
    shared = make(kind, folder, **values).sentence(0, 0, 1)
    assert len({(ref.crop, ref.flip) for ref in shared.images}) == 1
    assert len({ref.path for ref in shared.images[::2]}) == 3
    for several in ({}, {"same_crop": False, "crop": None}):
        with pytest.raises(ValueError, match=r"same_picture=True with .* one square 3 times; set"):
            make(kind, folder, same_picture=True, **values | several)


def test_what_each_pair_shows(folder):
    def pair(kind, **values):
        refs = make(kind, folder, pairs_per_sentence=1, **values).sentence(0, 0, 0).images
        return [pixels_of(ref, 24).astype(int) for ref in refs]

    question, answer = pair("colorization")
    assert (question[..., 0] == question[..., 2]).all() and (answer[..., 0] != answer[..., 2]).any()
    question, answer = pair("inpainting", mask_ratio=0.25)
    black = (question == 0).all(-1)
    assert black.mean() == 0.25 and (question == answer)[~black].all() and (answer > 0).all()
    question, answer = pair("edges")
    assert (answer[..., 0] == answer[..., 2]).all() and (question[..., 0] != question[..., 2]).any()
    question, answer = pair("annotation", crop=(0.5, 0.9), flip=True)
    # The mask is the negative; resizing rounds each picture by itself.
    assert np.abs(255 - question - answer).max() <= 1


def test_every_picture_is_shown_equally_often(folder, caplog):
    source = make("single", folder)
    assert source.num_sentences() == 5
    epoch = [source.sentence(0, 0, i).key for i in range(5)]
    assert sorted(epoch) == ["a", "b", "e", "sub/c", "sub/d"]
    assert [source.sentence(0, 1, i).key for i in range(5)] != epoch
    # Two sentences of two of the five pictures make a round; who is left out changes.
    pairs = make("colorization", folder, pairs_per_sentence=2)
    assert pairs.num_sentences() == 2
    keys = [[k for i in range(2) for k in pairs.sentence(0, e, i).key.split("+")] for e in range(9)]
    assert all(len(set(epoch)) == 4 for epoch in keys)
    assert {key for epoch in keys for key in epoch} == {"a", "b", "e", "sub/c", "sub/d"}
    # More pairs than pictures: they repeat, each as often as the others at most once more.
    source = make("colorization", folder, name="many", pairs_per_sentence=7)
    with caplog.at_level(logging.WARNING, logger="absl"):
        many, _ = source.sentence(0, 0, 0), source.sentence(0, 0, 1)
    assert caplog.text.count("many: a sentence takes 7 pictures, but there are 5 in") == 1
    counts = collections.Counter(ref.path for ref in many.images[::2])
    assert sorted(counts.values()) == [1, 1, 1, 2, 2]


def test_crop_sizes_lie_in_the_range(folder):
    source = make("single", folder, crop=(0.25, 0.5), sentences_per_epoch=200)
    sides = [source.sentence(0, 0, i).images[0].crop.side / reference.Crop.UNIT for i in range(200)]
    assert 0.25 <= min(sides) < 0.28 and 0.47 < max(sides) <= 0.5
    flips = [make("single", folder, flip=True).sentence(0, 0, i).images[0].flip for i in range(200)]
    assert 70 < sum(flips) < 130  # 100 +- 7


def test_include_and_exclude(folder):
    keys = lambda **v: [p.key for p in make("single", folder, **v).items]
    assert keys(include=("sub/*",)) == ["sub/c", "sub/d"]
    assert keys(exclude=("sub/*", "a")) == ["b", "e"]
    with pytest.raises(ValueError, match=r"single\.exclude: pattern 'zz\*' matches no image"):
        keys(exclude=("zz*",))
    with pytest.raises(ValueError, match="leave no image of the 5"):
        keys(include=("a",), exclude=("a",))


def test_a_pair_without_partner_is_named(folder, tmp_path):
    (tmp_path / "masks").mkdir()
    for name in ("a", "b", "e", "extra"):
        (tmp_path / "masks" / f"{name}.png").write_bytes(b"")
    values = {"folder": str(folder / "images"), "annotation_folder": str(tmp_path / "masks")}
    with pytest.raises(ValueError) as caught:
        _ = KINDS["annotation"](**values, name="depth").items
    message = str(caught.value)
    assert "\n" not in message and "depth.exclude" in message
    for part in ("images/sub/c.png has no annotation", "masks/extra.png has no image"):
        assert part in message
    source = KINDS["annotation"](**values, exclude=("sub/*", "extra"))
    assert [picture.key for picture in source.items] == ["a", "b", "e"]


def test_all_files_without_partner_are_in_the_log(folder, tmp_path, caplog):
    values = {"folder": str(folder / "images"), "annotation_folder": str(tmp_path / "masks")}
    (tmp_path / "masks").mkdir()
    for number in range(1002):
        (tmp_path / f"masks/{number}.png").touch()
    with pytest.raises(ValueError, match=r"\(and 1004 more\); every image") as caught:
        _ = KINDS["annotation"](**values, name="depth").items
    assert "\n" not in str(caught.value)
    lines = caplog.messages
    assert len(lines) == 1001 and lines[-1] == "depth: (and 7 more)"
    assert f"depth: {tmp_path}/masks/996.png has no image" in lines


@pytest.mark.parametrize(
    "kind,field",
    [("annotation", "annotation_folder"), ("annotated_video", "annotation_folder")]
    + [("label_map", "label_folder"), ("multi_annotation", "annotation_folders")],
)
def test_folders_must_be_given_and_differ(kind, field):
    def build(folder, other):
        more = {"num_labels": 2} if kind == "label_map" else {}
        other = (other,) if field.endswith("s") else other
        KINDS[kind](**{"folder": folder, field: other, "name": "it", **more})

    with pytest.raises(ValueError, match=r"^folder='' names no folder"):
        build("", "x")
    with pytest.raises(ValueError, match=rf"^{field}(\[0\])?=' ' names no folder"):
        build("x", " ")
    with pytest.raises(ValueError, match=rf"^folder=x/y/ and {field}(\[0\])?=x/z/\.\./y are"):
        build("x/y/", "x/z/../y")


def test_two_files_of_one_name_are_refused(tmp_path):
    for name in ("x.png", "x.jpg"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.jpg and .*x\.png share the name 'x'"):
        _ = KINDS["single"](folder=str(tmp_path)).items


@pytest.mark.parametrize(
    "values,key",
    [
        ({"crop": (0.0, 0.5)}, "crop"),
        ({"crop": (0.6, 0.5)}, "crop"),
        ({"crop": (0.5, 1.5)}, "crop"),
        ({"sentences_per_epoch": -1}, "sentences_per_epoch"),
        ({"pairs_per_sentence": 0}, "pairs_per_sentence"),
    ],
)
def test_bad_values_name_their_key(values, key):
    with pytest.raises(ValueError, match=rf"^{key}="):
        KINDS["colorization"](folder="x", **values)
    with pytest.raises(ValueError, match=r"^mask_ratio=1\.0"):
        KINDS["inpainting"](folder="x", name="holes", mask_ratio=1.0)
    with pytest.raises(ValueError, match=r"^sigma=-1"):
        KINDS["edges"](folder="x", sigma=-1.0)


def test_golden_sentence(folder):
    source = make("inpainting", folder, pairs_per_sentence=1, crop=(0.3, 0.9), flip=True)
    ref = source.sentence(0, 0, 0).images[0]
    name = ref.path.split("/")[-1]
    fields = (name, dataclasses.astuple(ref.crop), ref.flip, ref.parameters[0][1])
    assert fields == ("a.png", (38921, 42017, 53103), True, 4103036437)


# Written down once: a change here changes every corpus that was ever built.
GOLDENS = {
    "single": "6466b00603fccba6-15d0efb147e87093",
    "annotation": "56ae3c4153f89e09-b9fe528719f4c8a0-b43d676839198404",
    "colorization": "eb2f20297f460504-c91b84aefcc61e0c-464f21bd2489813b",
    "inpainting": "5eb4e01c396af8f4-99721316390a37a1-190325be86ec77e8",
    "edges": "639a67806ed4603c-d67d720e1a3cd0c6-30f79acc6fa33c24",
}


def digest(source, root, seeds=2, epochs=2):
    """A digest of a source's sentences, names relative to the pictures' folder."""
    rows = [
        (sentence.kind, sentence.source, sentence.key, *(ref.key for ref in sentence.images))
        for seed in range(seeds)
        for epoch in range(epochs)
        for index in range(source.num_sentences() + 1)
        for sentence in [source.sentence(seed, epoch, index)]
    ]
    text = "\n".join("\t".join(row) for row in rows).replace(f"{root.as_posix()}/", "")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("kind", GOLDENS)
def test_golden_sentences(kind, folder):
    values = {"crop": (0.3, 0.9), "flip": True, "sentences_per_epoch": 4}
    pairs = {} if kind == "single" else {"pairs_per_sentence": 2}
    hole = {"hole": "mixed"} if kind == "inpainting" else {}
    sources = [
        make(kind, folder, same_crop=False, **values, **pairs, **hole),
        make(
            kind,
            folder,
            name="other",
            same_crop=True,
            include=("a", "b", "e", "sub/*"),
            exclude=("e",),
        ),
    ]
    if pairs:
        values |= {"same_picture": True, "same_crop": False, **pairs}
        sources.append(make(kind, folder, name="third", **values))
    assert "-".join(digest(source, folder) for source in sources) == GOLDENS[kind]
