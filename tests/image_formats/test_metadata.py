"""Of metadata only the orientation matters, and nothing in them stops the reading of pixels."""

import io
import logging
import struct
import warnings
import zlib

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.image_formats import image_files
from lvm_jax.pictures import palette
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.pictures.reference import ImageRef
from tests.image_formats.picture_files import (
    BYTE,
    DOUBLE,
    FLOAT,
    LONG,
    RATIONAL,
    SHORT,
    TEXT,
    chunk,
    directory,
    exif,
    png,
    tiff,
    tiff_header,
)

ORIENTATION, RESOLUTION, EXIF_DIRECTORY, MAKER_NOTE = 0x0112, 0x011A, 0x8769, 0x927C
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
# What EXIF's numbers say of the first stored row and column, as numpy turns it upright.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}
STORED = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def exif_block(orientation=6, order="<", **entries):
    """An EXIF block with an orientation and other entries, given as `_0x011a=(type, ...)`."""
    numbers = {int(name[1:], 16): entry for name, entry in entries.items()}
    return exif({ORIENTATION: (SHORT, [orientation]), **numbers}, order=order)


def saved(extension, **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(STORED).save(buffer, extension, **options)
    return buffer.getvalue()


def jpeg(*segments):
    """A JPEG with segments (marker, content) in front."""
    data = saved("JPEG", quality=95)
    parts = [struct.pack(">BBH", 0xFF, m, len(content) + 2) + content for m, content in segments]
    return data[:2] + b"".join(parts) + data[2:]


def webp(**options):
    return saved("WEBP", lossless=True, **options)


def tiff_with(**entries):
    numbers = {int(name[1:], 16): entry for name, entry in entries.items()}
    return tiff(STORED.astype(np.uint64), 8, 2, tags=numbers)


BOMB = zlib.compress(bytes(100 << 20), 9)


# A way to put an EXIF block, or XMP, into a file of every format that has a place for it.
EXIF_CARRIERS = {
    "jpeg": lambda data: jpeg((0xE1, b"Exif\0\0" + data)),
    "jpeg in two segments": lambda data: jpeg(
        (0xE1, b"Exif\0\0" + data[:20]), (0xE1, b"Exif\0\0" + data[20:])
    ),
    "png": lambda data: png(STORED, 8, front=chunk(b"eXIf", data)),
    "png behind the pixels": lambda data: png(STORED, 8, back=chunk(b"eXIf", data)),
    "png by ImageMagick": lambda data: png(
        STORED,
        8,
        front=chunk(
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(b"\nexif\n%8d\n" % len(data) + data.hex().encode() + b"\n"),
        ),
    ),
    "webp": lambda data: webp(exif=data),
    "webp with a name": lambda data: webp(exif=b"Exif\0\0" + data),
}
XMP_CARRIERS = {
    "jpeg": lambda data: jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + data)),
    "png": lambda data: png(STORED, 8, front=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + data)),
    "png packed": lambda data: png(
        STORED, 8, back=chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(data))
    ),
    "webp": lambda data: webp(xmp=data),
    "tiff": lambda data: tiff_with(_0x2bc=(BYTE, data)),
}


@pytest.fixture
def read(tmp_path):
    """Bytes of a file -> its pixels; any warning is an error."""

    def read_bytes(data):
        (tmp_path / "x").write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return images.read_image(tmp_path / "x")

    return read_bytes


def stored(name):
    """What a file of a carrier holds, without any metadata."""
    with PIL.Image.open(io.BytesIO(jpeg())) as image:
        return np.asarray(image) if name.startswith("jpeg") else STORED


