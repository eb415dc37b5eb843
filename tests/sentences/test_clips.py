"""Frames of clips: which, in which order, from folders, animations and videos."""

import concurrent.futures
import logging

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.frames import frame_readers
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences import clips
from lvm_jax.sentences.kinds import KINDS
from tests.toys import pixels_of

SIZE = 16


def gray(value):
    return np.full((SIZE, SIZE, 3), value, np.uint8)


def value_of(ref):
    """The gray value that tells a test's frame."""
    return round(float(pixels_of(ref, SIZE).mean()))


def write_frames(folder, values):
    for number, value in enumerate(values):
        images.write_image(folder / f"frame_{number + 1}.png", gray(value))


def write_animation(path, values):
    first, *rest = [PIL.Image.fromarray(gray(value)) for value in values]
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=rest, duration=40, **options)


def write_video(path, values, size=SIZE):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for value in values:
            picture = np.full((size, size, 3), value, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    write_frames(root / "long", range(0, 240, 2))  # 120 frames
    write_frames(root / "deep" / "short", range(0, 240, 10))  # 24 frames
    return root


def frame_numbers(sentence, step=2):
    """Which frames a sentence shows, of a clip whose gray values grow by `step`."""
    return [value_of(ref) // step for ref in sentence.images]


def test_frames_come_in_order_at_the_strides_given(root):
    source = KINDS["video"](
        folder=str(root), include=("long",), frames_per_sentence=4, strides=(10, 20, 30)
    )
    seen = set()
    for index in range(40):
        shown = frame_numbers(source.sentence(0, 0, index))
        steps = set(np.diff(shown).tolist())
        assert len(shown) == 4 and len(steps) == 1 and steps <= {10, 20, 30}
        seen |= steps
    assert seen == {10, 20, 30}
    starts = {source.sentence(0, 0, index).images[0].path for index in range(40)}
    assert len(starts) > 15


def test_a_short_clip_takes_the_largest_stride_that_fits(root):
    source = KINDS["video"](folder=str(root), frames_per_sentence=4, strides=(2, 7, 30))
    assert [clip.key for clip in source.items] == ["deep/short", "long"]
    steps = {"deep/short": set(), "long": set()}
    for index in range(60):
        sentence = source.sentence(0, 0, index)
        values = [
            value_of(ref) // (10 if sentence.key == "deep/short" else 2) for ref in sentence.images
        ]
        steps[sentence.key] |= set(np.diff(values).tolist())
    assert steps == {"deep/short": {2, 7}, "long": {2, 7, 30}}


def test_clips_that_are_too_short_are_named(root, caplog):
    source = KINDS["video"](folder=str(root), frames_per_sentence=4, strides=(10,))
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert [clip.key for clip in source.items] == ["long"]
    assert "1 of 2 clips have fewer than 31 frames" in caplog.text
    assert "deep/short (24)" in caplog.text
    none = KINDS["video"](folder=str(root), frames_per_sentence=16, strides=(10,))
    with pytest.raises(ValueError, match=r"video: every clip in .* fewer than the 151 frames"):
        none.num_sentences()


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.mp4"])
def test_files_give_the_frames_of_folders(name, tmp_path):
    values = list(range(0, 240, 8))
    write = write_video if name.endswith("mp4") else write_animation
    write(tmp_path / name, values)
    source = KINDS["video"](folder=str(tmp_path), frames_per_sentence=5, strides=(3,))
    (clip,) = source.items
    assert (clip.key, clip.num_frames) == ("a", 30)
    loader = SquareLoader(images.ImageConfig(), SIZE, 2**20)
    for index in range(5):
        refs = source.sentence(0, 0, index).images
        assert [ref.frame for ref in refs] == list(range(refs[0].frame, refs[0].frame + 15, 3))
        for ref in refs:
            pixels = loader.load_one(ref)
            most_off = 3 if name.endswith("mp4") else 0
            assert abs(round(float(pixels.mean())) - values[ref.frame]) <= most_off
            if index == 0:  # the same when opened for this frame alone
                np.testing.assert_array_equal(pixels_of(ref, SIZE), pixels)


def test_threads_read_frames_in_any_order(tmp_path):
    write_animation(tmp_path / "a.webp", range(0, 200, 5))
    # The cache holds four frames, so most are decoded again.
    loader = SquareLoader(images.ImageConfig(), SIZE, SIZE * SIZE * 3 * 4)
    wanted = np.random.default_rng(0).integers(0, 40, 300)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        refs = (ImageRef(path=str(tmp_path / "a.webp"), frame=int(i)) for i in wanted)
        pixels = list(pool.map(loader.load_one, refs))
    assert [int(picture.mean()) for picture in pixels] == [5 * i for i in wanted]


def test_one_pass_over_a_file_opens_it_once(tmp_path, monkeypatch):
    write_animation(tmp_path / "a.webp", range(0, 200, 5))
    opened = []
    original = frame_readers._open
    monkeypatch.setattr(
        frame_readers, "_open", lambda path, *more: opened.append(path) or original(path, *more)
    )
    readers = frame_readers.FrameReaders()
    for frame in (0, 3, 4, 30, 39, 12):
        readers.read(str(tmp_path / "a.webp"), frame)
    assert len(opened) == 2  # once forwards, and again for the earlier frame


def test_a_video_with_packets_that_do_not_decode_holds_the_others(tmp_path, caplog):
    path = tmp_path / "broken.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, 40), size=64)
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        packets = [packet.pos for packet in container.demux(video=0) if packet.size]
    whole = [frame_readers.read_frame(path, number) for number in range(40)]
    data = bytearray(path.read_bytes())
    start, stop = packets[20], packets[39]
    data[start:stop] = bytes(stop - start)  # the index of the file still promises 40 frames
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert frame_readers.count_frames(path) == 21
    assert "broken.mp4: 19 of 40 packets do not decode" in caplog.text
    for number in range(20):
        np.testing.assert_array_equal(frame_readers.read_frame(path, number), whole[number])
    assert frame_readers.read_frame(path, 20).shape == (64, 64, 3)
    with pytest.raises(images.ImageError) as caught:
        frame_readers.read_frame(path, 21)
    message = str(caught.value)
    assert "\n" not in message and "broken.mp4 does not decode past frame 20" in message
    assert "frame 21 is wanted" in message


def test_a_frame_beyond_the_end_is_named(tmp_path):
    write_animation(tmp_path / "a.gif", range(0, 50, 5))
    message = r"a\.gif does not decode past frame 9 \(it ends there\), but frame 12 is wanted"
    with pytest.raises(images.ImageError, match=message):
        frame_readers.read_frame(tmp_path / "a.gif", 12)


@pytest.mark.parametrize("name", ["no.mp4", "no.gif"])
def test_a_file_that_is_no_video_is_named(name, tmp_path):
    if name.endswith("mp4"):
        pytest.importorskip("av")
    (tmp_path / name).write_bytes(b"nothing of the kind" * 9)
    for read in (frame_readers.count_frames, lambda path: frame_readers.read_frame(path, 0)):
        with pytest.raises(images.ImageError, match=rf"cannot read video .*{name}: "):
            read(tmp_path / name)


def test_upright_films_stand_upright(tmp_path):
    path = tmp_path / "upright.mp4"
    av = pytest.importorskip("av")
    write_video(path, [90] * 3)
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32] = 255  # bright on the left
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode()])
    data = bytearray(path.read_bytes())
    # The track header's matrix: turn clockwise by 90 degrees when shown.
    matrix = data.index(b"tkhd") + 4 + 40
    turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30]
    data[matrix : matrix + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in turned)
    path.write_bytes(data)
    shown = frame_readers.read_frame(path, 0)
    assert shown.shape == (64, 32, 3)
    assert shown[:28].min() > 200 and shown[36:].max() < 50, "the left became the top"


