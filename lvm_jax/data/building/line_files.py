"""Files of lines in stretches of equal bytes, which several processes may read side by side.

A line belongs to the stretch in which it begins. Blank lines at the end of a file are no lines.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from lvm_jax.configs import ConfigError, Field

LONGEST_LINE = 64 * 2**20
_BLOCK = 2**16


@dataclasses.dataclass(frozen=True)
class Stretch:
    """The lines that begin in bytes start..stop-1 of a file; they make shard `number`.

    Attributes:
        name: what keys, sources and lists call the file.
    """

    number: int
    path: str
    name: str
    start: int
    stop: int


def stretches(paths: Sequence[pathlib.Path], num_bytes: int) -> list[Stretch]:
    """Cuts files into stretches of so many bytes, one file after the other.

    Raises:
        ConfigError: no file, one given twice, or no line at all; named.
    """
    for path in paths:
        if not path.is_file():
            raise ConfigError(Field("paths"), f"={path} does not exist or is no file")
        if paths.count(path) > 1:
            raise ConfigError(Field("paths"), f"={path} is given {paths.count(path)} times")
    parts = [
        (str(path), name, start, min(start + num_bytes, end))
        for path, name, end in zip(paths, names(paths), map(_end_of_lines, paths))
        for start in range(0, end, num_bytes)
    ]
    if not parts:
        raise ConfigError(Field("paths"), f"={', '.join(map(str, paths))} holds no line")
    return [
        Stretch(number, path, name, start, stop)
        for number, (path, name, start, stop) in enumerate(parts)
    ]


def names(paths: Sequence[pathlib.Path]) -> list[str]:
    """What files are called: their names, or their paths as given where two have one name."""
    last = [path.name for path in paths]
    return [path.as_posix() if last.count(name) > 1 else name for path, name in zip(paths, last)]


def lines(stretch: Stretch, digest: Any) -> Iterator[tuple[int, bytes | None]]:
    """(offset, line) of the lines that begin in a stretch; None is a line that is too long.

    Args:
        stretch: of a file.
        digest: of hashlib; gets all bytes of these lines.
    """
    with open(stretch.path, "rb", buffering=1 << 20) as file:
        if stretch.start:
            # The line that holds the byte before belongs to the stretch before.
            file.seek(stretch.start - 1)
            for _ in _rest_of_line(file):
                pass
        while (offset := file.tell()) < stretch.stop:
            line = file.readline(LONGEST_LINE)
            digest.update(line)
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                for part in _rest_of_line(file):
                    digest.update(part)
                yield offset, None
            else:
                yield offset, line


def hash_of_lines(stretch: Stretch) -> str:
    """SHA-256 of the lines of a stretch, 64 hex digits."""
    digest = hashlib.sha256()
    for _ in lines(stretch, digest):
        pass
    return digest.hexdigest()


def _end_of_lines(path: pathlib.Path) -> int:
    """Where the last line ends that is not blank; 0 if all are."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            if filled := len(file.read(end - start).rstrip()):
                file.seek(start + filled)
                for _ in _rest_of_line(file):
                    pass
                return file.tell()
            end = start
    return 0


def _rest_of_line(file: BinaryIO) -> Iterator[bytes]:
    while part := file.readline(LONGEST_LINE):
        yield part
        if part.endswith(b"\n"):
            return
