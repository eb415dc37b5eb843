"""The frames of an animated PNG file, each as a still picture of its own.

Source: W3C, Portable Network Graphics, third edition, sections 11.3.6 (animation) and 13.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from lvm_jax.frames.composition import Disposal, Part
from lvm_jax.image_formats import metadata

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DISPOSALS = {1: Disposal.CLEAR, 2: Disposal.RESTORE}
_OVER = 1
_NEEDED = frozenset([b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"IDAT", b"fdAT", b"IEND"])


class _Control(NamedTuple):
    """A frame's control chunk."""

    number: int
    width: int
    height: int
    left: int
    top: int
    delay: int
    delay_unit: int
    disposal: int
    blending: int


def count_promised(file: BinaryIO) -> int | None:
    """Frames of the animation by its header; 0 if there is none, None if the file is no PNG.

    Args:
        file: open for reading in binary.
    """
    file.seek(0)
    if file.read(8) != _SIGNATURE:
        return None
    for name, _, payload, _ in metadata.png_chunks(file):
        if name == b"IDAT":
            break
        if name == b"acTL":
            file.seek(payload)
            return int.from_bytes(file.read(4), "big")
    return 0


def read_parts(file: BinaryIO) -> Iterator[Part]:
    """What each frame draws, in order; the default picture only if it is one of them.

    Args:
        file: open for reading in binary.

    Raises:
        ValueError: the file is damaged.
    """
    promised, number, sequence = count_promised(file) or 0, 0, 0
    header, shared = b"", b""
    control: _Control | None = None
    data: list[bytes] = []
    for name, chunk in _chunks(file):
        if name in (b"fcTL", b"fdAT"):
            if chunk[:4] != sequence.to_bytes(4, "big"):
                raise ValueError("its frames are not in order")
            sequence += 1
        if name == b"IHDR":
            header = chunk
        elif name in (b"PLTE", b"tRNS"):
            shared += _packed(name, chunk)
        elif name == b"IDAT":
            data.append(chunk)  # left alone again if it is not of the animation
        elif name == b"fdAT":
            data.append(chunk[4:])
        elif name in (b"fcTL", b"IEND"):
            if control:
                yield _part(header, shared, control, b"".join(data))
                number += 1
            if number == promised or name == b"IEND":
                break
            control, data = _Control(*struct.unpack(">5I2H2B", chunk)), []
    if number < promised:
        raise ValueError(f"it promises {promised} frames")


def _part(header: bytes, shared: bytes, control: _Control, data: bytes) -> Part:
    if not data:
        raise ValueError("a frame has no data")
    width, height = struct.unpack(">II", header[:8])
    if control.left + control.width > width or control.top + control.height > height:
        raise ValueError("a frame does not lie within the picture")
    size = struct.pack(">II", control.width, control.height)
    chunks = _packed(b"IHDR", size + header[8:]), shared, _packed(b"IDAT", data)
    return Part(
        left=control.left,
        top=control.top,
        width=control.width,
        height=control.height,
        still=b"".join([_SIGNATURE, *chunks, _packed(b"IEND", b"")]),
        disposal=_DISPOSALS.get(control.disposal, Disposal.KEEP),
        is_over=control.blending == _OVER,
    )


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of every chunk that says what pixels are."""
    for name, start, payload, end in metadata.png_chunks(file):
        if name not in _NEEDED:
            continue
        file.seek(start)
        chunk = file.read(end - start)
        if chunk != _packed(name, chunk[8:-4]):
            raise ValueError(f"its {name.decode()} chunk is damaged")
        yield name, chunk[payload - start : -4]


def _packed(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + name + data + checksum
