"""Arrays whose numbers lie in known stretches of a file, read and written part by part.

A stretch may be larger than memory: nothing here holds more than a part of `PART_BYTES`, but for
an array that is wanted whole. Files are read and written, never mapped: pages of a mapped file
count as memory of the process.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import ml_dtypes  # noqa: F401 (gives numpy the names of its types)
import numpy as np

from lvm_jax import atomic
from lvm_jax.weight_files.stored_arrays import Stored

PART_BYTES = 2**24


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Bytes of a file."""

    start: int
    num_bytes: int


def stored(
    path: pathlib.Path, shape: Sequence[int], dtype: str, stretches: Sequence[Stretch]
) -> Stored:
    """An array whose numbers, C order, lie in stretches of a file, one after another.

    Args:
        path: the file.
        shape: of the array.
        dtype: numpy's name of its type.
        stretches: where it is; in all as many bytes as the shape takes.
    """
    shape = tuple(shape)

    def load() -> np.ndarray:
        array = np.empty(shape, np.dtype(dtype))
        into = _bytes_of(array)
        with path.open("rb", buffering=0) as file:
            for stretch in stretches:
                _read_into(file.fileno(), stretch.start, into[: stretch.num_bytes])
                into = into[stretch.num_bytes :]
        return array

    def rows() -> Iterator[np.ndarray]:
        with path.open("rb", buffering=0) as file:
            content = _parts(file.fileno(), stretches)
            yield from rows_of(content, shape, np.dtype(dtype))

    return Stored(shape, dtype, load, rows)


def rows_of(
    content: Iterable[bytes | memoryview], shape: tuple[int, ...], dtype: np.dtype
) -> Iterator[np.ndarray]:
    """An array's bytes in C order, in parts of any sizes -> its rows, some at a time.

    Args:
        content: the bytes; none of them is used once the next part is asked for.
        shape: of the array; an array without dims comes whole.
        dtype: of the array.

    Raises:
        EOFError: there are fewer bytes than the shape takes.
    """
    row_shape = shape[1:]
    row_bytes = math.prod(row_shape) * dtype.itemsize
    missing = math.prod(shape) * dtype.itemsize
    rest = bytearray()
    for part in content:
        missing -= len(part)
        rest += part
        whole = len(rest) // row_bytes if row_bytes else 0
        if whole and shape:
            given = bytes(rest[: whole * row_bytes])
            rest = rest[whole * row_bytes :]
            yield np.frombuffer(given, dtype).reshape(whole, *row_shape)
    if missing > 0:
        raise EOFError(f"{missing} bytes are missing")
    if not shape:
        yield np.frombuffer(bytes(rest), dtype).reshape(())


class PlannedFile:
    """A file whose every byte has its place before the first number is known; for a `with` block.

    Args:
        path: the file, which is made or emptied.
        texts: start -> bytes that are known: headers.
        arrays: name -> the stretches of its numbers.

    Raises:
        atomic.WriteError: the disk is full or read-only; by any method.
    """

    def __init__(
        self,
        path: pathlib.Path,
        texts: Mapping[int, bytes],
        arrays: Mapping[str, Sequence[Stretch]],
    ):
        self._path, self._missing = path, dict(arrays)
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
            for start, text in texts.items():
                self._put(start, memoryview(text))
        except OSError as error:
            raise atomic.write_error(path, error) from error

    def write(self, name: str, rows: Iterable[np.ndarray]) -> None:
        """Writes one array, given as parts that follow one another in C order."""
        stretches = [each for each in self._missing.pop(name) if each.num_bytes]
        try:
            for array in rows:
                content = _bytes_of(np.ascontiguousarray(array))
                while len(content):
                    first = stretches[0]
                    now = content[: first.num_bytes]
                    self._put(first.start, now)
                    content = content[len(now) :]
                    rest = Stretch(first.start + len(now), first.num_bytes - len(now))
                    stretches[:1] = [rest] if rest.num_bytes else []
        except OSError as error:
            raise atomic.write_error(self._path, error) from error
        assert not stretches, f"{name} was given too few numbers"

    def __enter__(self) -> "PlannedFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        os.close(self._descriptor)
        if kind is None:
            assert not self._missing, f"{self._path}: {list(self._missing)[:3]} were not written"

    def _put(self, start: int, content: memoryview) -> None:
        while len(content):
            done = os.pwrite(self._descriptor, content, start)
            content, start = content[done:], start + done


def _bytes_of(array: np.ndarray) -> memoryview:
    """The memory of an array in C order, whatever its type: memoryview knows numpy's own alone."""
    return array.reshape(-1).view(np.uint8).data


def _read_into(descriptor: int, start: int, into: memoryview) -> None:
    while len(into):
        done = os.preadv(descriptor, [into], start)
        if not done:
            raise EOFError(f"{len(into)} bytes are missing")
        into, start = into[done:], start + done


def _parts(descriptor: int, stretches: Sequence[Stretch]) -> Iterator[memoryview]:
    largest = max((stretch.num_bytes for stretch in stretches), default=0)
    room = memoryview(bytearray(min(PART_BYTES, largest)))
    for stretch in stretches:
        for begin in range(0, stretch.num_bytes, PART_BYTES):
            part = room[: min(PART_BYTES, stretch.num_bytes - begin)]
            _read_into(descriptor, stretch.start + begin, part)
            yield part