def test_views_turn_around(tmp_path):
    write_frames(tmp_path / "chair", range(0, 240, 10))  # 24 views
    write_frames(tmp_path / "vase", range(0, 60, 10))  # 6 views
    source = KINDS["multiview"](folder=str(tmp_path), strides=(1, 3))
    assert (source.fewest_images, source.images_per_sentence) == (2, 16)
    steps, starts = set(), set()
    for index in range(60):
        sentence = source.sentence(0, 0, index)
        views = frame_numbers(sentence, 10)
        size = 24 if sentence.key == "chair" else 6
        step = (np.diff(views) % size).tolist()
        assert len(set(step)) == 1 and len(set(views)) == len(views)
        steps.add((sentence.key, len(views), step[0]))
        starts.add((sentence.key, views[0]))
    assert steps == {
        *(("chair", 16, 1), ("chair", 16, 23), ("chair", 8, 3), ("chair", 8, 21)),
        *(("vase", 6, 1), ("vase", 6, 5), ("vase", 2, 3)),
    }
    assert len(starts) > 20


@pytest.mark.parametrize("layout", ["interleaved", "split", "mixed"])
def test_annotated_videos(layout, root, tmp_path):
    write_frames(tmp_path / "long", range(1, 240, 2))  # one brighter than the frames
    source = KINDS["annotated_video"](
        folder=str(root),
        annotation_folder=str(tmp_path),
        include=("long",),
        frames_per_sentence=3,
        strides=(5,),
        layout=layout,
        crop=(0.5, 1.0),
        flip=True,
    )
    seen = set()
    for index in range(20):
        sentence = source.sentence(0, 0, index)
        assert len({(ref.crop, ref.flip) for ref in sentence.images}) == 1
        values = [value_of(ref) for ref in sentence.images]
        assert len(values) == source.images_per_sentence == 6
        first = values[0]
        if values[1] == first + 1:
            assert values == [first, first + 1, first + 10, first + 11, first + 20, first + 21]
            seen.add("interleaved")
        else:
            assert values == [first, first + 10, first + 20, first + 1, first + 11, first + 21]
            seen.add("split")
    assert seen == ({"interleaved", "split"} if layout == "mixed" else {layout})


