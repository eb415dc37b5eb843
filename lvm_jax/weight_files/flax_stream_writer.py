"""Writes the streams that `flax_streams` reads, array by array in any order.

How long everything will be is known before the first number, so every array has its place at once.
Small values are msgpack's own work; the heads of what is never whole in memory are written here.
"""

import pathlib
import struct
from collections.abc import Iterator, Mapping

import msgpack
import numpy as np

from lvm_jax.weight_files import stored_arrays
from lvm_jax.weight_files.flax_streams import ARRAY, CHUNKED
from lvm_jax.weight_files.stretches import PlannedFile, Stretch

CHUNK_BYTES = 2**30
MOST_BYTES = 2**32 - 1
"""What a leaf takes at most: msgpack counts the bytes of one in 32 bits."""


def plan(
    path: pathlib.Path,
    arrays: Mapping[tuple[str, ...], tuple[tuple[int, ...], np.dtype]],
    chunk_bytes: int = CHUNK_BYTES,
) -> PlannedFile:
    """Begins a stream, into which its arrays go one by one, under their ways joined by "/".

    Args:
        path: the file.
        arrays: the way to each leaf -> its shape and dtype, in the order of the file.
        chunk_bytes: the size beyond which an array is kept in pieces, and the most of a piece.

    Raises:
        ValueError: an array is larger than msgpack can say.
        atomic.WriteError: the disk is full or read-only.
    """
    texts: dict[int, bytes] = {}
    places: dict[str, list[Stretch]] = {}
    start = 0
    for way, (shape, dtype) in arrays.items():
        name = stored_arrays.SEPARATOR.join(way)
        parts = list(_leaf_parts(shape, dtype, chunk_bytes))
        length = sum(part if isinstance(part, int) else len(part) for part in parts)
        if length > MOST_BYTES:
            raise ValueError(
                f"{name} {shape} of {dtype} takes {length} bytes, and EasyLM's format keeps at "
                f"most {MOST_BYTES} an array; use a smaller dtype"
            )
        head = b"\x92" + msgpack.packb(list(way)) + _bin_head(length)
        places[name] = []
        for part in [head, *parts]:
            if isinstance(part, int):
                places[name].append(Stretch(start, part))
                start += part
            else:
                texts[start] = part
                start += len(part)
    return PlannedFile(path, texts, places)


def _leaf_parts(shape: tuple[int, ...], dtype: np.dtype, chunk_bytes: int) -> Iterator[bytes | int]:
    """What flax makes of an array: headers, and for its numbers how many bytes they take."""
    size = int(np.prod(shape, dtype=np.int64))
    if size * dtype.itemsize <= chunk_bytes:
        yield from _array_parts(shape, dtype)
        return
    length = max(1, chunk_bytes // dtype.itemsize)
    counts = [min(length, size - begin) for begin in range(0, size, length)]
    sizes = {str(axis): n for axis, n in enumerate(shape)}
    yield b"\x83" + b"".join(map(msgpack.packb, (CHUNKED, True, "shape", sizes, "chunks")))
    yield msgpack.Packer().pack_map_header(len(counts))
    for number, count in enumerate(counts):
        yield msgpack.packb(str(number))
        yield from _array_parts((count,), dtype)


def _array_parts(shape: tuple[int, ...], dtype: np.dtype) -> Iterator[bytes | int]:
    num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    head = b"\x93" + msgpack.packb(list(shape)) + msgpack.packb(dtype.name)
    head += _bin_head(num_bytes)
    yield _ext_head(len(head) + num_bytes) + head
    yield num_bytes


def _bin_head(length: int) -> bytes:
    return _sized(length, (0xC4, 0xC5, 0xC6))


def _ext_head(length: int) -> bytes:
    if length in (1, 2, 4, 8, 16):
        return bytes([0xD4 + length.bit_length() - 1, ARRAY])
    return _sized(length, (0xC7, 0xC8, 0xC9)) + bytes([ARRAY])


def _sized(length: int, firsts: tuple[int, int, int]) -> bytes:
    """A first byte and the length behind it, in one, two or four bytes."""
    if length < 2**8:
        return bytes([firsts[0], length])
    if length < 2**16:
        return bytes([firsts[1]]) + struct.pack(">H", length)
    return bytes([firsts[2]]) + struct.pack(">I", length)
