"""Image files without their metadata: pixels, the facts that say what samples mean, orientation.

Readers parse resolutions, color profiles, comments and camera notes although no pixel depends on
them, and fail on those that are damaged. So they are given a view of the file that has none.
"""

import dataclasses
import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from lvm_jax.image_formats import edited_file, tiff_directory
from lvm_jax.image_formats.edited_file import Edit

UPRIGHT = 1
# More of one piece of metadata is not looked through; unpacked texts may be bombs.
_MOST_BYTES = 1 << 20
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])")
_PNG_FRAMES = frozenset([b"acTL", b"fcTL", b"fdAT"])
_WEBP_METADATA = frozenset([b"EXIF", b"XMP ", b"ICCP"])
_WEBP_FLAGS = 0b101100  # of its header, that say that there are such
_WEBP_ALPHA, _WEBP_ANIMATION = 0b10000, 0b10


@dataclasses.dataclass(frozen=True, kw_only=True)
class BareFile:
    """A file as decoders should see it.

    Attributes:
        file: the view; it is valid while the original is open.
        orientation: 1..8 as EXIF counts them; None where only the decoder can tell.
        white_is_zero: the view says that black is zero, but white is.
        facts: what its header says about its samples, for errors.
    """

    file: BinaryIO
    orientation: int | None = None
    white_is_zero: bool = False
    facts: str = ""


def bare(file: BinaryIO, *, animated: bool = False) -> BareFile:
    """A view of an image file that shows no metadata; of other files, the file itself.

    Args:
        file: open for reading in binary.
        animated: the frames of a PNG after the first are shown, too.
    """
    start = file.read(12)
    if start.startswith(b"\xff\xd8\xff"):
        return _bare_jpeg(file)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _bare_png(file, animated)
    if start.startswith(tiff_directory.STARTS):
        return _bare_tiff(file)
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return _bare_webp(file)
    if start[4:8] in (b"ftyp", b"jP  "):
        return BareFile(file=edited_file.edited(file, list(_box_edits(file, 0, _size(file)))))
    return BareFile(file=file)


def orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """1..8 as EXIF counts them; upright where neither block says anything that makes sense."""
    stated = None
    if exif:
        try:
            block = exif.removeprefix(_EXIF).removeprefix(_EXIF)  # some write it twice
            stated = tiff_directory.read(io.BytesIO(block)).orientation
        except (ValueError, struct.error):
            pass  # no directory: it says nothing
    if stated is None and xmp and (match := _XMP_ORIENTATION.search(xmp)):
        stated = int(match[1])
    return UPRIGHT if stated is None else stated


def _bare_jpeg(file: BinaryIO) -> BareFile:
    edits, exif, xmp, last = [], b"", b"", 2
    for marker, start, payload, end in _jpeg_segments(file):
        edits.append(Edit(last, start))  # garbage between them
        last = end
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            continue
        data = _read(file, payload, end)
        # Only these two say how the samples are to be understood.
        if marker == 0xE0 and data.startswith(b"JFIF\0") and len(data) >= 14:
            continue
        if marker == 0xEE and data.startswith(b"Adobe") and len(data) >= 12:
            continue
        edits.append(Edit(start, end))
        if marker == 0xE1 and data.startswith(_EXIF):
            if len(exif) < _MOST_BYTES:  # long blocks go on in the next segment
                exif += data[len(_EXIF) :]
        elif marker == 0xE1 and data.startswith(_XMP):
            xmp = data[len(_XMP) :]
    return BareFile(file=edited_file.edited(file, edits), orientation=orientation(exif, xmp))


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int, int, int]]:
    """Marker, start, payload and end of every segment in front of the pixels.

    Raises:
        ValueError: there are no pixels.
    """
    size, position = _size(file), 2
    while True:
        file.seek(position)
        head = file.read(4)
        if len(head) < 4:
            raise ValueError("it ends in front of its pixels")
        if head[0] != 0xFF or head[1] in (0x00, 0xFF):
            # Garbage and padding are passed over, as decoders do.
            place = (head[1:] + file.read(1 << 12)).find(b"\xff")
            position += 1 + (place if place >= 0 else 1 << 12)
            continue
        marker, start = head[1], position
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # these stand alone
            position += 2
            continue
        length = int.from_bytes(head[2:], "big")
        position = start + 2 + length
        if marker in (0xD9, 0xDA) or length < 2 or position > size:
            return
        yield marker, start, start + 4, position


