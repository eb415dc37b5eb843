"""The first directory of a TIFF file or of an EXIF block: read without trusting it."""

import dataclasses
import struct
from typing import BinaryIO, NamedTuple

STARTS = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")
_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _XMP = 258, 259, 262, 274, 700
_SHORT = 3
# Types of whole numbers and their codes of `struct`.
_NUMBERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}
_OLD_JPEG = 6  # always Y, Cb and Cr, whatever the directory says
# Pixels depend on these alone: size, samples, strips and tiles, compressions and their options,
# colors. Microsoft's number marks files that are no TIFF.
_PIXEL_TAGS = frozenset(
    [256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325]
    + [332, 336, 338, 339, 347, *range(512, 522), 529, 530, 532, 0xBC01]
)
_FACTS = {
    "BitsPerSample": _BITS,
    "Compression": _COMPRESSION,
    "PhotometricInterpretation": _PHOTOMETRIC,
    "SamplesPerPixel": 277,
    "SampleFormat": 339,
    "ExtraSamples": 338,
}


class Entry(NamedTuple):
    """One entry of a directory; `field` is its value if that fits, else where it lies."""

    tag: int
    type: int
    count: int
    field: bytes


@dataclasses.dataclass(frozen=True)
class Directory:
    """Entries of a directory, the first of each tag, in the order of the file.

    Attributes:
        order: "<" or ">".
        big: offsets have 64 bits.
        start: where it lies in the file.
        end: where it says that its entries end; the place of the next directory follows.
        entries: by tag.
    """

    order: str
    big: bool
    start: int
    end: int
    entries: dict[int, Entry]

    def number(self, tag: int) -> int | None:
        """A whole number that fits into its entry, the first of several; None if there is none."""
        entry = self.entries.get(tag)
        if entry is None or entry.type not in _NUMBERS or not entry.count:
            return None
        code = self.order + _NUMBERS[entry.type]
        if struct.calcsize(code) * entry.count > len(entry.field):
            return None
        return struct.unpack_from(code, entry.field)[0]

    @property
    def orientation(self) -> int | None:
        """1..8, upright where it makes no sense; None if the directory says nothing about it."""
        if _ORIENTATION not in self.entries:
            return None
        number = self.number(_ORIENTATION)
        return number if number in range(1, 9) else 1

    def xmp(self, file: BinaryIO, most_bytes: int) -> bytes:
        """The block of properties in XML, or nothing."""
        entry = self.entries.get(_XMP)
        if entry is None or entry.count <= len(entry.field):
            return b""
        (offset,) = struct.unpack(self.order + ("Q" if self.big else "L"), entry.field)
        if offset >= 2**63:
            return b""
        file.seek(offset)
        return file.read(min(entry.count, most_bytes))

    def facts(self) -> str:
        """What it says about samples: numbers by name, for errors."""
        numbers = {name: self.number(tag) for name, tag in _FACTS.items()}
        return ", ".join(f"{name} {n}" for name, n in numbers.items() if n is not None)


def read(file: BinaryIO) -> Directory:
    """The first directory of a file; entries that lie beyond the end are left out.

    Args:
        file: at the start of the header.

    Raises:
        ValueError: no header, or a directory of more entries than there are tags.
    """
    header = file.read(8)
    if len(header) < 8 or header[:4] not in STARTS:
        raise ValueError("no TIFF header")
    order, big = "<" if header[:2] == b"II" else ">", b"+" in header[2:4]
    if big:
        header += file.read(8)
    start = int.from_bytes(header[8:] if big else header[4:], "little" if order == "<" else "big")
    if start >= 2**63:
        raise ValueError(f"its directory is said to lie at {start}")
    file.seek(start)
    (count,) = _unpack(order + ("Q" if big else "H"), file)
    if count >= 2**16:
        raise ValueError(f"its directory is said to have {count} entries")
    end = file.tell() + count * (20 if big else 12)
    entries: dict[int, Entry] = {}
    for _ in range(count):
        try:
            entry = Entry(*_unpack(order + ("HHQ8s" if big else "HHL4s"), file))
        except struct.error:
            break
        entries.setdefault(entry.tag, entry)
    return Directory(order, big, start, end, entries)


def pixels_only(directory: Directory) -> tuple[bytes, bool]:
    """A directory with nothing but what pixels depend on, and with black as zero.

    Returns:
        Bytes to stand where the directory begins, not more than it has; and whether white is zero,
        which readers apply at some depths only, so that it is left to the caller.

    Raises:
        ValueError: it does not say what black and white are.
    """
    order, big = directory.order, directory.big
    kept = [entry for tag, entry in directory.entries.items() if tag in _PIXEL_TAGS]
    is_old = directory.number(_COMPRESSION) == _OLD_JPEG
    if _PHOTOMETRIC not in directory.entries and not is_old:
        raise ValueError("it has no PhotometricInterpretation: black may be white")
    white_is_zero = directory.number(_PHOTOMETRIC) == 0 and not is_old
    if white_is_zero:
        field = struct.pack(order + "H", 1).ljust(8 if big else 4, b"\0")
        black_is_zero = Entry(_PHOTOMETRIC, _SHORT, 1, field)
        kept = [black_is_zero if entry.tag == _PHOTOMETRIC else entry for entry in kept]
    body = b"".join(struct.pack(order + ("HHQ8s" if big else "HHL4s"), *entry) for entry in kept)
    count = struct.pack(order + ("Q" if big else "H"), len(kept))
    return count + body + bytes(8 if big else 4), white_is_zero


def _unpack(code: str, file: BinaryIO) -> tuple:
    return struct.unpack(code, file.read(struct.calcsize(code)))
