"""What samples mean is applied at every depth, or the file is refused; labels stay as stored."""

import io
import itertools
import struct

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.pictures import palette
from lvm_jax.sentences.kinds import KINDS
from tests.image_formats.picture_files import (
    BLUE,
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    chunk,
    directory,
    packed,
    png,
    tiff,
)
from tests.toys import pixels_of

ORDERS = pytest.mark.parametrize("order", ["<", ">"])
COMPRESSED = pytest.mark.parametrize("compressed", [False, True])


def ramp(bits):
    """Numbers from nothing to all bits, [5, 9]."""
    return np.linspace(0, 2**bits - 1, 45).astype(np.uint64).reshape(5, 9)


def shown(numbers, bits, white_is_zero=False):
    """Gray numbers as they should be read: uint8 [H, W, 3]."""
    white = 2**bits - 1
    part = (white - numbers if white_is_zero else numbers) / white
    return np.repeat(np.rint(part * 255).astype(np.uint8)[..., None], 3, -1)


def over_blue(colors, alpha):
    """uint8 colors [H, W, 3] with an alpha of 0 or 1 [H, W]."""
    return np.where(alpha[..., None] > 0, colors, np.array(BLUE)).astype(np.uint8)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_gray_png_of_every_depth_with_and_without_a_transparent_number(bits, read, labels):
    numbers = ramp(bits)
    expected = shown(numbers, bits)
    np.testing.assert_array_equal(read(png(numbers, bits)), expected)
    key = int(numbers[2, 4])
    transparent = read(png(numbers, bits, key=struct.pack(">H", key)))
    np.testing.assert_array_equal(transparent, over_blue(expected, numbers != key))
    if bits <= 8:
        np.testing.assert_array_equal(labels(png(numbers, bits)), numbers)
        # A number that is shown transparent is still a label.
        keyed = png(numbers, bits, key=struct.pack(">H", key))
        np.testing.assert_array_equal(labels(keyed), numbers)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_color_is_compared_as_it_is_stored(bits, read):
    numbers = np.full((2, 3, 3), [1000, 2000, 3000] if bits == 16 else [10, 20, 30])
    key = numbers[0, 0].copy()
    numbers[0, 1, 2] += 1  # of 16 bits, the high byte stays
    data = png(numbers.astype(np.uint64), bits, key=struct.pack(">3H", *key))
    expected = over_blue(numbers >> (bits - 8), (numbers != key).any(-1))
    np.testing.assert_array_equal(read(data), expected)


def test_a_transparent_color_of_16_bits_in_an_interlaced_picture(read):
    # One pixel: interlaced and plain have the same bytes.
    data = png(np.full((1, 1, 3), 300, np.uint64), 16, key=struct.pack(">3H", 300, 300, 300))
    head = data.find(b"IHDR")
    header = data[head + 4 : head + 16] + b"\1"
    data = data[: head - 4] + chunk(b"IHDR", header) + data[head + 21 :]
    assert read(data).tolist() == [[list(BLUE)]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_every_depth(bits, read, labels):
    numbers = ramp(bits).astype(np.int64)
    colors = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), dtype=np.uint8)
    alpha = np.arange(2**bits) % 2
    data = png(numbers, bits, palette=colors.tobytes())
    np.testing.assert_array_equal(read(data), colors[numbers])
    np.testing.assert_array_equal(labels(data), numbers)
    keys = (alpha * 255).astype(np.uint8).tobytes()
    data = png(numbers, bits, palette=colors.tobytes(), key=keys)
    np.testing.assert_array_equal(read(data), over_blue(colors[numbers], alpha[numbers]))
    np.testing.assert_array_equal(labels(data), numbers)


@ORDERS
@COMPRESSED
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32])
def test_gray_tiff_of_every_depth(bits, white_is_zero, compressed, order, read, labels):
    photometric = 0 if white_is_zero else 1
    numbers = ramp(bits)
    data = tiff(numbers, bits, photometric, order=order, compressed=compressed)
    if bits == 32 and order == ">":  # Pillow knows no such samples
        with pytest.raises(images.ImageError, match="BitsPerSample 32"):
            read(data)
        return
    np.testing.assert_array_equal(read(data), shown(numbers, bits, white_is_zero))
    numbers = ramp(min(bits, 12))
    data = tiff(numbers, bits, photometric, order=order, compressed=compressed)
    np.testing.assert_array_equal(labels(data), numbers)


