"""Videos show the frames that a player shows, in its order."""

import logging
import shutil

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.frames import frame_readers
from tests.frames.reading import read_all
from tests.frames.video_files import FILES, pictures, with_edits, without_packets, write_video

av = pytest.importorskip("av")


def require_frames(frames, whole, numbers):
    """These frames of the whole video, pixel for pixel."""
    assert len(frames) == len(numbers)
    for picture, number in zip(frames, numbers):
        np.testing.assert_array_equal(picture, whole[number], f"frame {number}")


# The rows of faults that were reported for other software.


@pytest.mark.parametrize(
    "name,count,shape",
    [
        ("whole.mp4", 60, (64, 64, 3)),
        ("cut.mp4", 45, (64, 64, 3)),
        ("mid.ts", 31, (64, 64, 3)),
        ("cover.mp4", 30, (64, 64, 3)),
        ("wide.mp4", 3, (64, 128, 3)),
        ("qtrle.mov", 3, (64, 64, 3)),
        ("vp9.webm", 3, (64, 64, 3)),
    ],
)
def test_as_many_frames_of_the_shape_that_is_shown(name, count, shape):
    frames = read_all(FILES / name)
    assert len(frames) == count and {picture.shape for picture in frames} == {shape}


def test_a_video_that_was_cut_without_encoding_is_a_part_of_the_whole():
    frames = read_all(FILES / "cut.mp4")
    require_frames(frames, read_all(FILES / "whole.mp4"), range(15, 60))


# Which frames.


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """60 pictures with references in both directions, and how each is decoded."""
    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    write_video(path, pictures(60), options={"g": "12", "x264-params": "bframes=2:scenecut=0"})
    return path, read_all(path)


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 60)],
        [(0, 10)],  # the end is hidden
        [(17, 10)],  # begins inside of a group of pictures
        [(5, 10), (30, 15)],  # the middle is hidden
        [(5, 10), (5, 10)],  # shown twice
        [(40, 10), (5, 10)],  # in another order
    ],
)
def test_edit_lists_choose_frames(tmp_path, whole, parts):
    path, shown = whole
    edits = [(40 * number, 1024 + 512 * first) for first, number in parts]
    edited = tmp_path / "edited.mp4"
    for delay in ([], [(1000, -1)]):
        edited.write_bytes(with_edits(path.read_bytes(), delay + edits))
        expected = [frame for first, number in parts for frame in range(first, first + number)]
        require_frames(read_all(edited), shown, expected)


OPEN = "scenecut=0:open-gop=1:bframes=2"
STREAMS = {
    "h264": ("a.ts", "libx264", {"g": "12", "x264-params": OPEN}),
    "hevc": ("a.ts", "libx265", {"x265-params": f"keyint=12:min-keyint=12:{OPEN}:log-level=none"}),
    "mpeg1": ("a.ts", "mpeg1video", {"g": "12", "bf": "2"}),
    "mpeg2": ("a.ts", "mpeg2video", {"g": "12", "bf": "2"}),
    "mpeg4": ("a.ts", "mpeg4", {"g": "12", "bf": "2"}),
    "msmpeg4": ("a.avi", "msmpeg4", {"g": "12"}),
    "wmv2": ("a.wmv", "wmv2", {"g": "12"}),
    "flv": ("a.flv", "flv", {"g": "12"}),
    "vp8": ("a.webm", "libvpx", {"g": "12"}),
    "vp9": ("a.webm", "libvpx-vp9", {"g": "12"}),
    "ffv1": ("a.mkv", "ffv1", {"g": "12", "level": "3"}),
}


@pytest.mark.parametrize("left_out", [1, 5, 13])
@pytest.mark.parametrize("name", STREAMS)
def test_frames_whose_references_are_missing_are_not_shown(tmp_path, name, left_out):
    file, codec, options = STREAMS[name]
    write_video(tmp_path / file, pictures(40), codec, options=options)
    shown = read_all(tmp_path / file)
    assert len(shown) == 40
    frames = read_all(without_packets(tmp_path / file, range(left_out)))
    assert len(frames) >= 40 - 26  # from the next group of pictures on, or the one behind it
    require_frames(frames, shown, range(40 - len(frames), 40))


def test_a_stream_without_any_key_frame_is_shown(tmp_path):
    write_video(tmp_path / "a.flv", pictures(10), "flv", options={"g": "100"})
    assert len(read_all(without_packets(tmp_path / "a.flv", range(1)))) == 9


def test_the_end_of_a_video_may_be_missing(tmp_path, whole):
    data = whole[0].read_bytes()
    streamed = tmp_path / "whole.ts"
    write_video(streamed, pictures(60), options={"g": "12"})
    shown_stream = read_all(streamed)
    for share in (0.3, 0.55, 0.8, 0.97):
        cut = tmp_path / f"{share}.ts"
        stream = streamed.read_bytes()
        cut.write_bytes(stream[: int(share * len(stream))])
        frames = read_all(cut)
        assert 5 < len(frames) < 60
        require_frames(frames[:-1], shown_stream, range(len(frames) - 1))
        cut = tmp_path / f"{share}.mp4"  # with its index at the end
        cut.write_bytes(data[: int(share * len(data))])
        for read in (frame_readers.count_frames, lambda path: frame_readers.read_frame(path, 0)):
            with pytest.raises(images.ImageError, match=rf"cannot read video .*{share}\.mp4: "):
                read(cut)


