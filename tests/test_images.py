"""Reading, resizing and writing pictures."""

import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images


def _gradient(height=12, width=20):
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    image[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    return image


def test_png_round_trip(tmp_path):
    picture = _gradient()
    images.write_image(tmp_path / "new" / "x.png", picture)
    np.testing.assert_array_equal(images.read_image(tmp_path / "new" / "x.png"), picture)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.png"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    gray = np.repeat(_gradient()[..., :1], 3, axis=2)
    path = tmp_path / "x.tif"
    if mode == "I;16":
        image = PIL.Image.fromarray(gray[..., 0].astype(np.uint16) * 257)
    elif mode == "I":
        image = PIL.Image.fromarray(gray[..., 0].astype(np.int32) * 257)
    elif mode == "F":
        image = PIL.Image.fromarray(images.to_float(gray[..., 0]))
    else:
        image = PIL.Image.fromarray(gray).convert(mode)
        path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    assert image.mode == mode
    image.save(path)
    read = images.read_image(path)
    assert read.shape == gray.shape and read.dtype == np.uint8
    if mode != "1":  # JPEG and the web palette are lossy; the others are exact
        tolerance = {"CMYK": 6, "P": 51}.get(mode, 0)
        assert np.abs(read.astype(int) - gray).max() <= tolerance


def test_transparency_is_laid_over_white(tmp_path):
    image = np.zeros((4, 4, 4), np.uint8)
    image[:2] = (10, 20, 30, 255)
    PIL.Image.fromarray(image).save(tmp_path / "x.png")
    read = images.read_image(tmp_path / "x.png")
    assert (read[:2] == (10, 20, 30)).all() and (read[2:] == 255).all()
    palette = PIL.Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9, 1, 2, 3])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.gif", transparency=0)
    assert images.read_image(tmp_path / "p.gif").tolist() == [[[255] * 3, [1, 2, 3]]]


def test_exif_orientation_is_applied(tmp_path):
    picture = _gradient()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate 90 degrees clockwise to view
    PIL.Image.fromarray(picture).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(images.read_image(tmp_path / "x.png"), np.rot90(picture, -1))