@ORDERS
@COMPRESSED
@pytest.mark.parametrize("photometric", [0, 1])
def test_float_tiff(photometric, compressed, order, read):
    numbers = np.array([[0.0, 0.25, 1.0]], np.float32)
    data = tiff(numbers, 32, photometric, order=order, compressed=compressed)
    expected = [255, 191, 0] if photometric == 0 else [0, 64, 255]
    assert read(data)[0, :, 0].tolist() == expected
    for bad in (-0.1, 1.1, np.nan, np.inf):
        with pytest.raises(images.ImageError, match="within"):
            read(tiff(np.full((1, 1), bad, np.float32), 32, photometric, order=order))


@ORDERS
@COMPRESSED
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_tiff(bits, compressed, order, read, labels):
    data = tiff(np.array([[0, 5, 100]]), bits, 1, order=order, compressed=compressed)
    assert labels(data).tolist() == [[0, 5, 100]]
    assert read(data)[0, :, 0].tolist() == ([0, 5, 100] if bits == 8 else [0, 0, 0])
    data = tiff(np.array([[0, -5, 100]]), bits, 1, order=order, compressed=compressed)
    with pytest.raises(images.ImageError, match=r"values -5\.\.100 do not lie in"):
        read(data)
    with pytest.raises(images.ImageError, match="labels down to -5, but num_labels"):
        labels(data)
    with pytest.raises(images.ImageError, match="signed"):
        read(tiff(np.array([[0, 5]]), bits, 0, order=order, compressed=compressed))


def test_minus_one_is_no_label_and_no_wildcard(labels):
    data = tiff(np.array([[0, -1]]), 16, 1)
    with pytest.raises(images.ImageError, match="down to -1"):
        labels(data, 4, -1)


def test_12_bits(read, labels):
    numbers = np.array([[0, 4095, 16, 2048]], np.uint64)
    data = tiff(numbers, 12, 1)
    assert labels(data).tolist() == numbers.tolist()
    np.testing.assert_array_equal(read(data), shown(numbers, 12))