@pytest.mark.parametrize(
    "extension,codec,pixels",
    [("mp4", "libx264", "yuv420p"), ("mkv", "libx264", "yuv420p"), ("mov", "mjpeg", "yuvj420p")],
)
def test_frames_in_front_of_a_cut_are_whole(tmp_path, extension, codec, pixels):
    path = tmp_path / f"a.{extension}"
    muxing = {} if extension == "mkv" else {"movflags": "faststart"}  # its index at the start
    options = {"g": "12", "bf": "0"} if codec == "libx264" else {}
    write_video(path, pictures(60), codec, pixels=pixels, options=options, muxing=muxing)
    data, shown, counts = path.read_bytes(), read_all(path), []
    for share in (0.6, 0.7, 0.8, 0.9):
        cut = tmp_path / f"{share}.{extension}"
        cut.write_bytes(data[: int(share * len(data))])
        frames = read_all(cut)
        require_frames(frames, shown, range(len(frames)))
        counts.append(len(frames))
    assert counts == sorted(counts) and 0 < counts[0] < counts[-1] < 60


def test_streams_may_be_joined(tmp_path):
    path = tmp_path / "a.ts"
    write_video(path, pictures(30), options={"g": "12"})
    shown = read_all(path)
    (tmp_path / "joined.ts").write_bytes(2 * path.read_bytes())
    require_frames(read_all(tmp_path / "joined.ts"), shown, [*range(30), *range(30)])


@pytest.mark.parametrize(
    "name,muxing",
    [
        ("a.mp4", {"movflags": "negative_cts_offsets"}),
        ("a.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mp4", {"use_editlist": "0"}),
        ("a.mkv", {"live": "1"}),
        ("a.nut", {}),
        ("a.avi", {}),
    ],
)
def test_all_frames_of_a_whole_video_however_its_times_and_lengths_are_said(tmp_path, name, muxing):
    write_video(tmp_path / "plain.ts", pictures(30), options={"g": "12"})
    write_video(tmp_path / name, pictures(30), options={"g": "12"}, muxing=muxing)
    require_frames(read_all(tmp_path / name), read_all(tmp_path / "plain.ts"), range(30))


def test_packets_that_are_empty_do_not_end_a_video(tmp_path):
    with av.open(str(tmp_path / "a.avi"), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures(20)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = 3 * number  # the writer fills the gaps with empty packets
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    assert len(read_all(tmp_path / "a.avi")) == 20


def test_frames_may_last_as_long_as_they_like(tmp_path):
    times = [0, 40, 45, 300, 2000, 2001, 9000]
    for name in ("a.mkv", "a.mp4"):
        write_video(tmp_path / name, pictures(7), times=times)
        frames = read_all(tmp_path / name)
        assert len(frames) == 7
        gray = [float(picture[40:].mean()) for picture in frames]
        assert gray == sorted(gray)


# Which stream.


def test_of_two_videos_the_one_that_players_choose_is_read(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        streams = []
        for side, default in ((32, False), (48, True)):
            stream = output.add_stream("libx264", rate=25)
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
            stream.disposition = av.stream.Disposition.default if default else 0
            streams.append(stream)
        for picture in pictures(5):
            for stream in streams:
                small = np.ascontiguousarray(picture[: stream.height, : stream.width])
                output.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24")))
        for stream in streams:
            output.mux(stream.encode())
    assert {picture.shape for picture in read_all(path)} == {(48, 48, 3)}


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        sound = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        silence.sample_rate = 8000
        output.mux(sound.encode(silence))
        output.mux(sound.encode())
    for read in (frame_readers.count_frames, lambda path: frame_readers.read_frame(path, 0)):
        with pytest.raises(images.ImageError, match=r"a\.mkv: it has no video stream"):
            read(path)


# What is beside the pixels.


@pytest.mark.parametrize(
    "name", ["a: b.mp4", "50%d.mp4", "-a.mp4", "http:a.mp4", "caf\udce9.mp4", "#a.mp4"]
)
def test_any_name(tmp_path, monkeypatch, name):
    shutil.copy(FILES / "wide.mp4", tmp_path / name)
    assert len(read_all(tmp_path / name)) == 3
    monkeypatch.chdir(tmp_path)
    assert frame_readers.count_frames(name) == 3 and frame_readers.read_frame(name, 2).shape == (
        64,
        128,
        3,
    )


def test_texts_that_are_no_utf8_do_not_matter(tmp_path):
    path = tmp_path / "a.mkv"
    write_video(path, pictures(3), prepare=lambda stream: stream.metadata.update(title="ABCDEFGH"))
    path.write_bytes(path.read_bytes().replace(b"ABCDEFGH", b"\xff\xfe\xe9DEFGH"))
    assert len(read_all(path)) == 3


def test_what_is_damaged_is_said_once(tmp_path, caplog):
    path = tmp_path / "a.webm"
    write_video(path, pictures(24), "libvpx", options={"g": "12"})
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert len(read_all(path)) == 24 and not caplog.text
        assert len(read_all(without_packets(path, range(5)))) == 12
    assert caplog.text.count("7 of 19 packets do not decode and are passed over") == 1
