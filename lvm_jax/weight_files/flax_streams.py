"""Streams of flax arrays, as EasyLM keeps a model: `streaming_params`, `streaming_train_state`.

The file is msgpack objects one after another, each a pair of the way to a leaf (a list of strings)
and the bytes of flax's own msgpack of that leaf: an array is extension 1 of (shape, dtype, bytes),
a scalar of numpy extension 3 of the same, and an array of more than 2^30 bytes a map of its
flattened pieces. Written by hand after both formats' description: msgpack's own reader would take
every number into memory to learn where the next leaf begins.

Sources: github.com/young-geng/EasyLM checkpoint.py; flax/serialization.py; msgpack's specification.
"""

import os
import pathlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from lvm_jax.weight_files import stored_arrays, stretches
from lvm_jax.weight_files.stored_arrays import OtherKindError, Stored
from lvm_jax.weight_files.stretches import Stretch

ARRAY, _SCALAR = 1, 3
CHUNKED = "__msgpack_chunked_array__"
# A leaf's name, or a shape, is never longer; a length beyond it is damage.
_MOST_TEXT = 2**16

# First byte -> (what it begins, bytes of its length); the short forms keep it in the byte itself.
_HEADS = {
    0xC4: ("bin", 1),
    0xC5: ("bin", 2),
    0xC6: ("bin", 4),
    0xC7: ("ext", 1),
    0xC8: ("ext", 2),
    0xC9: ("ext", 4),
    0xD9: ("str", 1),
    0xDA: ("str", 2),
    0xDB: ("str", 4),
    0xDC: ("list", 2),
    0xDD: ("list", 4),
    0xDE: ("map", 2),
    0xDF: ("map", 4),
}
_FIXED = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}


def begins_stream(head: bytes) -> bool:
    """Whether a file that begins so is a stream: a pair that begins with a list of strings."""
    return head[:1] == b"\x92" and head[1:2] in _LIST_HEADS and head[2:3] in _TEXT_HEADS


_LIST_HEADS = tuple(bytes([b]) for b in (*range(0x90, 0xA0), 0xDC))
_TEXT_HEADS = tuple(bytes([b]) for b in (*range(0xA0, 0xC0), 0xD9))


def look(path: pathlib.Path) -> dict[str, Stored]:
    """The arrays of a stream by the way to each, joined by "/"; the numbers are passed over.

    Raises:
        ValueError, EOFError: the file is damaged or cut short.
    """
    arrays = {}
    # Larger reads would be thrown away with every step over an array.
    with path.open("rb", buffering=2**12) as file:
        size = os.fstat(file.fileno()).st_size
        scan = _Scan(file, size)
        while file.tell() < size:
            way, leaf = scan.leaf()
            if leaf is not None:
                shape, dtype, where = leaf
                arrays[stored_arrays.SEPARATOR.join(way)] = _stored(path, shape, dtype, where)
    return arrays


def _stored(
    path: pathlib.Path, shape: tuple[int, ...], dtype: str, where: Sequence[Stretch]
) -> Stored:
    try:
        itemsize = np.dtype(dtype).itemsize
    except TypeError:
        raise OtherKindError(f"its numbers of type {dtype} cannot be read") from None
    num_bytes = sum(stretch.num_bytes for stretch in where)
    if int(np.prod(shape, dtype=object)) * itemsize != num_bytes or min((0, *shape)) < 0:
        raise ValueError(f"an array {shape} of {dtype} in {num_bytes} bytes")
    return stretches.stored(path, shape, dtype, where)


_Leaf = tuple[tuple[int, ...], str, list[Stretch]]