@pytest.mark.parametrize("name", EXIF_CARRIERS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_orientation_is_applied(name, order, read):
    for orientation, upright in UPRIGHT.items():
        data = EXIF_CARRIERS[name](exif_block(orientation, order))
        np.testing.assert_array_equal(read(data), upright(stored(name)))
    for kind in (SHORT, LONG):
        data = EXIF_CARRIERS[name](exif({ORIENTATION: (kind, [6])}, order=order))
        np.testing.assert_array_equal(read(data), np.rot90(stored(name), -1))


@pytest.mark.parametrize("name", XMP_CARRIERS)
def test_orientation_in_xmp(name, read):
    for orientation, upright in UPRIGHT.items():
        data = XMP_CARRIERS[name](XMP % orientation)
        np.testing.assert_array_equal(read(data), upright(stored(name)))


@pytest.mark.parametrize("spelled", [b"='6'", b' = "6"', b">6<", b">\n 6 <"])
def test_orientation_in_xmp_may_be_spelled_in_any_way(spelled, read):
    data = XMP_CARRIERS["png"](b"<rdf:Description tiff:Orientation" + spelled)
    np.testing.assert_array_equal(read(data), np.rot90(STORED, -1))


def test_orientation_of_a_tiff(read):
    for orientation, upright in UPRIGHT.items():
        data = tiff_with(_0x112=(SHORT, [orientation]))
        np.testing.assert_array_equal(read(data), upright(STORED))


def test_label_maps_lie_as_their_pictures_do(tmp_path):
    numbers = np.arange(12).reshape(3, 4)
    for orientation, upright in UPRIGHT.items():
        front = chunk(b"eXIf", exif_block(orientation))
        (tmp_path / "a").write_bytes(png(numbers, 8, front=front))
        tags = {ORIENTATION: (SHORT, [orientation])}
        (tmp_path / "b").write_bytes(tiff(numbers.astype(np.uint64), 8, 1, tags=tags))
        for name in "ab":
            labels = palette.read_labels(tmp_path / name, 12)
            np.testing.assert_array_equal(labels, upright(numbers))
            with image_files.opened(tmp_path / name) as picture:
                assert picture.size == labels.shape[::-1]


BROKEN = {
    "nothing": b"",
    "no header": b"nonsense, and more of it",
    "a header alone": tiff_header(),
    "a directory beyond the end": tiff_header()[:4] + b"\xff\xff\xff\x7f",
    "a directory in the header": tiff_header()[:4] + b"\0\0\0\0",
    "more entries than bytes": tiff_header() + b"\xff\xff",
    "0": exif_block(0),
    "9": exif_block(9),
    "text": exif({ORIENTATION: (TEXT, b"6\0")}),
    "no number": exif({ORIENTATION: (SHORT, 0, b"\6\0\0\0")}),
    "a fraction": exif({ORIENTATION: (RATIONAL, b"\0" * 8)}),
    "not a number": exif({ORIENTATION: (FLOAT, [np.nan])}),
    "numbers far away": exif({ORIENTATION: (SHORT, 2**32 - 1, b"\6\0\0\0")}),
    "an unknown type": exif({ORIENTATION: (99, 1, b"\6\0\0\0")}),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("name", EXIF_CARRIERS)
def test_an_orientation_that_makes_no_sense_is_upright(name, fault, read):
    np.testing.assert_array_equal(read(EXIF_CARRIERS[name](BROKEN[fault])), stored(name))


@pytest.mark.parametrize("name", XMP_CARRIERS)
@pytest.mark.parametrize("text", [b"", b"\xff\xfe\0", XMP % 0, XMP % 9, b'tiff:Orientation="'])
def test_xmp_that_makes_no_sense_is_upright(name, text, read):
    np.testing.assert_array_equal(read(XMP_CARRIERS[name](text)), stored(name))


# Beside an orientation of 6.
FAULTS = {
    "resolution is text": {"_0x11a": (TEXT, b"72 dpi\0"), "_0x128": (SHORT, [2])},
    "resolution is a number": {"_0x11a": (SHORT, [72]), "_0x128": (SHORT, [2])},
    "resolution is no number": {"_0x11a": (FLOAT, [np.nan]), "_0x128": (SHORT, [3])},
    "resolution is infinite": {"_0x11a": (DOUBLE, [np.inf]), "_0x128": (SHORT, [3])},
    "resolution over nothing": {
        "_0x11a": (RATIONAL, b"\1\0\0\0" + bytes(4)),
        "_0x128": (SHORT, [2]),
    },
    "unit is text": {"_0x11a": (RATIONAL, b"\1\0\0\0" * 2), "_0x128": (TEXT, b"inch\0")},
    "huge count": {"_0x10f": (TEXT, 2**32 - 1, b"\x10\0\0\0")},
    "huge numbers": {"_0x10f": (DOUBLE, 2**29, b"\x10\0\0\0")},
    "value beyond the end": {"_0x10f": (TEXT, 64, b"\xff\xff\xff\x7f")},
    "directory in itself": {"_0x8769": (LONG, [8]), "_0x8825": (LONG, [8]), "_0xa005": (LONG, [8])},
    "directory is text": {"_0x8769": (TEXT, b"here\0"), "_0x8825": (FLOAT, [np.nan])},
    "directory beyond the end": {"_0x8769": (LONG, [2**32 - 1]), "_0x8825": (LONG, [2**31])},
    "note of the camera": {"_0x927c": (7, b"FUJIFILM\xff\xff\xff\xff" + bytes(90))},
    "profile is a number": {"_0x8773": (SHORT, [3])},
    "iptc and photoshop are numbers": {"_0x83bb": (FLOAT, [1.5]), "_0x8649": (SHORT, [7])},
    "description without letters": {"_0x10e": (TEXT, b"\xff\xfe\x80\0")},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", [*EXIF_CARRIERS, "tiff"])
def test_other_metadata_do_not_matter(name, fault, read):
    for order in "<>":
        entries = FAULTS[fault]
        if name == "tiff":
            numbers = {int(key[1:], 16): entry for key, entry in entries.items()}
            tags = {ORIENTATION: (SHORT, [6]), **numbers}
            data = tiff(STORED.astype(np.uint64), 8, 2, order=order, tags=tags)
        else:
            data = EXIF_CARRIERS[name](exif_block(6, order, **entries))
        np.testing.assert_array_equal(read(data), np.rot90(stored(name), -1))


def test_metadata_without_end_are_not_looked_through(read):
    """Names and blocks that are repeated for a hundred megabytes are read in no time."""
    again = (0xE1, (b"Exif\0\0" * 10_000)[:65_000])
    for data in (
        EXIF_CARRIERS["png"](b"Exif\0\0" * (4 << 20)),
        jpeg(*[again] * 400),
        png(STORED, 8, front=chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB) * 20),
    ):
        assert read(data).shape == STORED.shape


def test_a_directory_that_names_itself_as_the_next_one(read):
    entries = {ORIENTATION: (SHORT, [6])}
    data = tiff_header() + directory(entries, next_one=8)
    for name, carrier in EXIF_CARRIERS.items():
        np.testing.assert_array_equal(read(carrier(data)), np.rot90(stored(name), -1))
    plain = tiff_with()
    count = struct.unpack_from("<H", plain, 8)[0]
    place = 10 + 12 * count
    cyclic = plain[:place] + struct.pack("<L", 8) + plain[place + 4 :]
    np.testing.assert_array_equal(read(cyclic), STORED)


PNG_FAULTS = {
    "profile packed in an unknown way": chunk(b"iCCP", b"name\0\7nonsense"),
    "profile without an end": chunk(b"iCCP", b"name"),
    "profile is a bomb": chunk(b"iCCP", b"name\0\0" + BOMB),
    "text is a bomb": chunk(b"zTXt", b"Comment\0\0" + BOMB),
    "text is two bombs": chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB) * 2,
    "exif text is a bomb": chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB),
    "text packed in an unknown way": chunk(b"zTXt", b"Comment\0\7nonsense"),
    "text is named as a fact is": chunk(b"tEXt", b"transparency\0x") + chunk(b"tEXt", b"exif\0x"),
    "text without a name": chunk(b"tEXt", b"") + chunk(b"tEXt", b"\0\0") + chunk(b"zTXt", b""),
    "short text": chunk(b"iTXt", b"Comment\0") + chunk(b"iTXt", b"\xff"),
    "exif text without digits": chunk(b"tEXt", b"Raw profile type exif\0\n\n\nxyz"),
    "short resolution": chunk(b"pHYs", b"\0"),
    "short colors": chunk(b"gAMA", b"") + chunk(b"cHRM", b"\0" * 5) + chunk(b"sRGB", b""),
    "short animation": chunk(b"acTL", b"\0"),
    "frames that do not follow": chunk(b"fcTL", struct.pack(">9I", 9, *range(8))[:26]),
    "frame outside": chunk(b"acTL", struct.pack(">II", 2, 0))
    + chunk(b"fcTL", struct.pack(">5I2H2B", 0, 900, 900, 5, 5, 1, 0, 0, 0)),
    "private": chunk(b"vpAg", b"x" * 9),
    "checksum": chunk(b"tEXt", b"Comment\0x")[:-4] + b"\0\0\0\0",
}


