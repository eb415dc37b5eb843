"""Files of stores on this machine's own disk: whole, within a limit, shared by its processes.

    FOLDER/NAME-DIGEST/          one for each directory of a store and what was in it
    FOLDER/NAME-DIGEST/.in_use   locked by every process that reads from there
    FOLDER/.filling              locked by the one process that downloads

A file appears under its name when it is whole and has its checksum. Where the limit leaves no room,
directories that nobody reads any more go, those that were read longest ago first.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

from lvm_jax.storage import ranges
from lvm_jax.storage.paths import StorePath

_IN_USE, _FILLING = ".in_use", ".filling"
_PIECE_BYTES = 8 << 20
_PIECES_AT_ONCE = 8


class Stopped(Exception):  # noqa: N818
    """A download was told to stop."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cache:
    """Where copies are kept, and how many.

    Attributes:
        folder: on a disk of this machine; "" is lvm_jax in the user's folder for caches.
        gib: limit of all whole files that are kept there, in GiB.
    """

    folder: str = ""
    gib: float = 100.0

    @property
    def root(self) -> pathlib.Path:
        if self.folder:
            return pathlib.Path(self.folder)
        caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        return pathlib.Path(caches) / "lvm_jax"


class CachedDirectory:
    """Copies of the files of one directory of a store.

    Args:
        cache: where and how many.
        source: the directory.
        version: of what is in it; copies of another version are not used.

    Raises:
        OSError: the cache cannot be written.
    """

    def __init__(self, cache: Cache, source: StorePath, version: str):
        digest = hashlib.blake2b(f"{source}\0{version}".encode(), digest_size=8).hexdigest()
        self.source, self._cache = source, cache
        self.folder = cache.root / f"{source.name}-{digest}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / _IN_USE, "ab")  # noqa: SIM115
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        os.utime(self.folder / _IN_USE)

    def close(self) -> None:
        """Lets the copies go where the room is needed."""
        self._lock.close()

    def local(self, name: str) -> pathlib.Path:
        """Where the copy of a file is, or will be."""
        return self.folder / name

    def fetch(
        self, name: str, num_bytes: int, sha256: str, stopping: Callable[[], bool] = lambda: False
    ) -> pathlib.Path:
        """The copy of a file, which is made if need be.

        Args:
            name: of the file in the directory.
            num_bytes, sha256: of the file.
            stopping: asked between pieces; when it says so, the copy is given up.

        Raises:
            StoreError: the store does not give the file.
            ValueError: it gives something else.
            OSError: this machine's disk does not take it.
            Stopped: see `stopping`.
        """
        path = self.local(name)
        if path.exists():
            return path
        partial = path.with_name(f".{name}.{os.getpid()}")
        digest = hashlib.sha256()
        try:
            with open(partial, "wb") as file:
                for part in self._pieces(name, num_bytes):
                    if stopping():
                        raise Stopped
                    file.write(part)
                    digest.update(part)
            if digest.hexdigest() != sha256:
                raise ValueError(f"{self.source / name} does not match its checksum")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def _pieces(self, name: str, num_bytes: int) -> Iterator[bytes]:
        starts = range(0, num_bytes, _PIECE_BYTES)
        wanted = [(self.source / name, at, min(at + _PIECE_BYTES, num_bytes)) for at in starts]
        for first in range(0, len(wanted), _PIECES_AT_ONCE):
            yield from ranges.read(wanted[first : first + _PIECES_AT_ONCE])

    def make_room(self, num_bytes: int) -> bool:
        """Whether so many bytes more fit the limit, now that unused directories are gone."""
        room = int(self._cache.gib * 2**30) - num_bytes
        if _bytes_in(self._cache.root) <= room:
            return True
        folders = [lock.parent for lock in self._cache.root.glob(f"*/{_IN_USE}")]
        for folder in sorted(folders, key=lambda folder: (folder / _IN_USE).stat().st_mtime):
            with contextlib.suppress(OSError), open(folder / _IN_USE, "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            if _bytes_in(self._cache.root) <= room:
                return True
        return False

    @contextlib.contextmanager
    def filling(self) -> Iterator[bool]:
        """A block in which this process alone of the machine downloads; gives whether it does."""
        with open(self._cache.root / _FILLING, "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True


def _bytes_in(root: pathlib.Path) -> int:
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                total += os.stat(os.path.join(folder, name)).st_size
    return total
