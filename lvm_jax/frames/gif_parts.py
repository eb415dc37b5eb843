"""The frames of a GIF file, each as a still picture of its own.

Source: CompuServe, Graphics Interchange Format, version 89a.
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import BinaryIO

from lvm_jax.frames.composition import Disposal, Part

_DISPOSALS = {2: Disposal.CLEAR, 3: Disposal.RESTORE}  # the others keep, those to be defined too
_IMAGE, _EXTENSION, _TRAILER = b",", b"!", b";"
_TEXT, _CONTROL = 0x01, 0xF9
_HAS_COLORS, _INTERLACED = 0x80, 0x40


@dataclasses.dataclass(frozen=True)
class _Control:
    """What is said before a frame about how it is shown."""

    disposal: Disposal = Disposal.KEEP
    transparent: int | None = None


def read_parts(file: BinaryIO) -> Iterator[Part]:
    """What each frame draws, in order.

    Args:
        file: open for reading in binary.

    Raises:
        ValueError: the file ends inside of a frame.
    """
    file.seek(0)
    flags = _read(file, 13)[10]
    global_colors = _colors(file, flags)
    control = _Control()
    while (sign := file.read(1)) and sign != _TRAILER:
        if sign == _EXTENSION:
            label, data = _read(file, 1)[0], _blocks(file)
            if label == _CONTROL:
                control = _control(data)
            elif label == _TEXT:
                control = _Control()  # it was about the text, which nothing draws
        elif sign == _IMAGE:
            yield _part(file, global_colors, control)
            control = _Control()


def _control(data: bytes) -> _Control:
    if len(data) < 5:
        return _Control()
    flags, transparent = data[1], data[4]
    disposal = _DISPOSALS.get(flags >> 2 & 7, Disposal.KEEP)
    return _Control(disposal, transparent if flags & 1 else None)


def _part(file: BinaryIO, global_colors: bytes, control: _Control) -> Part:
    left, top, width, height, flags = struct.unpack("<4HB", _read(file, 9))
    colors = _colors(file, flags) or global_colors
    code_size, data = _read(file, 1), _blocks(file)
    size = struct.pack("<HH", width, height)
    # One picture that fills its screen, so that no earlier frame has a say in it.
    still = [b"GIF89a", size, _screen_flags(colors), b"\0\0", colors]
    if control.transparent is not None:
        still.append(b"!\xf9\x04\x01\0\0" + bytes([control.transparent]) + b"\0")
    still += [b",\0\0\0\0", size, bytes([flags & _INTERLACED]), code_size, data, b";"]
    return Part(
        left=left,
        top=top,
        width=width,
        height=height,
        still=b"".join(still),
        disposal=control.disposal,
    )


def _colors(file: BinaryIO, flags: int) -> bytes:
    return _read(file, 3 << (flags & 7) + 1) if flags & _HAS_COLORS else b""


def _screen_flags(colors: bytes) -> bytes:
    return bytes([_HAS_COLORS | (len(colors) // 3).bit_length() - 2 if colors else 0])


def _blocks(file: BinaryIO) -> bytes:
    """Blocks of data as they stand, with their lengths and the empty one that ends them."""
    blocks = []
    while True:
        length = _read(file, 1)
        blocks.append(length + _read(file, length[0]))
        if length == b"\0":
            return b"".join(blocks)


def _read(file: BinaryIO, number: int) -> bytes:
    data = file.read(number)
    if len(data) < number:
        raise ValueError("it is cut short")
    return data