COLORS = np.array([[[10, 200, 77], [255, 0, 0], [0, 0, 255]]] * 3)
# Each mode: photometric, colors and alpha in 8 bits, and what they are over blue.
LAYOUTS = {
    "rgb": (2, COLORS, {}, COLORS),
    "rgb and no alpha": (
        2,
        np.concatenate([COLORS, COLORS[..., :1]], -1),
        {338: (SHORT, [0])},
        COLORS,
    ),
    "rgb and alpha": (
        2,
        np.array([[[10, 100, 77, 255], [255, 0, 0, 0]]] * 2),
        {338: (SHORT, [2])},
        np.array([[[10, 100, 77], BLUE]] * 2),
    ),
    "rgb times alpha": (
        2,
        np.array([[[10, 100, 77, 128], [0, 0, 0, 0], [9, 8, 7, 255]]] * 2),
        {338: (SHORT, [1])},
        np.array([[[10, 100, 204], BLUE, [9, 8, 7]]] * 2),
    ),
    "gray times alpha": (
        1,
        np.array([[[100, 128], [0, 0], [9, 255]]] * 2),
        {338: (SHORT, [1])},
        np.array([[[100, 100, 227], BLUE, [9, 9, 9]]] * 2),
    ),
    "gray and alpha": (
        1,
        np.array([[[100, 255], [9, 0]]] * 2),
        {338: (SHORT, [2])},
        np.array([[[100, 100, 100], BLUE]] * 2),
    ),
    "inks": (
        5,
        np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]] * 2),
        {},
        np.array([[[255, 255, 255], [0, 255, 255], [0, 0, 0]]] * 2),
    ),
    "other inks": (5, np.zeros((2, 2, 4), np.int64), {332: (SHORT, [2])}, None),
    "lab": (
        8,
        np.array([[[255, 0, 0], [0, 0, 0]]] * 2),
        {},
        np.array([[[255, 255, 255], [0, 0, 0]]] * 2),
    ),
    "luma": (
        6,
        np.array([[[255, 128, 128], [0, 128, 128], [76, 85, 255]]] * 2),
        {530: (SHORT, [1, 1])},
        np.array([[[255, 255, 255], [0, 0, 0], [254, 0, 0]]] * 2),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_colors_are_right_or_refused(name, read):
    """Every layout at 8 bits in one plane; other depths, in planes: right, or an error."""
    photometric, numbers, tags, expected = LAYOUTS[name]
    for bits, order, compressed, apart in itertools.product(
        (8, 16), "<>", (False, True), (False, True)
    ):
        scaled = (numbers * (257 if bits == 16 else 1)).astype(np.uint64)
        data = tiff(
            scaled, bits, photometric, order=order, compressed=compressed, apart=apart, tags=tags
        )
        plain = bits == 8 and not apart and expected is not None
        try:
            pixels = read(data)
        except images.ImageError as error:
            assert not plain, error
            continue
        assert expected is not None, "these should be refused"
        assert np.abs(pixels.astype(int) - expected).max() <= 1, (bits, order, compressed, apart)


def test_planes_of_16_bits_are_read(read):
    numbers = (COLORS * 257).astype(np.uint64)
    for order, compressed in itertools.product("<>", (False, True)):
        data = tiff(numbers, 16, 2, order=order, compressed=compressed, apart=True)
        np.testing.assert_array_equal(read(data), COLORS)


def test_subsampled_colors_that_are_not_compressed_are_refused(read):
    _, numbers, _, _ = LAYOUTS["luma"]
    whole = {530: (SHORT, [1, 1])}
    for tags in (
        {530: (SHORT, [2, 1])},
        {},
        {529: (RATIONAL, b"\1\0\0\0" * 6), **whole},
        {532: (RATIONAL, b"\1\0\0\0" * 12), **whole},
    ):
        with pytest.raises(images.ImageError, match="subsampled or scaled"):
            read(tiff(numbers.astype(np.uint64), 8, 6, tags=tags))


def test_whole_luma_as_pillow_writes_it(tmp_path):
    picture = PIL.Image.fromarray(COLORS.astype(np.uint8)).convert("YCbCr")
    picture.save(tmp_path / "x.tif")
    expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(images.read_image(tmp_path / "x.tif"), expected)


@pytest.mark.parametrize("compression", ["group3", "group4", "packbits", "tiff_lzw", "raw"])
@pytest.mark.parametrize("big", [False, True])
def test_one_bit_as_pillow_compresses_it(compression, big, tmp_path):
    picture = PIL.Image.fromarray(ramp(8).astype(np.uint8) % 3 == 0)
    picture.save(tmp_path / "x.tif", compression=compression, big_tiff=big)
    with PIL.Image.open(tmp_path / "x.tif") as plain:
        expected = np.asarray(plain.convert("RGB"))
    assert (np.asarray(picture.convert("RGB")) == expected).all()
    np.testing.assert_array_equal(images.read_image(tmp_path / "x.tif"), expected)


def test_a_tiff_that_ends_within_its_directory_is_refused(read):
    """The last entry says that numbers are floats; behind it is only that no directory follows."""
    numbers = (ramp(8) / 255).astype(np.float32)
    strip = b"".join(packed(numbers, 32, "<"))
    values = {256: 9, 257: 5, 258: 32, 259: 1, 262: 1, 273: 8, 277: 1, 278: 5, 279: len(strip)}
    entries = directory({tag: (LONG, [value]) for tag, value in (values | {339: 3}).items()})
    data = b"II*\0" + struct.pack("<L", 8 + len(strip)) + strip + entries
    for kept in range(len(data) - 4, len(data) + 1):
        np.testing.assert_array_equal(read(data[:kept]), shown(ramp(8), 8))
    for kept in range(len(data) - len(entries), len(data) - 4):
        with pytest.raises(images.ImageError):
            read(data[:kept])


def test_a_tiff_that_does_not_say_what_is_black_is_refused(read):
    with pytest.raises(images.ImageError, match="no PhotometricInterpretation: black may be white"):
        read(tiff(ramp(8), 8, None))


def test_a_tiff_of_unknown_samples_says_what_it_holds(read):
    data = tiff(np.zeros((2, 2), np.float64), 64, 1)
    with pytest.raises(images.ImageError, match=r"supported \(BitsPerSample 64, .*SampleFormat 3"):
        read(data)


def test_a_tiff_with_palette(read, labels):
    for bits, order, compressed in itertools.product((1, 2, 4, 8), "<>", (False, True)):
        numbers = ramp(bits).astype(np.int64)
        colors = np.random.default_rng(bits).integers(0, 256, (2**bits, 3))
        tags = {320: (SHORT, [int(v) * 257 for v in colors.T.reshape(-1)])}
        data = tiff(
            numbers.astype(np.uint64), bits, 3, order=order, compressed=compressed, tags=tags
        )
        np.testing.assert_array_equal(read(data), colors[numbers])
        np.testing.assert_array_equal(labels(data), numbers)


@pytest.mark.parametrize("most", [1, 3, 20, 100, 255, 256, 1000, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_pgm_of_every_largest_number(most, plain, read, labels):
    numbers = np.array([[0, 1, most // 2, most]])
    pixels = numbers.astype(np.uint8 if most < 256 else ">u2").tobytes()
    if plain:
        pixels = " ".join(map(str, numbers[0])).encode() + b"\n"
    data = b"P%d 4 1 %d\n" % (2 if plain else 5, most) + pixels
    expected = np.rint(numbers / most * 255)
    assert np.abs(read(data)[..., 0] - expected).max() <= (0 if most < 256 else 1)
    if most < palette.MOST_LABELS:
        assert labels(data).tolist() == numbers.tolist()


@pytest.mark.parametrize("data", [b"P1 3 1\n1 0 1\n", b"P4 3 1\n\xa0"])
def test_pbm_stores_one_for_black(data, read, labels):
    assert read(data)[0, :, 0].tolist() == [0, 255, 0]
    assert labels(data).tolist() == [[1, 0, 1]]


def jpeg2000(numbers, bits):
    """A gray picture of few bits: one of 8 bits whose header says so, and middle gray moved."""
    shifted = (numbers + 128 - (1 << (bits - 1))).astype(np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(shifted).save(buffer, "JPEG2000", no_jp2=True)
    data = bytearray(buffer.getvalue())
    assert data[42] == 7
    data[42] = bits - 1
    return bytes(data)


@pytest.mark.parametrize("bits", [1, 2, 4, 5, 8])
def test_jpeg2000_of_few_bits(bits, read, labels):
    numbers = np.zeros((32, 32), np.int64)
    numbers[:, 16:] = 2**bits - 1
    numbers[:8] = 2 ** (bits - 1)
    data = jpeg2000(numbers, bits)
    np.testing.assert_array_equal(read(data), shown(numbers, bits))
    np.testing.assert_array_equal(labels(data), numbers)


def test_jpeg2000_with_few_bits_of_color_is_refused(read):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (16, 16)).save(buffer, "JPEG2000", no_jp2=True)
    data = bytearray(buffer.getvalue())
    data[42] = data[45] = data[48] = 3
    with pytest.raises(images.ImageError, match="8 bits"):
        read(bytes(data))


def test_label_maps_of_a_source_are_as_stored(tmp_path):
    """Of 4 bits as of 8: what sentences show are the colors of the numbers."""
    numbers = np.arange(16).repeat(4).reshape(8, 8)
    for bits in (4, 8):
        root = tmp_path / str(bits)
        for folder, data in (
            ("images", png(numbers, 8)),
            ("labels", png(numbers, bits)),
        ):
            (root / folder).mkdir(parents=True)
            (root / folder / "a.png").write_bytes(data)
        source = KINDS["label_map"](
            name="x",
            folder=str(root / "images"),
            label_folder=str(root / "labels"),
            num_labels=16,
            pairs_per_sentence=1,
        )
        _, ref = source.sentence(0, 0, 0).images
        np.testing.assert_array_equal(palette.decode(pixels_of(ref, 8), 16), numbers)


def test_tags_of_pixels_with_wrong_types_are_refused_in_one_line(read):
    numbers = np.zeros((2, 2), np.uint64)
    for tag in (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 339):
        for wrong in ((2, b"text\0"), (5, b"\0" * 8), (BYTE, b"\xff"), (LONG, [2**32 - 1])):
            try:
                read(tiff(numbers, 8, 1, tags={tag: wrong}))
            except images.ImageError as error:
                assert "\n" not in str(error)