class _Scan:
    """Reads msgpack, and steps over the bytes of arrays."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self._size = file, size

    def leaf(self) -> tuple[list[str], _Leaf | None]:
        """The next pair: the way to a leaf, and its array if it is one."""
        if self._head() != ("list", 2):
            raise ValueError(f"no pair before byte {self._file.tell()}")
        way = self._value()
        if not isinstance(way, list):
            raise ValueError("a leaf without the way to it")
        kind, length = self._head()
        if kind != "bin":
            raise ValueError(f"a {kind} in place of a leaf's bytes")
        end = self._file.tell() + length
        self._require(length)
        leaf = self._array() if length else None
        if leaf is not None and self._file.tell() != end:
            raise ValueError(f"a leaf that does not end at byte {end}")
        self._file.seek(end)
        return [str(part) for part in way], leaf

    def _array(self) -> _Leaf | None:
        """What a leaf's bytes say; None for one that is no array."""
        kind, value = self._head()
        if kind == "ext":
            code = self._take(1)[0]
            return self._extension(code) if code in (ARRAY, _SCALAR) else None
        if kind != "map" or not value:
            return None
        if self._value() != CHUNKED:
            return None
        self._value()
        shape: tuple[int, ...] = ()
        chunks: list[_Leaf] = []
        for _ in range(value - 1):
            match self._value():
                case "shape":
                    sizes = self._value()
                    shape = tuple(sizes[str(axis)] for axis in range(len(sizes)))
                case "chunks":
                    chunks = list(self._chunks())
                case other:
                    raise ValueError(f"a chunked array with {other!r}")
        if len({dtype for _, dtype, _ in chunks}) != 1:
            raise ValueError("an array in chunks of several types, or of none")
        return shape, chunks[0][1], [stretch for _, _, where in chunks for stretch in where]

    def _chunks(self) -> Iterator[_Leaf]:
        kind, count = self._head()
        if kind != "map":
            raise ValueError("an array's chunks are no map")
        for number in range(count):
            if self._value() != str(number):
                raise ValueError(f"chunk {number} is not where it should be")
            kind, _ = self._head()
            if kind != "ext" or self._take(1)[0] != ARRAY:
                raise ValueError(f"chunk {number} is no array")
            yield self._extension(ARRAY)

    def _extension(self, code: int) -> _Leaf:
        if self._head() != ("list", 3):
            raise ValueError(f"an extension {code} that is not flax's")
        shape, dtype = self._value(), self._value()
        kind, length = self._head()
        if kind != "bin" or not isinstance(shape, list):
            raise ValueError(f"an extension {code} that is not flax's")
        self._require(length)
        start = self._file.tell()
        self._file.seek(length, os.SEEK_CUR)
        return tuple(map(int, shape)), str(dtype), [Stretch(start, length)]

    def _value(self) -> Any:
        """A small value, whole."""
        kind, value = self._head()
        if kind in ("str", "bin"):
            return self._take(value).decode()
        if kind == "list":
            return [self._value() for _ in range(min(value, _MOST_TEXT))]
        if kind == "map":
            return {self._value(): self._value() for _ in range(min(value, _MOST_TEXT))}
        if kind == "ext":
            raise ValueError("an extension in place of a name")
        return value

    def _head(self) -> tuple[str, Any]:
        """What begins here, and its length, or its value where it has no more."""
        first = self._take(1)[0]
        if first < 0x80 or first >= 0xE0:
            return "number", first if first < 0x80 else first - 0x100
        if first < 0xC0:
            kind = "map" if first < 0x90 else "list" if first < 0xA0 else "str"
            return kind, first & (0x1F if kind == "str" else 0x0F)
        if first in _FIXED:
            return "number", _FIXED[first]
        if first in _NUMBERS:
            form = _NUMBERS[first]
            return "number", struct.unpack(form, self._take(struct.calcsize(form)))[0]
        if 0xD4 <= first <= 0xD8:
            return "ext", 2 ** (first - 0xD4)
        if first not in _HEADS:
            raise ValueError(f"byte {first:#x} before {self._file.tell()} begins nothing")
        kind, length = _HEADS[first]
        return kind, int.from_bytes(self._take(length))

    def _take(self, count: int) -> bytes:
        if count > _MOST_TEXT:
            raise ValueError(f"a name of {count} bytes")
        content = self._file.read(count)
        if len(content) < count:
            raise EOFError("it ends early")
        return content

    def _require(self, count: int) -> None:
        if self._file.tell() + count > self._size:
            raise EOFError(f"{self._file.tell() + count - self._size} bytes are missing")
