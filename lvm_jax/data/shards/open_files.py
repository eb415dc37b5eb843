"""Record files that are kept open, of all directories that this process reads."""

import collections
import contextlib
import functools
import resource
import threading
from collections.abc import Callable

from lvm_jax.data.shards.records import RecordFile

_WANTED_FILES = 1 << 16


@functools.cache
def _most_open_files() -> int:
    """How many shards this process may hold open, of all directories together.

    Opening one reads the places of all its records, up to thousands of times the work of reading
    one of them, and a corpus may have thousands of shards: the system's soft limit is raised as far
    as it lets a process raise it. Half is left to everything else.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # some systems have a lower limit still
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted // 2 if soft == resource.RLIM_INFINITY else soft // 2


class OpenFiles:
    """The files of all directories that are open in this process; the last ones that were read."""

    def __init__(self) -> None:
        self._files: collections.OrderedDict[tuple[int, int], RecordFile] = (
            collections.OrderedDict()
        )
        # Taken again by a directory that the garbage collector ends meanwhile.
        self._lock = threading.RLock()

    def get(self, key: tuple[int, int], opening: Callable[[], RecordFile]) -> RecordFile:
        """The file of a key (directory, shard), which is opened if need be."""
        with self._lock:
            file = self._files.get(key)
            if file is None:
                while len(self._files) >= _most_open_files():
                    # A thread that still reads from it keeps it open until it is done.
                    self._files.popitem(last=False)
                file = self._files[key] = opening()
            self._files.move_to_end(key)
            return file

    def forget(self, directory: int) -> None:
        """Closes the files of a directory that is gone."""
        with self._lock:
            for key in list(self._files):
                if key[0] == directory:
                    del self._files[key]