def test_annotated_videos_without_partner_are_named(root, tmp_path):
    values = {"folder": str(root), "annotation_folder": str(tmp_path), "strides": (1,)}
    make = KINDS["annotated_video"]
    write_frames(tmp_path / "long", range(0, 238, 2))  # 119 frames
    with pytest.raises(ValueError, match=r"clip deep/short of .* has no annotation"):
        _ = make(**values).items
    with pytest.raises(ValueError, match=r"clip long: frames frame_120 are only in one of"):
        _ = make(**values, exclude=("deep/*",)).items
    (tmp_path / "long").rename(tmp_path / "old")
    write_animation(tmp_path / "long.gif", range(50))
    with pytest.raises(ValueError, match=r"clip long has 120 frames in .* but 50 in"):
        _ = make(**values, include=("long",)).items


def test_folders_by_pattern_share_keys(tmp_path):
    for model in ("chair", "vase"):
        for part in ("color", "depth"):
            write_frames(tmp_path / model / part, range(4))
    clips_by_key = clips.find_clips(str(tmp_path / "*" / "color"))
    assert list(clips_by_key) == ["chair", "vase"]
    with pytest.raises(ValueError, match=r"no folder matches"):
        clips.find_clips(str(tmp_path / "*" / "normal"))


@pytest.mark.parametrize(
    "kind,values,message",
    [
        ("video", {"strides": ()}, r"^strides=\(\)"),
        ("video", {"strides": (0, 3)}, r"^strides=\(0, 3\)"),
        ("video", {"frames_per_sentence": 0}, r"^frames_per_sentence=0"),
        ("multiview", {"views_per_sentence": 1}, r"^views_per_sentence=1"),
        ("multiview", {"strides": (-1,)}, r"^strides=\(-1,\)"),
    ],
)
def test_bad_values_name_their_key(kind, values, message):
    with pytest.raises(ValueError, match=message):
        KINDS[kind](folder="x", **values)


def test_a_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no clips"):
        clips.find_clips(str(tmp_path))


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ValueError, match=r"pip install 'lvm_jax\[video\]'"):
        frame_readers.count_frames(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"lvm_jax\[video\]"):
        frame_readers.read_frame(tmp_path / "a.mp4", 3)
