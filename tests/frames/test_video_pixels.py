"""Frames of videos look as a player shows them."""

import fractions
import io

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.frames import frame_readers
from lvm_jax.pictures import loader
from lvm_jax.pictures.reference import ImageRef
from tests.frames.reading import BACKGROUND, read_all
from tests.frames.video_files import FILES, pictures, write_video

av = pytest.importorskip("av")


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


def test_the_background_of_the_config_reaches_videos():
    made = loader.SquareLoader(images.ImageConfig(background=BACKGROUND), 64, 2**20)
    for name in ("qtrle.mov", "vp9.webm"):
        pixels = made.load_one(ImageRef(path=str(FILES / name), frame=1))
        assert (pixels[0, 0] == BACKGROUND).all() and pixels[32, 32, 0] > 200


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
        frame_readers.read_frame(path, 0, max_pixels=size[0] * size[1] - 1)


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
    frames = read_all(tmp_path / "a.mov")
    assert len(frames) == 3
    buffer.seek(0)
    expected = np.rot90(np.asarray(PIL.Image.open(buffer)), -1)
    assert np.abs(frames[0].astype(int) - expected).mean() < 3  # two decoders of JPEG