@pytest.mark.parametrize("fault", PNG_FAULTS)
def test_chunks_beside_the_pixels_of_a_png_do_not_matter(fault, read):
    turned = chunk(b"eXIf", exif_block(6))
    for place in ("front", "back"):
        data = png(STORED, 8, **{place: PNG_FAULTS[fault] + turned})
        np.testing.assert_array_equal(read(data), np.rot90(STORED, -1))


@pytest.mark.parametrize("name", [b"tEXt", b"eXIf", b"zTXt", b"iTXt", b"vpAg"])
def test_a_png_that_is_cut_behind_its_pixels(name, read):
    whole = png(STORED, 8)[:-12]  # without its end
    data = whole + chunk(name, b"Comment\0" + bytes(50))
    for keep in range(len(whole), len(data)):
        np.testing.assert_array_equal(read(data[:keep]), STORED)


JPEG_FAULTS = {
    "short names": [(0xE0, b"JFIF\0"), (0xE0, b"JF"), (0xEE, b"Adobe"), (0xE1, b""), (0xE2, b"")],
    "profile in no order": [(0xE2, b"ICC_PROFILE\0"), (0xE2, b"ICC_PROFILE\0\0\0x")],
    "profile of other length": [(0xE2, b"ICC_PROFILE\0\1\5" + bytes(99))],
    "other pictures": [(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 60)],
    "other pictures far away": [
        (0xE2, b"MPF\0" + exif({0xB001: (LONG, [3]), 0xB002: (7, b"\0\0\0\0" + b"\xff" * 44)}))
    ],
    "no other pictures": [(0xE2, b"MPF\0" + exif({0xB000: (7, b"0100")}))],
    "photoshop": [
        (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\1x"),
        (0xED, b"Photoshop 3.0\0"),
    ],
    "photoshop again": [(0xED, b"Photoshop 3.0\x008BIM\x03\xed\xff" + b"\xff" * 9)],
    "comment": [(0xFE, b"\xff\xd8\xff\xd9" * 20), (0xFE, b"")],
    "flashpix": [(0xE2, b"FPXR\0" + b"\xff" * 30)],
}


@pytest.mark.parametrize("fault", JPEG_FAULTS)
def test_segments_beside_the_pixels_of_a_jpeg_do_not_matter(fault, read):
    data = jpeg(*JPEG_FAULTS[fault], (0xE1, b"Exif\0\0" + exif_block(6)))
    np.testing.assert_array_equal(read(data), np.rot90(stored("jpeg"), -1))


def riff(*chunks):
    """A WebP of chunks (name, content)."""
    parts = [struct.pack("<4sL", n, len(c)) + c + b"\0" * (len(c) % 2) for n, c in chunks]
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<L", len(body)) + body


WEBP_FAULTS = {
    "profile": [(b"ICCP", b"nonsense")],
    "two of each": [(b"EXIF", b"x"), (b"XMP ", b"x"), (b"XMP ", b"y"), (b"ICCP", b"")],
    "unknown": [(b"what", b"odd")],
    "nothing": [(b"XMP ", b"")],
}


@pytest.mark.parametrize("fault", WEBP_FAULTS)
def test_chunks_beside_the_pixels_of_a_webp_do_not_matter(fault, read):
    pixels = webp()[12:]
    assert pixels[:4] == b"VP8L"
    pixels = (b"VP8L", pixels[8 : 8 + struct.unpack_from("<L", pixels, 4)[0]])
    for flags in (0, 0b101100):  # metadata are announced, or not
        header = (b"VP8X", struct.pack("<L", flags) + b"\6\0\0\4\0\0")
        turned = (b"EXIF", exif_block(6))
        data = riff(header, pixels, turned, *WEBP_FAULTS[fault])
        np.testing.assert_array_equal(read(data), np.rot90(STORED, -1))
        np.testing.assert_array_equal(read(data + b"garbage"), np.rot90(STORED, -1))
        data = riff(header, pixels, turned, (b"XMP ", bytes(100)))
        for missing in (1, 50, 99):
            np.testing.assert_array_equal(read(data[:-missing]), np.rot90(STORED, -1))


def test_a_jpeg_of_four_inks_and_one_of_plain_colors_keep_their_colors(tmp_path):
    """The segments that say how colors are stored are seen, whatever is hidden."""
    for mode in ("CMYK", "RGB", "YCbCr", "L"):
        for options in ({}, {"keep_rgb": True} if mode == "RGB" else {}):
            image = PIL.Image.new("RGB", (16, 16), (200, 60, 90)).convert(mode)
            image.save(tmp_path / "x.jpg", quality=100, exif=exif_block(3), comment=b"x", **options)
            with PIL.Image.open(tmp_path / "x.jpg") as plain:
                expected = np.asarray(plain.convert("RGB"))
            np.testing.assert_array_equal(images.read_image(tmp_path / "x.jpg"), expected)


def test_several_pictures_in_one_jpeg_give_the_first(tmp_path, read):
    first, second = PIL.Image.new("RGB", (16, 8), "red"), PIL.Image.new("RGB", (16, 8), "blue")
    turned = PIL.Image.Exif()
    turned[ORIENTATION] = 6
    options = {"save_all": True, "append_images": [second], "exif": turned}
    first.save(tmp_path / "x.jpg", "MPO", **options)
    with PIL.Image.open(tmp_path / "x.jpg") as image:
        assert image.format == "MPO" and image.n_frames == 2
    pixels = read((tmp_path / "x.jpg").read_bytes())
    assert pixels.shape == (16, 8, 3) and pixels[..., 0].min() > 200


def test_an_avif_with_damaged_exif_is_turned_as_it_says_itself(read):
    turned = PIL.Image.Exif()
    turned[ORIENTATION] = 6
    turned[RESOLUTION] = 72.0
    clean = saved("AVIF", exif=turned, quality=100, subsampling="4:4:4")
    start = clean.index(b"Exif", clean.index(b"mdat"))
    expected = read(clean)
    assert expected.shape == (7, 5, 3)
    assert np.abs(expected.astype(int) - np.rot90(STORED, -1)).mean() < 5
    for damage in (b"\xff" * 24, bytes(24), clean[start + 4 : start + 8] + b"\xff" * 20):
        data = clean[: start + 6] + damage + clean[start + 6 + len(damage) :]
        np.testing.assert_array_equal(read(data), expected)


def test_a_damaged_resolution_in_jpeg2000(read):
    data = saved("JPEG2000", irreversible=False)
    place = data.index(b"jp2h")
    (length,) = struct.unpack_from(">I", data, place - 4)
    wrong = struct.pack(">I4sI4sI", 20, b"res ", 99, b"resc", 0)
    end = place - 4 + length
    data = data[: place - 4] + struct.pack(">I", length + 20) + data[place:end] + wrong + data[end:]
    np.testing.assert_array_equal(read(data), STORED)


def test_garbage_between_the_segments_of_a_jpeg_is_passed_over(read):
    data = jpeg((0xFE, b"first"), (0xE1, b"Exif\0\0" + exif_block(6)))
    place = 2 + 4 + len(b"first")
    for garbage in (b"\0", b"\xff", b"\xff\0", bytes(3), bytes(9999), b"\xff" * 5000):
        with_garbage = data[:place] + garbage + data[place:]
        np.testing.assert_array_equal(read(with_garbage), np.rot90(stored("jpeg"), -1))


def test_a_long_file_of_garbage_is_no_jpeg(read):
    with pytest.raises(images.ImageError, match="ends in front of its pixels"):
        read(b"\xff\xd8\xff" + bytes(30 << 20))


@pytest.mark.parametrize(
    "error",
    [KeyError(1), ZeroDivisionError(), MemoryError(), RecursionError(), AssertionError("x\ny")]
    + [TypeError("t"), AttributeError("a"), OverflowError("o"), struct.error("s"), zlib.error("z")]
    + [UnicodeDecodeError("utf-8", b"", 0, 1, "u"), NotImplementedError("n"), EOFError()],
)
def test_whatever_the_library_raises_names_the_file(error, tmp_path, monkeypatch):
    images.write_image(tmp_path / "x.png", STORED)

    def fail(*args, **options):
        raise error

    for place in ("open", "Image.convert"):
        with monkeypatch.context() as patch:
            patch.setattr(f"PIL.Image.{place}", fail)
            with pytest.raises(images.ImageError, match=r"cannot read image .*x\.png: ") as caught:
                images.read_image(tmp_path / "x.png")
            assert "\n" not in str(caught.value) and caught.value.__cause__ is error
    with monkeypatch.context() as patch:
        patch.setattr("PIL.Image.open", fail)
        with pytest.raises(images.ImageError, match=r"cannot read label map .*x\.png: "):
            palette.read_labels(tmp_path / "x.png", 3)
        assert images.jpeg_short_side(tmp_path / "x.png") == 0


def test_a_build_counts_whatever_the_library_raises(tmp_path, monkeypatch):
    """What loads pictures for shards gives an error of its own for each that may be rejected."""
    images.write_image(tmp_path / "x.png", STORED)
    monkeypatch.setattr("PIL.Image.open", lambda *args: [][0])
    loader = SquareLoader(images.ImageConfig(), 4, 2**20)
    for labels in (None, (3, -1)):
        (error,) = loader.load([ImageRef(path=str(tmp_path / "x.png"), labels=labels)])
        assert isinstance(error, images.ImageError) and "x.png" in str(error)


def test_an_interrupt_is_no_damaged_file(tmp_path, monkeypatch):
    images.write_image(tmp_path / "x.png", STORED)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("PIL.Image.open", interrupt)
    with pytest.raises(KeyboardInterrupt):
        images.read_image(tmp_path / "x.png")


def test_the_library_says_nothing_on_its_own(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    samples = {277: (SHORT, [999]), 258: (SHORT, [8] * 999)}
    (tmp_path / "x.tif").write_bytes(tiff(STORED.astype(np.uint64), 8, 2, tags=samples))
    with pytest.raises(images.ImageError):
        images.read_image(tmp_path / "x.tif")
    assert not caplog.records and capfd.readouterr() == ("", "")


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(images.ImageError, match="cannot read image"):
        images.read_image(tmp_path)


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "PPM", "TGA"]
)
def test_what_is_cut_anywhere_in_front_of_its_last_pixels_is_named(kind, tmp_path):
    data = saved(kind)
    # Behind the last pixels: checksums, what fills up, marks of the end.
    behind = {"PNG": 20, "JPEG": 2, "JPEG2000": 2, "GIF": 2, "WEBP": 1, "BMP": 3, "TGA": 26}
    end = len(data) - behind.get(kind, 0)
    for keep in (0, 3, 11, 12, 20, end // 2, end * 9 // 10, end - 1):
        (tmp_path / "x").write_bytes(data[:keep])
        with pytest.raises(images.ImageError, match=rf"{tmp_path}/x: .*remove or replace"):
            images.read_image(tmp_path / "x")


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "jpeg"])
def test_a_tiff_of_many_strips_that_is_cut_is_named(compression, tmp_path):
    """Its directory, which is shown anew, is never taken for pixels."""
    pixels = np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "x", "TIFF", compression=compression)
    data = (tmp_path / "x").read_bytes()
    for missing in (1, 10, 200, 30_000):
        (tmp_path / "x").write_bytes(data[:-missing])
        with pytest.raises(images.ImageError, match=r"cannot read image .*/x: "):
            images.read_image(tmp_path / "x")