@pytest.mark.parametrize("name", ["x.gif", "x.png", "x.tif", "x.webp"])
def test_first_frame_of_an_animation(tmp_path, name):
    frames = [PIL.Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    options = {"lossless": True} if name.endswith("webp") else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    with PIL.Image.open(tmp_path / name) as image:
        assert image.n_frames == 2
    assert (images.read_image(tmp_path / name) == (255, 0, 0)).all()


def test_unreadable_files_are_named(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    images.write_image(tmp_path / "whole.png", picture)
    images.write_image(tmp_path / "whole.jpg", picture)
    for name in ("whole.png", "whole.jpg"):
        data = (tmp_path / name).read_bytes()
        for keep in (0, 5, 30, len(data) // 2, len(data) - 200):
            bad = tmp_path / f"bad{keep}{name[-4:]}"
            bad.write_bytes(data[:keep])
            with pytest.raises(images.ImageError, match=rf"bad{keep}\..*remove or replace"):
                images.read_image(bad)
    with pytest.raises(images.ImageError, match=r"none\.png does not exist"):
        images.read_image(tmp_path / "none.png")
    with pytest.raises(images.ImageError, match="64x64 pixels, more than 100"):
        images.read_image(tmp_path / "whole.png", max_pixels=100)


def test_write_errors_name_the_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(images.ImageError, match=r"x\.png"):
        images.write_image(tmp_path / "file" / "x.png", _gradient())
    with pytest.raises(images.ImageError, match=r"extension '\.xyz'"):
        images.write_image(tmp_path / "x.xyz", _gradient())


def test_resize_crop_takes_the_centre_and_antialiases():
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 200
    # The filter reaches over the border of the crop, as it does when resizing comes first.
    assert (images.resize_crop(picture, 10)[:, 2:-2] == 200).all()
    assert images.squash(picture, 8)[:, 0].max() == 0
    # A one-pixel checkerboard becomes flat gray; sampling without a filter would alias.
    board = np.indices((64, 64)).sum(0) % 2 * 255
    small = images.resize_crop(np.repeat(board[..., None], 3, 2).astype(np.uint8), 8)
    assert np.abs(small.astype(int) - 127).max() <= 6
    np.testing.assert_array_equal(images.resize_crop(_gradient(9, 9), 9), _gradient(9, 9))


def test_float_conversions_are_inverse_and_clip():
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(images.to_uint8(images.to_float(values)), values)
    assert images.to_uint8(np.array([-1.0, 0.5, 2.0])).tolist() == [0, 128, 255]
    assert images.to_float(values).dtype == np.float32


def _scene(height=300, width=400):
    """Smooth shapes with some texture, as a photograph has."""
    y, x = np.mgrid[:height, :width] / 40
    waves = np.stack([np.sin(x + y), np.cos(x * 1.7 - y), np.sin(x * y / 3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 0.03, waves.shape)
    return images.to_uint8((waves + 1) / 2.2 + noise)


@pytest.fixture
def photo(tmp_path):
    PIL.Image.fromarray(_scene()).save(tmp_path / "photo.jpg", quality=90)
    return tmp_path / "photo.jpg"


def test_transparency_is_laid_over_the_stated_background(tmp_path):
    PIL.Image.new("RGBA", (4, 4), (250, 0, 0, 0)).save(tmp_path / "x.png")
    read = images.read_image(tmp_path / "x.png", background=(0, 128, 255))
    assert (read == (0, 128, 255)).all()
    PIL.Image.new("RGBA", (1, 1), (255, 255, 255, 51)).save(tmp_path / "x.png")
    assert images.read_image(tmp_path / "x.png", background=(0, 0, 0)).tolist() == [[[51] * 3]]


def test_a_large_jpeg_is_decoded_reduced_and_hardly_differs(photo):
    assert images.read_image(photo, min_side=150).shape == (150, 200, 3)
    assert images.read_image(photo, min_side=75).shape == (75, 100, 3)
    assert images.read_image(photo, min_side=151).shape == (300, 400, 3)
    for size in (32, 64, 75):
        reduced = images.read_image(photo, min_side=images.ImageConfig().min_side(size))
        assert len(reduced) < 300
        fast = images.resize_crop(reduced, size).astype(float)
        whole = images.resize_crop(images.read_image(photo), size)
        assert 0 < np.square(fast - whole).mean() < 4, "more than 42 dB"
    # Never fewer pixels than twice those needed, and other formats are untouched.
    assert images.ImageConfig().min_side(100, share=0.5) == 400
    images.write_image(photo.with_suffix(".png"), _scene())
    assert images.read_image(photo.with_suffix(".png"), min_side=10).shape == (300, 400, 3)
    assert images.jpeg_short_side(photo) == 300
    assert images.jpeg_short_side(photo.with_suffix(".png")) == 0


def test_a_reduced_jpeg_is_still_turned(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(_scene()).save(tmp_path / "x.jpg", exif=exif)
    assert images.read_image(tmp_path / "x.jpg", min_side=75).shape == (100, 75, 3)


def test_a_decompression_bomb_is_one_line(tmp_path):
    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    def png(side):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        data = chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
        return tmp_path / "bomb.png"

    with pytest.raises(images.ImageError, match=r"bomb\.png has more than 178956970 pixels"):
        images.read_image(png(50_000))
    assert images.jpeg_short_side(png(50_000)) == 0
    with pytest.raises(images.ImageError, match=r"2000x2000 pixels, more than 1000000; make"):
        images.read_image(png(2_000), max_pixels=1_000_000)


@pytest.mark.parametrize(
    "values",
    [{"resize": "fit"}, {"background": (0, 0, 256)}, {"max_pixels": 0}, {"max_pixels": 10**9}],
)
def test_bad_values_name_their_field(values):
    with pytest.raises(ValueError, match=rf"^{next(iter(values))}="):
        images.ImageConfig(**values)
