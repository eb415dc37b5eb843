"""Formats besides PNG, TIFF, PNM and JPEG 2000: what their samples mean, or a refusal by name."""

import struct

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.pictures import palette
from tests.image_formats.picture_files import packed


@pytest.mark.parametrize("extension", ["gif", "bmp", "tga", "png", "tif", "pcx"])
def test_palette_numbers_of_other_formats(extension, tmp_path):
    numbers = np.arange(60, dtype=np.uint8).reshape(6, 10) % 7
    image = PIL.Image.fromarray(numbers)
    image.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    image.save(tmp_path / f"x.{extension}")
    np.testing.assert_array_equal(palette.read_labels(tmp_path / f"x.{extension}", 7), numbers)


def bmp(numbers, bits, palette, header=40):
    """Numbers [H, W] of colors [N, 3], from the lowest row up."""
    rows = [row + bytes(-len(row) % 4) for row in packed(numbers[::-1], bits)]
    size = (numbers.shape[1], numbers.shape[0], 1, bits)
    facts = struct.pack("<L2l2H6L", 40, *size, 0, 0, 0, 0, len(palette), 0)
    colors = np.pad(palette[:, ::-1], ((0, 0), (0, 1))).astype(np.uint8)
    if header == 12:
        facts, colors = struct.pack("<L4H", 12, *size), colors[:, :3]
    start = 14 + len(facts) + colors.size
    return b"BM" + struct.pack("<3L", 0, 0, start) + facts + colors.tobytes() + b"".join(rows)


@pytest.mark.parametrize("header", [12, 40])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palettes_of_a_bmp_may_be_gray(bits, header, read, labels):
    for gray in ([0, 255], [255, 0], range(2), range(2**bits), range(3 * bits)):
        if header == 12 and len(gray) != 2**bits:
            continue  # as many colors as there are numbers
        colors = np.repeat(np.array(gray, np.uint8)[:, None], 3, 1)
        numbers = np.arange(45).reshape(5, 9) % min(len(gray), 2**bits)
        data = bmp(numbers, bits, colors, header)
        np.testing.assert_array_equal(read(data), colors[numbers])
        np.testing.assert_array_equal(labels(data), numbers)


def test_a_bmp_of_two_colors_that_ends_early_is_refused(read):
    data = bmp(np.zeros((5, 9), int), 8, np.array([[0] * 3, [255] * 3]))
    with pytest.raises(images.ImageError, match="not enough image data"):
        read(data[:-4])  # three bytes fill the last row up


@pytest.mark.parametrize("image_format", ["PSD", "XBM"])
def test_formats_in_which_a_bit_is_black(image_format, read, labels):
    numbers = np.arange(40).reshape(5, 8) % 3 % 2
    if image_format == "PSD":
        head = b"8BPS" + struct.pack(">H6xHLLHH", 1, 1, 5, 8, 1, 0) + bytes(14)
        data = head + b"".join(packed(numbers, 1))
    else:
        rows = b", ".join(b"0x%02x" % row[0] for row in packed(numbers[:, ::-1], 1))
        head = b"#define a_width 8\n#define a_height 5\nstatic char a_bits[] = {\n"
        data = head + rows + b"};\n"
    np.testing.assert_array_equal(read(data), np.repeat(255 - 255 * numbers[..., None], 3, -1))
    np.testing.assert_array_equal(labels(data), numbers)


@pytest.mark.parametrize("is_packed", [False, True])
def test_labels_of_16_bits_in_an_sgi_are_refused(is_packed, read, labels):
    head = struct.pack(">HBB4H", 474, is_packed, 2, 2, 3, 1, 1).ljust(512, b"\0")
    table = struct.pack(">2L", 520, 10) if is_packed else b""
    row = b"\0\x83" + struct.pack(">3H", 0, 300, 65535) + b"\0\0"
    data = head + table + (row if is_packed else row[2:8])
    np.testing.assert_array_equal(read(data)[0, :, 0], [0, 1, 255])
    with pytest.raises(images.ImageError, match="SGI with 16 bits is not supported for labels"):
        labels(data)


def test_formats_that_are_not_supported_are_refused_by_name(read):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    with pytest.raises(images.ImageError, match="EPS files are not supported"):
        read(eps)
    psd_of_16_bits = b"8BPS" + struct.pack(">H6xHLLHH", 1, 1, 1, 1, 16, 1) + bytes(16)
    with pytest.raises(images.ImageError, match="not an image of a kind that is supported; remove"):
        read(psd_of_16_bits)
