"""Videos show what a player shows, frame after frame."""

import fractions
import io
import logging
import shutil

import numpy as np
import PIL.Image
import pytest
from video_files import FILES, pictures, with_edits, without_packets, write_video

from lvm_jax import images
from lvm_jax.data import loading
from lvm_jax.sentences import frames
from lvm_jax.sentences.spec import ImageRef

av = pytest.importorskip("av")

BACKGROUND = (10, 200, 30)


def read_all(path, **options):
    """Every frame, forwards by one reader; the count is exact, and frames alone are the same."""
    count = frames.count_frames(path)
    readers = frames.FrameReaders(background=BACKGROUND, **options)
    shown = [readers.read(str(path), number) for number in range(count)]
    for number in np.random.default_rng(0).permutation(count)[:3]:
        alone = frames.read_frame(path, number, background=BACKGROUND)
        np.testing.assert_array_equal(alone, shown[number])
    with pytest.raises(images.ImageError, match=rf"past frame {count - 1} .*frame {count} is"):
        readers.read(str(path), count)
    return shown


def require_frames(found, whole, numbers):
    """These frames of the whole video, pixel for pixel."""
    assert len(found) == len(numbers)
    for picture, number in zip(found, numbers):
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
    found = read_all(FILES / name)
    assert len(found) == count and {picture.shape for picture in found} == {shape}


def test_a_video_that_was_cut_without_encoding_is_a_part_of_the_whole():
    found = read_all(FILES / "cut.mp4")
    require_frames(found, read_all(FILES / "whole.mp4"), range(15, 60))


@pytest.mark.parametrize("name", ["qtrle.mov", "vp9.webm"])
def test_transparent_videos_lie_on_the_background(name):
    for picture in read_all(FILES / name):
        outside = np.ones((64, 64), bool)
        outside[15:49, 15:49] = False
        assert (picture[outside] == BACKGROUND).all()
        inside = picture[20:44, 20:44]  # codecs that lose something blur the edge
        assert np.abs(inside - (220.0, 30, 30)).max() <= 4  # YUV is coarser


@pytest.mark.parametrize(
    "name,row,column", [("upright", 0, 0), ("turned", 0, 1), ("mirrored", 0, 1)]
)
def test_the_bright_quarter_is_where_players_show_it(name, row, column):
    picture = read_all(FILES / f"{name}.mp4")[0]
    bright = picture.reshape(2, 32, 2, 32, 3).mean((1, 3, 4)) > 128
    assert bright[row, column] and bright.sum() == 1


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
    found = read_all(without_packets(tmp_path / file, range(left_out)))
    assert len(found) >= 40 - 26  # from the next group of pictures on, or the one behind it
    require_frames(found, shown, range(40 - len(found), 40))


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
        found = read_all(cut)
        assert 5 < len(found) < 60
        require_frames(found[:-1], shown_stream, range(len(found) - 1))
        cut = tmp_path / f"{share}.mp4"  # with its index at the end
        cut.write_bytes(data[: int(share * len(data))])
        for read in (frames.count_frames, lambda path: frames.read_frame(path, 0)):
            with pytest.raises(images.ImageError, match=rf"cannot read video .*{share}\.mp4: "):
                read(cut)


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
        found = read_all(tmp_path / name)
        assert len(found) == 7
        gray = [float(picture[40:].mean()) for picture in found]
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
    for read in (frames.count_frames, lambda path: frames.read_frame(path, 0)):
        with pytest.raises(images.ImageError, match=r"a\.mkv: it has no video stream"):
            read(path)


# How pixels are shown.

TURNS = {
    # What a pixel of the stored picture at (x, y) goes to: (ax + cy, bx + dy).
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, 1, 1, 0): lambda p: p.swapaxes(0, 1),
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (0, -1, 1, 0): lambda p: np.rot90(p),
    (0, -1, -1, 0): lambda p: p.swapaxes(0, 1)[::-1, ::-1],
}


