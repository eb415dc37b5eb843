"""Alters small image files and reads them: each ends as pixels, or as an error that names it.

    python -m tests.image_formats.fuzz_pictures --rounds=3000 --seed=0

Rounds are altered files of each format. Prints how many were read and how many refused, and stops
with exit code 1 at the first that ends otherwise, which it keeps; so does a crash of the process.
"""

import io
import pathlib
import random
import struct
import warnings
import zlib

import numpy as np
import PIL.Image

from lvm_jax import images
from lvm_jax.frames import frame_readers
from lvm_jax.pictures import aspect, palette
from tests import fuzzing
from tests.image_formats import picture_files as files

MOST_PIXELS = 1 << 20
ANIMATED = (".gif", ".png", ".webp", ".avif")
NUMBERS = np.arange(16 * 12).reshape(12, 16)
COLORS = np.stack([NUMBERS, NUMBERS[::-1], NUMBERS[:, ::-1]], -1).astype(np.uint8)
EXIF = files.exif(
    {
        0x010E: (files.TEXT, b"a description that is long enough\0"),
        0x0112: (files.SHORT, [6]),
        0x011A: (files.RATIONAL, struct.pack("<2L", 72, 1)),
        0x0128: (files.SHORT, [2]),
        0x8769: (files.LONG, [8]),
        0x8825: (files.LONG, [8]),
        0x927C: (7, b"FUJIFILM" + bytes(40)),
    }
)
XMP = b'<rdf:Description tiff:Orientation="6"/>'
# Numbers that are likely to be where something goes wrong.
EDGES = [0, 1, 2, 3, 4, 7, 8, 9, 127, 128, 255, 256, 257, 32767, 32768, 65535, 65536]
EDGES += [2**31 - 1, 2**31, 2**32 - 1, 2**32 - 2, 100_000, 0x49492A00]


def saved(kind: str, mode: str = "RGB", frames: int = 1, **options) -> bytes:
    """A small picture as Pillow writes it, or several in one file."""
    first, *rest = [PIL.Image.fromarray(np.roll(COLORS, n, 0)).convert(mode) for n in range(frames)]
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": rest} if rest else {}
    first.save(buffer, kind, **more, **options)
    return buffer.getvalue()


def png_files() -> list[bytes]:
    """Every kind of samples, with and without a transparent one, between chunks of metadata."""
    front = b"".join(
        files.chunk(name, data)
        for name, data in {
            b"iCCP": b"name\0\0" + zlib.compress(bytes(50)),
            b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
            b"eXIf": EXIF,
            b"tEXt": b"Comment\0text",
            b"zTXt": b"Raw profile type exif\0\0"
            + zlib.compress(b"\nexif\n 4\n" + EXIF.hex().encode()),
            b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP),
        }.items()
    )
    made = [files.png(NUMBERS % 2**bits, bits, key=b"\0\1") for bits in (1, 2, 4, 8, 16)]
    made += [
        files.png(NUMBERS % 2**bits, bits, palette=bytes(3 * 2**bits), key=b"\0\7", front=front)
        for bits in (1, 2, 4, 8)
    ]
    made += [files.png(COLORS, bits, key=b"\0\1" * 3, back=front) for bits in (8, 16)]
    made += [files.png(COLORS[..., :2], bits, front=front) for bits in (8, 16)]
    return made + [saved("PNG", "RGBA"), saved("PNG", frames=3), saved("PNG", "P", frames=2)]


def tiff_files() -> list[bytes]:
    """Every kind of samples, compression and order, with tags of metadata."""
    tags = {
        0x010E: (files.TEXT, b"a description\0"),
        0x0112: (files.SHORT, [6]),
        0x011A: (files.RATIONAL, struct.pack("<2L", 72, 1)),
        0x02BC: (files.BYTE, XMP),
        0x8769: (files.LONG, [8]),
        0x8773: (7, bytes(30)),
    }
    numbers = NUMBERS.astype(np.uint64)
    made = [
        files.tiff(
            numbers % 2**bits, bits, photometric, order=order, compressed=compressed, tags=tags
        )
        for bits in (1, 4, 8, 16)
        for photometric in (0, 1)
        for order in "<>"
        for compressed in (False, True)
    ]
    made.append(files.tiff((NUMBERS / 255).astype(np.float32), 32, 1, tags=tags))
    made.append(files.tiff(NUMBERS, 16, 1, order=">", compressed=True))
    colors = COLORS.astype(np.uint64)
    made += [
        files.tiff(colors, bits, 2, compressed=compressed, apart=apart, tags=tags)
        for bits in (8, 16)
        for apart in (False, True)
        for compressed in (False, True)
    ]
    compressions = ("tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate", "raw")
    made += [saved("TIFF", compression=name) for name in compressions]
    made += [saved("TIFF", "1", compression=name) for name in ("group3", "group4")]
    modes = ("P", "PA", "LA", "RGBA", "CMYK", "YCbCr", "LAB")
    return made + [saved("TIFF", mode) for mode in modes] + [saved("TIFF", frames=3)]


