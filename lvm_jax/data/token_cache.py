"""Ids of images that were tokenized already, on disk, so that none is tokenized twice.

A file is a row of fixed-size entries (16 bytes of key, ids as uint16) that only grows, written by
one process. A run that was killed leaves at most one torn entry, which the next run cuts off.

Legend: B images, T ids per image.
"""

import fcntl
import hashlib
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from lvm_jax.data.records import ID_BYTES, write_error

KEY_BYTES = 16


def digest(key: str) -> bytes:
    """16 bytes that stand for an image key."""
    return hashlib.blake2b(key.encode(), digest_size=KEY_BYTES).digest()


class TokenCache:
    """Maps image digests to ids; every id of every run so far with the same tokenizer.

    Args:
        path: the file that new ids go to; made if missing. Its name must tell tokenizers apart.
        tokens_per_image: T.
        others: more files with ids of this tokenizer, which are only read; what other processes add
            to them later is not seen.

    Raises:
        BlockingIOError: another process writes to `path`.
        RuntimeError: the place cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        tokens_per_image: int,
        others: Iterable[str | os.PathLike] = (),
    ):
        self.path = pathlib.Path(path)
        self._entry_bytes = KEY_BYTES + ID_BYTES * tokens_per_image
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            # Ends with the process, however that ends.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            whole = os.fstat(self._file).st_size // self._entry_bytes
            os.truncate(self._file, whole * self._entry_bytes)
        except BlockingIOError:
            os.close(self._file)
            raise
        except OSError as error:
            raise write_error(self.path, error) from error
        self._end, self._torn = whole, False
        self._files = [self._file] + [os.open(other, os.O_RDONLY) for other in others]
        # Entry e of file f stands at e * files + f.
        self._places: dict[bytes, int] = {}
        for number, file in reversed(list(enumerate(self._files))):
            keys = self._keys(file)
            stop = len(keys) * len(self._files)
            self._places.update(zip(keys, range(number, stop + number, len(self._files))))

    def _keys(self, file: int) -> list[bytes]:
        whole = os.fstat(file).st_size // self._entry_bytes
        if not whole:
            return []
        form = np.dtype([("key", f"V{KEY_BYTES}"), ("ids", f"V{self._entry_bytes - KEY_BYTES}")])
        with open(file, "rb", closefd=False) as opened:
            return np.memmap(opened, form, "r", shape=whole)["key"].tolist()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def add(self, keys: Sequence[bytes], ids_BT: np.ndarray) -> None:
        """Keeps the ids of new images.

        Raises:
            RuntimeError: the disk is full.
        """
        ids_BT = np.asarray(ids_BT, "<u2")
        data = memoryview(b"".join(key + row.tobytes() for key, row in zip(keys, ids_BT)))
        try:
            if self._torn:
                # Nothing may stand behind what a failed write left.
                os.ftruncate(self._file, self._end * self._entry_bytes)
            self._torn = True
            while data:
                data = data[os.write(self._file, data) :]
            self._torn = False
        except OSError as error:
            raise write_error(self.path, error) from error
        for key in keys:
            self._places[key] = self._end * len(self._files)
            self._end += 1

    def get(self, keys: Sequence[bytes]) -> np.ndarray:
        """The ids of images that were added: uint16 [B, T]."""
        entries, places, files, size = [], self._places, self._files, self._entry_bytes
        for key in keys:
            entry, number = divmod(places[key], len(files))
            entries.append(os.pread(files[number], size - KEY_BYTES, entry * size + KEY_BYTES))
        return np.frombuffer(b"".join(entries), "<u2").reshape(len(entries), -1)

    def close(self) -> None:
        """Closes the files and keeps them for the next run."""
        for file in self._files:
            os.close(file)


def in_use(path: str | os.PathLike) -> bool:
    """Whether a process writes to this cache."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