@pytest.mark.parametrize("matrix", TURNS)
def test_all_eight_ways_to_turn_and_mirror(tmp_path, matrix):
    rng = np.random.default_rng(0)
    stored = [np.kron(rng.integers(0, 256, (4, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)]
    a, b, c, d = (value << 16 for value in matrix)
    for name, codec, pixels in (("a.mov", "png", "rgb24"), ("a.mp4", "libx264", "yuv420p")):
        path = tmp_path / name

        def prepare(stream):
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])

        write_video(path, stored * 3, codec, pixels=pixels, prepare=prepare)
        plain = tmp_path / f"plain_{name}"
        write_video(plain, stored * 3, codec, pixels=pixels)
        for turned, upright in zip(read_all(path), read_all(plain), strict=True):
            np.testing.assert_array_equal(turned, TURNS[matrix](upright))
    np.testing.assert_array_equal(read_all(tmp_path / "a.mov")[0], TURNS[matrix](stored[0]))


@pytest.mark.parametrize(
    "aspect,size",
    [((2, 1), (128, 48)), ((1, 2), (64, 96)), ((16, 15), (68, 48)), ((1, 1), (64, 48))],
)
def test_pixels_are_square(tmp_path, aspect, size):
    stored = pictures(3, height=48)

    def prepare(stream):
        stream.codec_context.sample_aspect_ratio = fractions.Fraction(*aspect)

    path = tmp_path / "a.mov"
    write_video(path, stored, "qtrle", pixels="rgb24", prepare=prepare)
    for picture, original in zip(read_all(path), stored, strict=True):
        expected = PIL.Image.fromarray(original).resize(size, PIL.Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(picture, np.asarray(expected))
    with pytest.raises(images.ImageError, match=rf"a\.mov has {size[0]}x{size[1]} pixels, more"):
        frames.read_frame(path, 0, max_pixels=size[0] * size[1] - 1)


def test_pixels_are_made_square_before_the_picture_is_turned(tmp_path):
    def prepare(stream):
        stream.codec_context.sample_aspect_ratio = fractions.Fraction(2, 1)
        stream.set_display_matrix([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30])

    write_video(tmp_path / "a.mp4", pictures(3, height=48), prepare=prepare)
    assert read_all(tmp_path / "a.mp4")[0].shape == (128, 48, 3)


SEE_THROUGH = {
    "qtrle": ("a.mov", "qtrle", "argb", 0),
    "png": ("a.mov", "png", "rgba", 0),
    "prores": ("a.mov", "prores_ks", "yuva444p10le", 8),
    "ffv1": ("a.mkv", "ffv1", "bgra", 0),
    "ffv1 in YUV": ("a.mkv", "ffv1", "yuva420p", 6),
    "vp8": ("a.webm", "libvpx", "yuva420p", 16),
    "vp9": ("a.webm", "libvpx-vp9", "yuva420p", 16),
}


@pytest.mark.parametrize("name", SEE_THROUGH)
def test_what_is_transparent_is_laid_over_the_background(tmp_path, name):
    file, codec, pixels, tolerance = SEE_THROUGH[name]
    options = {"auto-alt-ref": "0"} if name == "vp8" else {}
    stored = np.empty((64, 64, 4), np.uint8)
    stored[..., :3] = 200, 60, 100
    stored[..., 3] = np.repeat([0, 128, 255, 128], 16)[:, None]
    write_video(tmp_path / file, [stored] * 3, codec, pixels=pixels, options={"b": "4M", **options})
    alpha = stored[..., 3:] / 255
    expected = stored[..., :3] * alpha + np.array(BACKGROUND) * (1 - alpha)
    for picture in read_all(tmp_path / file):
        # Edges are blurred by codecs that lose something.
        inside = np.arange(64) % 16 // 4 % 3 > 0
        difference = np.abs(picture[inside] - expected[inside])
        assert difference.max() <= max(tolerance, 1), difference.max()


def luma_and_chroma(color, red, blue, full):
    """Y, Cb, Cr in 0..255 of red, green, blue in 0..255, by the matrix of these two weights."""
    r, g, b = (value / 255 for value in color)
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    if full:
        return [255 * y, 127.5 + 255 * cb + 0.5, 127.5 + 255 * cr + 0.5]
    return [16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr]


PATCHES = [(235, 30, 20), (20, 200, 40), (10, 20, 230), (128, 128, 128), (255, 255, 255), (0, 0, 0)]
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593), 2: (0.299, 0.114)}


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv422p10le"])
@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_colors_follow_matrix_and_range(tmp_path, matrix, color_range, pixels):
    values = [luma_and_chroma(color, *WEIGHTS[matrix], color_range == 2) for color in PATCHES]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32 * len(PATCHES), 32, pixels
        frame = av.VideoFrame(stream.width, stream.height, pixels)
        for owner in (stream.codec_context, frame):
            owner.colorspace, owner.color_range = matrix, color_range
        bits = 10 if "10" in pixels else 8
        for number, plane in enumerate(frame.planes):
            each = np.array([value[number] for value in values]) * 2 ** (bits - 8)
            row = np.repeat(np.rint(each), 32 * plane.width // stream.width)
            data = row.astype(f"<u{(bits + 7) // 8}").tobytes().ljust(plane.line_size, b"\0")
            plane.update(data * plane.height)
        output.mux([*stream.encode(frame), *stream.encode()])
    (picture,) = read_all(path)
    # Y, Cb and Cr are rounded, each by half a step; colors of limited range have 219 steps, and
    # the conversion of 10 bits dithers by another one.
    np.testing.assert_allclose(picture[16, 16::32], PATCHES, atol=4 if bits == 10 else 2)


@pytest.mark.parametrize(
    "pixels,codec", [("gray", "ffv1"), ("gray16le", "ffv1"), ("yuvj420p", "mjpeg")]
)
def test_gray_and_full_range(tmp_path, pixels, codec):
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[:, None], (64, 64, 3))
    options = {"qmin": "1", "qmax": "1"} if codec == "mjpeg" else {}
    write_video(tmp_path / "a.mkv", [ramp.copy()], codec, pixels=pixels, options=options)
    (picture,) = read_all(tmp_path / "a.mkv")
    assert np.abs(picture.astype(int) - ramp).max() <= (5 if codec == "mjpeg" else 1)