def _bare_png(file: BinaryIO, animated: bool) -> BareFile:
    edits, exif, profile, xmp = [], b"", b"", b""
    for name, start, payload, end in png_chunks(file):
        # Capital: needed for the pixels.
        if name[:1].isupper() or name == b"tRNS" or (animated and name in _PNG_FRAMES):
            continue
        edits.append(Edit(start, end))
        if name not in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            continue
        data = _read(file, payload, end - 4)
        key = b"" if name == b"eXIf" else data.partition(b"\0")[0]
        if name == b"eXIf":
            exif = data
        elif key == b"exif":
            exif = exif or _png_text(name, data)
        elif key == b"Raw profile type exif":  # what ImageMagick writes
            profile = profile or _hexadecimal(_png_text(name, data))
        elif key == b"XML:com.adobe.xmp":
            xmp = xmp or _png_text(name, data)
    view = edited_file.edited(file, edits)
    return BareFile(file=view, orientation=orientation(exif or profile, xmp))


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int, int]]:
    """Name, start, payload and end of every chunk; the last may be cut short."""
    size, position = _size(file), 8
    while position < size:
        file.seek(position)
        header = file.read(8)
        name = header[4:]
        if len(header) < 8 or not name.isalpha():
            return
        start, position = position, position + 12 + int.from_bytes(header[:4], "big")
        yield name, start, start + 8, min(position, size)


def _png_text(name: bytes, data: bytes) -> bytes:
    """The text of a chunk behind its key, unpacked; nothing where it is damaged."""
    text = data.partition(b"\0")[2]
    is_packed = name == b"zTXt"
    if name == b"zTXt":
        text = text[1:]
    elif name == b"iTXt":
        is_packed, text = text[:1] == b"\1", text[2:]
        for _ in ("language", "translated key"):
            text = text.partition(b"\0")[2]
    return _unpacked(text) if is_packed else text


def _unpacked(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _MOST_BYTES)
    except zlib.error:
        return b""


def _hexadecimal(text: bytes) -> bytes:
    """The bytes of a text of a name, a length and hexadecimal digits, on lines of their own."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _bare_webp(file: BinaryIO) -> BareFile:
    # Its header says how long the file is, without the first eight bytes.
    length = min(int.from_bytes(_read(file, 4, 8), "little"), _size(file) - 8)
    edits, exif, xmp = [], b"", b""
    for name, start, payload, end in _riff_chunks(file, length + 8):
        if name == b"VP8X":
            flags = int.from_bytes(_read(file, payload, payload + 1)) & ~_WEBP_FLAGS
            if flags & _WEBP_ANIMATION:
                flags |= _WEBP_ALPHA  # what no frame covers is transparent, whatever it says
            edits.append(Edit(payload, payload + 1, bytes([flags])))
        elif name in _WEBP_METADATA:
            edits.append(Edit(start, end))
            length -= end - start
            if name == b"EXIF":
                exif = exif or _read(file, payload, end)
            elif name == b"XMP ":
                xmp = xmp or _read(file, payload, end)
    edits.insert(0, Edit(4, 8, struct.pack("<L", length)))
    return BareFile(file=edited_file.edited(file, edits), orientation=orientation(exif, xmp))


def _riff_chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Name, start, payload and end of every chunk; the last may be cut short."""
    position = 12
    while position + 8 <= size:
        header = _read(file, position, position + 8)
        length = int.from_bytes(header[4:], "little")
        start, position = position, position + 8 + length + length % 2
        yield header[:4], start, start + 8, min(position, size)


def _bare_tiff(file: BinaryIO) -> BareFile:
    file.seek(0)
    directory = tiff_directory.read(file)
    pixels, white_is_zero = tiff_directory.pixels_only(directory)
    size = _size(file)
    if directory.end > size:
        raise ValueError("its directory is cut short")
    end = min(directory.start + len(pixels), size)  # the place of a next one may be missing
    stated = directory.orientation
    if stated is None:
        stated = orientation(None, directory.xmp(file, _MOST_BYTES))
    return BareFile(
        file=edited_file.edited(file, [Edit(directory.start, end, pixels)]),
        orientation=stated,
        white_is_zero=white_is_zero,
        facts=directory.facts(),
    )


def _box_edits(file: BinaryIO, start: int, end: int) -> Iterator[Edit]:
    """Hides EXIF and XMP items of AVIF and resolutions of JPEG 2000 by other names of their boxes.

    Orientation is a property of the picture itself in AVIF; JPEG 2000 has none.
    """
    for name, payload, box_end in _boxes(file, start, end):
        if name == b"res ":
            yield Edit(payload - 4, payload, b"free")
        elif name in (b"jp2h", b"moov", b"trak"):
            yield from _box_edits(file, payload, box_end)
        elif name == b"meta":
            yield from _box_edits(file, payload + 4, box_end)
        elif name == b"iinf":
            wide = _read(file, payload, payload + 1) != b"\0"
            yield from _box_edits(file, payload + (8 if wide else 6), box_end)
        elif name == b"infe":
            version = _read(file, payload, payload + 1)
            place = payload + (10 if version == b"\3" else 8)
            if _read(file, place, place + 4) in (b"Exif", b"mime"):
                yield Edit(place, place + 4, b"free")


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, payload and end of every box of the ISO format for media between two places."""
    while start + 8 <= end:
        header = _read(file, start, start + 16)
        if len(header) < 8:
            return
        length, name, payload = int.from_bytes(header[:4], "big"), header[4:8], start + 8
        if length == 1:
            length, payload = int.from_bytes(header[8:16], "big"), start + 16
        box_end = start + length if length else end
        if not payload <= box_end <= end:
            return
        yield name, payload, box_end
        start = box_end


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(min(max(end - start, 0), _MOST_BYTES))


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)