def still(kind: str, *modes: str, **options) -> list[bytes]:
    return [saved(kind, mode, **options) for mode in modes]


def valid_files() -> dict[str, list[bytes]]:
    """Small whole files of each format."""
    adobe = {"exif": b"Exif\0\0" + EXIF, "icc_profile": bytes(300), "comment": b"x" * 20}
    return {
        "PNG": png_files(),
        "TIFF": tiff_files(),
        "JPEG": still("JPEG", "L", "RGB", "CMYK", dpi=(72, 72), xmp=XMP, **adobe)
        + still("JPEG", "RGB", progressive=True, **adobe)
        + [saved("MPO", frames=2, exif=PIL.Image.Exif())],
        "GIF": still("GIF", "L", "P", "RGB", "1", comment=b"text", transparency=1)
        + [saved("GIF", frames=3, disposal=2, duration=40)],
        "WEBP": still("WEBP", "RGB", "RGBA", exif=EXIF, xmp=XMP, icc_profile=bytes(60))
        + still("WEBP", "RGB", "RGBA", lossless=True)
        + [saved("WEBP", "RGBA", frames=3, duration=40)],
        "BMP": still("BMP", "1", "L", "P", "RGB", "RGBA", dpi=(72, 72)) + still("DIB", "RGB"),
        "PPM": still("PPM", "1", "L", "RGB", "I;16")
        + [b"Pf 2 1 -1.0 " + struct.pack("<2f", 0, 1)]
        + [b"P2 4 2 9 0 1 2 3\n4 5 6 9 ", b"P3 2 1 # text\n20 0 1 2 3 4 20", b"P1 3 1 1 0 1"]
        + [b"P5 4 2 9 " + bytes(range(8)), b"P5 4 2 999 " + bytes(16), b"P6 2 1 9 " + bytes(6)],
        "AVIF": still("AVIF", "RGB", "RGBA", "L", exif=EXIF, xmp=XMP, icc_profile=bytes(60))
        + [saved("AVIF", frames=3, duration=40)],
        "JPEG2000": still("JPEG2000", "L", "LA", "RGB", "RGBA", "I;16")
        + still("JPEG2000", "RGB", no_jp2=True, comment="text"),
        "TGA": still("TGA", "L", "LA", "P", "RGB", "RGBA") + still("TGA", "L", "RGB", rle=True),
        "others": still("PCX", "1", "L", "P", "RGB")
        + still("SGI", "L", "RGB", "RGBA")
        + still("DDS", "RGB", "RGBA", "L")
        + still("QOI", "RGB", "RGBA")
        + still("ICO", "RGBA", "P")
        + still("IM", "L", "P", "RGB", "CMYK")
        + still("MSP", "1")
        + still("XBM", "1"),
    }


def altered(data: bytes, random_: random.Random) -> bytes:
    """A file with one to four faults, mostly near its start and in its metadata."""
    result = bytearray(data)
    for _ in range(random_.randint(1, 4)):
        random_.choice(FAULTS)(result, random_)
    if result[:4] == b"\x89PNG" and random_.random() < 0.8:
        mend_checksums(result)
    return bytes(result)


def place(data: bytearray, random_: random.Random) -> int:
    """Somewhere in a file: half the time in its first bytes."""
    near = min(len(data), random_.choice([32, 64, 256, 1024, len(data) or 1]))
    return random_.randrange(max(near, 1))