# What is beside the pixels.


@pytest.mark.parametrize(
    "name", ["a: b.mp4", "50%d.mp4", "-a.mp4", "http:a.mp4", "caf\udce9.mp4", "#a.mp4"]
)
def test_any_name(tmp_path, monkeypatch, name):
    shutil.copy(FILES / "wide.mp4", tmp_path / name)
    assert len(read_all(tmp_path / name)) == 3
    monkeypatch.chdir(tmp_path)
    assert frames.count_frames(name) == 3 and frames.read_frame(name, 2).shape == (64, 128, 3)


def test_texts_that_are_no_utf8_do_not_matter(tmp_path):
    path = tmp_path / "a.mkv"
    write_video(path, pictures(3), prepare=lambda stream: stream.metadata.update(title="ABCDEFGH"))
    path.write_bytes(path.read_bytes().replace(b"ABCDEFGH", b"\xff\xfe\xe9DEFGH"))
    assert len(read_all(path)) == 3


def test_exif_of_the_frames_of_a_video(tmp_path):
    """PyAV 18 has no name for it, but says how far to turn."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    PIL.Image.fromarray(pictures(1, width=96)[0]).save(buffer, "JPEG", exif=exif)
    with av.open(str(tmp_path / "a.mov"), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        stream.codec_context.open()
        for number in range(3):
            packet = av.Packet(buffer.getvalue())
            packet.stream, packet.time_base = stream, stream.codec_context.time_base
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            output.mux(packet)
    found = read_all(tmp_path / "a.mov")
    assert len(found) == 3
    buffer.seek(0)
    expected = np.rot90(np.asarray(PIL.Image.open(buffer)), -1)
    assert np.abs(found[0].astype(int) - expected).mean() < 3  # two decoders of JPEG


def test_what_is_damaged_is_said_once(tmp_path, caplog):
    path = tmp_path / "a.webm"
    write_video(path, pictures(24), "libvpx", options={"g": "12"})
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert len(read_all(path)) == 24 and not caplog.text
        assert len(read_all(without_packets(path, range(5)))) == 12
    assert caplog.text.count("7 of 19 packets do not decode and are passed over") == 1


def test_the_background_of_the_config_reaches_videos():
    made = loading.SquareLoader(images.ImageConfig(background=BACKGROUND), 64, 2**20)
    for name in ("qtrle.mov", "vp9.webm"):
        pixels = made.load_one(ImageRef(path=str(FILES / name), frame=1))
        assert (pixels[0, 0] == BACKGROUND).all() and pixels[32, 32, 0] > 200
