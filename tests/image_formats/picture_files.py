"""Image files written byte by byte: what libraries do not write, or would not write so."""

import struct
import zlib

import numpy as np

BLUE = (0, 0, 255)  # what transparent pictures are laid over
BYTE, TEXT, SHORT, LONG, RATIONAL, FLOAT, DOUBLE = 1, 2, 3, 4, 5, 11, 12
_CODES = {SHORT: "H", LONG: "L", FLOAT: "f", DOUBLE: "d"}


def chunk(name: bytes, data: bytes = b"") -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed(numbers: np.ndarray, bits: int, order: str = ">") -> list[bytes]:
    """Rows of whole numbers or floats [H, ...] as bytes, each row from a byte of its own."""
    if bits % 8 == 0:
        kind = {"i": "i", "u": "u", "f": "f"}[numbers.dtype.kind]
        return [row.astype(f"{order}{kind}{bits // 8}").tobytes() for row in numbers]
    places = np.arange(bits)[::-1]
    flat = numbers.astype(np.int64).reshape(len(numbers), -1, 1) >> places & 1
    return [np.packbits(row.reshape(-1)).tobytes() for row in flat]


def png(
    numbers: np.ndarray,
    bits: int,
    *,
    palette: bytes = b"",
    key: bytes = b"",
    front: bytes = b"",
    back: bytes = b"",
) -> bytes:
    """A PNG of unsigned numbers [H, W] or [H, W, 1..4].

    Args:
        numbers: gray or palette numbers, gray and alpha, colors, or colors and alpha.
        bits: a sample.
        palette: red, green, blue of each number.
        key: the content of tRNS.
        front, back: chunks in front of and behind the pixels.
    """
    channels = 1 if numbers.ndim == 2 else numbers.shape[2]
    color = 3 if palette else {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    height, width = numbers.shape[:2]
    pixels = b"".join(b"\0" + row for row in packed(numbers, bits))
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)),
            front,
            chunk(b"PLTE", palette) if palette else b"",
            chunk(b"tRNS", key) if key else b"",
            chunk(b"IDAT", zlib.compress(pixels)),
            back,
            chunk(b"IEND"),
        ]
    )


def directory(entries: dict, *, order: str = "<", start: int = 8, next_one: int = 0) -> bytes:
    """A TIFF directory that lies at `start`; entries are (type, values or bytes) by tag.

    An entry may also be (type, count, the four bytes of its field).
    """
    head, body = struct.pack(order + "H", len(entries)), b""
    place = start + 2 + 12 * len(entries) + 4
    for tag, (kind, *rest) in sorted(entries.items()):
        if len(rest) == 2:
            count, field = rest
        else:
            (values,) = rest
            if isinstance(values, bytes):
                count, data = len(values) // (8 if kind == RATIONAL else 1), values
            else:
                count, data = (
                    len(values),
                    struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values),
                )
            field = data.ljust(4, b"\0")
            if len(data) > 4:
                field = struct.pack(order + "L", place + len(body))
                body += data + b"\0" * (len(data) % 2)
        head += struct.pack(order + "HHL4s", tag, kind, count, field)
    return head + struct.pack(order + "L", next_one) + body


def tiff_header(order: str = "<") -> bytes:
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HL", 42, 8)


def exif(entries: dict, *, order: str = "<", **more) -> bytes:
    """An EXIF block without the six bytes that JPEG has in front."""
    return tiff_header(order) + directory(entries, order=order, **more)


def tiff(
    numbers: np.ndarray,
    bits: int,
    photometric: int | None,
    *,
    order: str = "<",
    compressed: bool = False,
    apart: bool = False,
    tags: dict | None = None,
) -> bytes:
    """A TIFF of numbers [H, W] or [H, W, C] in one strip, or in one a plane if they lie apart."""
    channels = 1 if numbers.ndim == 2 else numbers.shape[2]
    planes = np.moveaxis(numbers, -1, 0) if apart else [numbers]
    strips = [b"".join(packed(plane, bits, order)) for plane in planes]
    if compressed:
        strips = [zlib.compress(strip) for strip in strips]
    height, width = numbers.shape[:2]
    kind = {"u": 1, "i": 2, "f": 3}[numbers.dtype.kind]
    entries = {
        256: (SHORT, [width]),
        257: (SHORT, [height]),
        258: (SHORT, [bits] * channels),
        259: (SHORT, [8 if compressed else 1]),
        273: (LONG, [0] * len(strips)),
        277: (SHORT, [channels]),
        278: (SHORT, [height]),
        279: (LONG, [len(strip) for strip in strips]),
        284: (SHORT, [2 if apart else 1]),
        339: (SHORT, [kind] * channels),
    }
    if photometric is not None:
        entries[262] = (SHORT, [photometric])
    entries |= tags or {}
    end = 8 + len(directory(entries, order=order))
    starts = [end + sum(map(len, strips[:number])) for number in range(len(strips))]
    entries[273] = (LONG, starts)
    return tiff_header(order) + directory(entries, order=order) + b"".join(strips)