def change_bytes(data: bytearray, random_: random.Random) -> None:
    start = place(data, random_)
    for offset in range(start, min(start + random_.randint(1, 4), len(data))):
        data[offset] = random_.choice([0, 1, 127, 128, 255, random_.randrange(256)])


def change_number(data: bytearray, random_: random.Random) -> None:
    """Writes a number of 16 or 32 bits in either order."""
    start, code = place(data, random_), random_.choice(["<H", ">H", "<L", ">L"])
    number = random_.choice(EDGES + [len(data)]) % 2 ** (8 * struct.calcsize(code))
    data[start : start + struct.calcsize(code)] = struct.pack(code, number)


def change_directory(data: bytearray, random_: random.Random) -> None:
    """Alters one field of an entry of a TIFF directory, in TIFF files and in EXIF."""
    starts = [i for mark in (b"II*\0", b"MM\0*") for i in starts_of(data, mark)]
    if not starts:
        return change_number(data, random_)
    start = random_.choice(starts)
    order = "<" if data[start : start + 1] == b"I" else ">"
    try:
        (offset,) = struct.unpack_from(order + "L", data, start + 4)
        (count,) = struct.unpack_from(order + "H", data, start + offset)
        entry = start + offset + 2 + 12 * random_.randrange(count + 1)
        field, code = random_.choice([(0, "H"), (2, "H"), (4, "L"), (8, "L"), (8, "H")])
        edges = [*range(14), 274, 282, 34665] if code == "H" else [*EDGES, offset, len(data)]
        number = random_.choice(edges) % 2 ** (8 * struct.calcsize(code))
        struct.pack_into(order + code, data, entry + field, number)
    except (struct.error, ValueError):
        change_bytes(data, random_)
    return None


def starts_of(data: bytearray, mark: bytes) -> list[int]:
    starts, start = [], data.find(mark)
    while start >= 0:
        starts.append(start)
        start = data.find(mark, start + 1)
    return starts


def remove(data: bytearray, random_: random.Random) -> None:
    start = place(data, random_)
    del data[start : start + random_.choice([1, 2, 4, 12, 100])]


def repeat(data: bytearray, random_: random.Random) -> None:
    start = place(data, random_)
    end = start + random_.choice([1, 2, 4, 12, 100])
    data[end:end] = data[start:end] * random_.randint(1, 3)


def cut(data: bytearray, random_: random.Random) -> None:
    if random_.random() < 0.3:
        del data[random_.randrange(len(data) + 1) :]


FAULTS = (change_bytes, change_number, change_number, change_directory, change_directory)
FAULTS += (remove, repeat, cut)


def mend_checksums(data: bytearray) -> None:
    """Gives the chunks of a PNG the checksums of what they hold now."""
    start = 8
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        end = start + 8 + length
        if end + 4 > len(data):
            return
        struct.pack_into(">I", data, end, zlib.crc32(data[start + 4 : end]))
        start = end + 4


def outcome(path: pathlib.Path) -> str:
    """Reads a file in every way; "read" or "refused".

    Raises:
        AssertionError: what was read is no picture, or what was raised names no file.
        Exception: anything else that is raised.
    """
    try:
        pixels = images.read_image(path, MOST_PIXELS, background=(1, 2, 3), min_side=4)
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, pixels.shape
        result = "read"
    except images.ImageError as error:
        assert str(path) in str(error) and "\n" not in str(error), error
        result = "refused"
    try:
        labels = palette.read_labels(path, palette.MOST_LABELS, 255, MOST_PIXELS)
        assert labels.dtype == np.int32 and labels.ndim == 2 and (labels >= 0).all()
    except images.ImageError as error:
        assert str(path) in str(error) and "\n" not in str(error), error
    for frame in (0, 2) if path.suffix in ANIMATED else ():
        try:
            pixels = frame_readers.read_frame(path, frame, MOST_PIXELS)
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
        except images.ImageError as error:
            assert str(path) in str(error) and "\n" not in str(error), error
    assert images.jpeg_short_side(path) >= 0
    aspect.require_same(str(path), str(path))
    return result


def main() -> None:
    def fail(message, *args):
        raise AssertionError(f"a warning: {message}")

    warnings.showwarning = fail
    fuzzing.main(__doc__, lambda folder: valid_files(), outcome, altered)


if __name__ == "__main__":
    main()
