"""What pictures held when a build read them, so that who goes on with it notices other ones.

Names and sizes of files are part of what shards are made from; a change that leaves both is found
here. Who reads a file notes its times and a hash of its bytes. A later run compares the times
and, only where they differ, the bytes: files that were copied or touched are the same as before.

A file that changes while the build that reads it runs may go unnoticed: its sentences then show it
as it was when each was made.

A log is a row of fixed-size entries that only grows, one for each slice, beside its ids.
"""

import dataclasses
import errno
import functools
import hashlib
import os
import pathlib
import time
from collections.abc import Iterable
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from lvm_jax import atomic, file_names
from lvm_jax.data.building.slices import Slice

_LOGS = "pictures-*.partial"
# The path's hash, what was seen of the file, and when, in nanoseconds.
_ENTRY = np.dtype([("path", "<u8"), ("stamp", "<u8"), ("content", "<u8"), ("when", "<i8")])
# A film is hashed once for all of its frames that are read about the same time.
_MOST_HASHES = 2**12


class Look(NamedTuple):
    """A file at a moment: hashes of its size and times, and of its bytes; 0 if it has none."""

    stamp: int
    content: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What files hold, beside what they held when earlier runs read them.

    Attributes:
        changed: paths of those that hold something else than when they were last read.
        editions: of those that were changed after they had first been read: path -> hash of what is
            in them now.
        looks: at those whose times have changed.
    """

    changed: list[str] = dataclasses.field(default_factory=list)
    editions: dict[str, int] = dataclasses.field(default_factory=dict)
    looks: dict[str, Look] = dataclasses.field(default_factory=dict)


class Originals:
    """The files that the builds of a directory have read so far; to be used as a context.

    Args:
        out: the directory.
        part: the slice that reads files; no other process may have it.
        comparison: of what earlier runs read with what is there now.

    Attributes:
        editions: see `Comparison`.

    Raises:
        atomic.WriteError: the place cannot be written.
    """

    def __init__(self, out: pathlib.Path, part: Slice, comparison: Comparison):
        self.editions = comparison.editions
        self._path = out / f"pictures-{part.index}-of-{part.count}.partial"
        self._pending = dict(comparison.looks)
        self._content = functools.lru_cache(_MOST_HASHES)(_content)
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            self._cut_to_whole_entries()
        except OSError as error:
            raise atomic.write_error(self._path, error) from error

    def __enter__(self) -> "Originals":
        return self

    def __exit__(self, *error: Any) -> None:
        os.close(self._file)

    def look(self, path: str) -> Look:
        """What a file holds; any thread may ask."""
        stamp = stamp_of(path)
        return Look(stamp, self._content(path, stamp))

    def note(self, path: str, look: Look) -> None:
        """Remembers what was in a file that is read; `flush` makes it last."""
        self._pending[path] = look

    def flush(self) -> None:
        """Writes what was noted; to be called before what was made from the files is kept.

        Raises:
            atomic.WriteError: the disk is full.
        """
        if not self._pending:
            return
        now = time.time_ns()
        rows = [(_number(path), *look, now) for path, look in self._pending.items()]
        data = np.array(rows, _ENTRY).tobytes()
        try:
            if os.write(self._file, data) < len(data):
                self._cut_to_whole_entries()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise atomic.write_error(self._path, error) from error
        self._pending.clear()

    def _cut_to_whole_entries(self) -> None:
        size = os.fstat(self._file).st_size
        os.ftruncate(self._file, size - size % _ENTRY.itemsize)


def compare(out: pathlib.Path, paths: Iterable[str], num_threads: int) -> Comparison:
    """Finds out which files hold something else than when they were last read.

    Args:
        out: the directory that is built from them.
        paths: of all files, those that were never read too.
        num_threads: that read files whose times have changed.
    """
    log = np.concatenate([np.empty(0, _ENTRY), *map(_read, sorted(out.glob(_LOGS)))])
    log = log[np.lexsort((log["when"], log["path"]))]
    known, first = np.unique(log["path"], return_index=True)
    last = log[np.append(first[1:], len(log)) - 1] if len(log) else log
    first = log["content"][first]
    comparison = Comparison()
    touched: dict[str, int] = {}
    for path in paths if len(log) else ():
        number = _number(path)
        # As uint64: beside a signed number, both would become floats.
        place = int(np.searchsorted(known, np.uint64(number)))
        if place == len(known) or known[place] != number:
            continue
        if last["stamp"][place] != stamp_of(path):
            touched[path] = place
        elif last["content"][place] != first[place]:
            comparison.editions[path] = int(last["content"][place])
    if not touched:
        return comparison
    logging.info(
        "%s: %d files have other times than when they were read; comparing what is in them",
        *(out, len(touched)),
    )
    with futures.ThreadPoolExecutor(num_threads) as pool:
        for (path, place), look in zip(touched.items(), pool.map(_look, touched)):
            comparison.looks[path] = look
            if look.content != first[place]:
                comparison.editions[path] = look.content
            if look.content != last["content"][place]:
                comparison.changed.append(path)
    return comparison


def stamp_of(path: str | os.PathLike) -> int:
    """A number of 64 bits that changes with size and times of a file; 0 if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return 0  # reading it says what is wrong
    # ctime also tells files that were renamed, or changed and given their old time back.
    return _number(f"{status.st_size},{status.st_mtime_ns},{status.st_ctime_ns}")


def _read(path: pathlib.Path) -> np.ndarray:
    return np.fromfile(path, _ENTRY)  # a torn entry at the end is left out


def _look(path: str) -> Look:
    stamp = stamp_of(path)
    return Look(stamp, _content(path, stamp))


def _number(path: str) -> int:
    digest = hashlib.blake2b(file_names.to_bytes(path), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _content(path: str, stamp: int) -> int:
    del stamp  # what was hashed before counts as long as it stays the same
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return 0
    return int.from_bytes(digest[:8], "little")
