"""Ids of images that were tokenized already, on disk, so that none is tokenized twice.

The file is a row of fixed-size entries (16 bytes of key, ids as uint16) that only grows. A run that
was killed leaves at most one torn entry, which the next run cuts off.

Legend: B images, T ids per image.
"""

import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from lvm_jax.data.records import ID_BYTES, write_error

_KEY_BYTES = 16


def digest(key: str) -> bytes:
    """16 bytes that stand for an image key."""
    return hashlib.blake2b(key.encode(), digest_size=_KEY_BYTES).digest()


class TokenCache:
    """Maps image digests to ids; every id of every run so far with the same tokenizer.

    Args:
        path: the file; made if missing. Its name must tell tokenizers apart.
        tokens_per_image: T.
    """

    def __init__(self, path: str | os.PathLike, tokens_per_image: int):
        self.path = pathlib.Path(path)
        self._entry_bytes = _KEY_BYTES + ID_BYTES * tokens_per_image
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            whole = os.fstat(self._file).st_size // self._entry_bytes
            os.truncate(self._file, whole * self._entry_bytes)
        except OSError as error:
            raise write_error(self.path, error) from error
        self._places: dict[bytes, int] = {}
        for place in range(whole):
            key = os.pread(self._file, _KEY_BYTES, place * self._entry_bytes)
            self._places[key] = place

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
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise write_error(self.path, error) from error
        for key in keys:
            self._places[key] = len(self._places)

    def get(self, keys: Sequence[bytes]) -> np.ndarray:
        """The ids of images that were added: uint16 [B, T]."""
        size = self._entry_bytes
        entries = [
            os.pread(self._file, size, self._places[key] * size)[_KEY_BYTES:] for key in keys
        ]
        return np.frombuffer(b"".join(entries), "<u2").reshape(len(entries), -1)

    def close(self) -> None:
        """Closes the file and keeps it for the next run."""
        os.close(self._file)

    def remove(self) -> None:
        """Deletes the file, whose ids are in shards by now."""
        self.path.unlink(missing_ok=True)
