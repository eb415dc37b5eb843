"""Ids of images that were tokenized already, on disk, so that none is tokenized twice.

A file is a row of fixed-size entries (16 bytes of key, ids as uint16) that only grows, written by
one process. A run that was killed leaves at most one torn entry, which the next run cuts off.
Where an entry stands is kept in memory, in about 24 bytes for each.

Legend: B images, T ids per image.
"""

import hashlib
import os
import pathlib
import sys
import threading
from collections.abc import Iterable, Sequence

import numpy as np

from lvm_jax import file_names
from lvm_jax.atomic import write_error
from lvm_jax.data.building.slices import Slice
from lvm_jax.data.shards.records import ID_BYTES

KEY_BYTES = 16
# New entries are sorted in among the others when there are this many, or a sixteenth of the others:
# the dict that holds them until then takes about seven times the bytes.
_FEWEST_SORTED_IN = 2**14


def open_cache(out: pathlib.Path, part: Slice, made_by: str, tokens_per_image: int) -> "TokenCache":
    """The ids so far: those of a slice, and those of other ways to slice that came before.

    Args:
        out: the directory.
        part: the slice, which this process has claimed.
        made_by: everything that ids depend on, beside the images.
        tokens_per_image: ids of an image.
    """
    name = f"tokens-{hashlib.sha256(made_by.encode()).hexdigest()[:16]}"
    path = out / f"{name}-{part.index}-of-{part.count}.partial"
    others = [other for other in out.glob(f"{name}-*.partial") if other != path]
    return TokenCache(path, tokens_per_image, others)


def digest(key: str) -> bytes:
    """16 bytes that stand for an image key."""
    return hashlib.blake2b(file_names.to_bytes(key), digest_size=KEY_BYTES).digest()


class TokenCache:
    """Maps image digests to ids; every id of every run so far with the same tokenizer.

    One thread may add while others look.

    Args:
        path: the file that new ids go to; made if missing. Its name must tell tokenizers apart, and
            no other process may write to it.
        tokens_per_image: T.
        others: more files with ids of this tokenizer, which are only read; what other processes add
            to them later is not seen.

    Raises:
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
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            whole = os.fstat(self._file).st_size // self._entry_bytes
            os.truncate(self._file, whole * self._entry_bytes)
        except OSError as error:
            raise write_error(self.path, error) from error
        self._end, self._torn = whole, False
        self._files = [self._file] + [os.open(other, os.O_RDONLY) for other in others]
        # Entry e of file f stands at e * files + f.
        self._places = _Places()
        for number, file in enumerate(self._files):
            keys = self._keys(file)
            self._places.sort_in(keys, number + np.arange(len(keys)) * len(self._files))

    def _keys(self, file: int) -> np.ndarray:
        whole = os.fstat(file).st_size // self._entry_bytes
        if not whole:
            return _halves(())
        form = np.dtype([("key", "<u8", 2), ("ids", f"V{self._entry_bytes - KEY_BYTES}")])
        with open(file, "rb", closefd=False) as opened:
            entries: np.ndarray = np.memmap(opened, form, "r", shape=whole)
            return np.array(entries["key"])

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return self.contains([key])[0]

    def contains(self, keys: Sequence[bytes]) -> list[bool]:
        """Which images are here; quicker than to ask for each."""
        return [place >= 0 for place in self._places.find(keys)]

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
        self._places.add(keys, range(self._end * len(self._files), sys.maxsize, len(self._files)))
        self._end += len(keys)

    def get(self, keys: Sequence[bytes]) -> np.ndarray:
        """The ids of images that were added: uint16 [B, T]."""
        entries, files, size = [], self._files, self._entry_bytes
        for place in self._places.find(keys):
            assert place >= 0, "an image that was never added"
            entry, number = divmod(place, len(files))
            entries.append(os.pread(files[number], size - KEY_BYTES, entry * size + KEY_BYTES))
        return np.frombuffer(b"".join(entries), "<u2").reshape(len(entries), -1)

    def close(self) -> None:
        """Closes the files and keeps them for the next run."""
        for file in self._files:
            os.close(file)


class _Places:
    """Digest -> place: arrays sorted by the first half of the digest, and a dict of the others.

    In the dict are those that are not yet sorted in, and the few whose first half another one has.
    """

    def __init__(self):
        self._arrays = np.empty(0, "<u8"), np.empty(0, "<u8"), np.empty(0, np.int64)
        self._others: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._arrays[0]) + len(self._others)

    def add(self, keys: Sequence[bytes], places: Iterable[int]) -> None:
        """Adds digests that are not here yet."""
        with self._lock:
            self._others.update(zip(keys, places))
            if len(self._others) < max(_FEWEST_SORTED_IN, len(self._arrays[0]) // 16):
                return
            new, self._others = self._others, {}
            self.sort_in(_halves(new), np.fromiter(new.values(), np.int64, len(new)))

    def sort_in(self, keys: np.ndarray, places: np.ndarray) -> None:
        """Adds many at once, as `_halves`; those that are here already keep their places."""
        heads, tails, sorted_places = self._arrays
        new, first = np.unique(keys[:, 0], return_index=True)
        spots = np.searchsorted(heads, new)
        if len(heads):
            unknown = heads[np.minimum(spots, len(heads) - 1)] != new
            new, first, spots = new[unknown], first[unknown], spots[unknown]
        heads = np.insert(heads, spots, new)
        tails = np.insert(tails, spots, keys[first, 1])
        self._arrays = heads, tails, np.insert(sorted_places, spots, places[first])
        for i in np.nonzero(tails[np.searchsorted(heads, keys[:, 0])] != keys[:, 1])[0]:
            self._others.setdefault(keys[i].tobytes(), int(places[i]))

    def find(self, keys: Sequence[bytes]) -> list[int]:
        """The place of each digest, or -1."""
        with self._lock:
            chosen = [self._others.get(key, -1) for key in keys]
            heads, tails, places = self._arrays
        if len(heads) and -1 in chosen:
            wanted = _halves(keys)
            spots = np.minimum(np.searchsorted(heads, wanted[:, 0]), len(heads) - 1)
            same = (heads[spots] == wanted[:, 0]) & (tails[spots] == wanted[:, 1])
            chosen = np.where(same, places[spots], chosen).tolist()
        return chosen


def _halves(keys: Iterable[bytes]) -> np.ndarray:
    """Digests as numbers: uint64 [B, 2]."""
    return np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)
