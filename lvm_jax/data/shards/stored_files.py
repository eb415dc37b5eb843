"""The files of a directory of shards on a store.

Rows are shuffled over all shards, so a training reads everywhere from its first step on: records of
shards that are in this machine's cache already come from there, those of others by a request each,
all that a call wants at once. Meanwhile a thread fills the cache, shard by shard, until all are
there or the limit is reached; which shards are kept then does not matter to rows in random order,
so none is ever exchanged for another.
"""

import pathlib
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from lvm_jax.data.shards import record_places, records
from lvm_jax.storage import ranges
from lvm_jax.storage.cache import Cache, CachedDirectory, Stopped
from lvm_jax.storage.paths import StorePath

_ANOTHER_FILLS_SECONDS = 5.0


class StoredFiles:
    """Access to the files that a manifest names; threads may share it.

    Args:
        directory: of the store.
        manifest: its manifest.
        cache: this machine's.

    Raises:
        ValueError: the cache cannot be written.
    """

    def __init__(self, directory: StorePath, manifest: Mapping[str, Any], cache: Cache):
        self._directory, self._shards = directory, manifest["shards"]
        try:
            self._cached = CachedDirectory(cache, directory, manifest["checksum"])
        except OSError as error:
            raise ValueError(
                f"the cache {cache.root} for {directory} cannot be written "
                f"({error.strerror or error}); give another folder on a disk of this machine"
            ) from error
        self._places: dict[int, record_places.Places] = {}
        self._copied: set[int] = set()
        self._filler = _Filler(self._cached, self._shards)
        # At the end of the interpreter too, which must not find a thread in a request.
        weakref.finalize(self, self._filler.close)

    @property
    def folder(self) -> pathlib.Path:
        """Where this machine keeps what belongs to the directory."""
        return self._cached.folder

    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is there."""
        return {name: listed.size for name, listed in self._directory.listing().items()}

    def index(self, entry: Mapping[str, Any]) -> pathlib.Path:
        """This machine's copy of a file of the index.

        Raises:
            ValueError: the store has another file.
        """
        return self._cached.fetch(entry["file"], entry["bytes"], entry["sha256"])

    def copy(self, shard: int) -> pathlib.Path | None:
        """This machine's copy of a shard; None while there is none, which begins to make them."""
        path = self._cached.local(self._shards[shard]["file"])
        if shard in self._copied:
            return path
        if path.exists():
            self._copied.add(shard)
            self._places.pop(shard, None)
            return path
        self._filler.start()
        return None

    def read(self, wanted: Sequence[tuple[int, Sequence[int]]]) -> list[list[bytes]]:
        """Records of shards, by requests for them alone.

        Args:
            wanted: shards and the positions of records in them.

        Raises:
            ValueError: a damaged record or footer; names the file.
            StoreError: the store does not give them.
        """
        self._find_places([shard for shard, _ in wanted])
        chunks, shown = [], []
        for shard, positions in wanted:
            path, places = self._directory / self._shards[shard]["file"], self._places[shard]
            for position in positions:
                start, stop = places.starts[position : position + 2].tolist()
                chunks.append((path, start, stop))
                shown.append((position, int(places.sizes[position])))
        datas = [
            _record(path, start, data, position, size)
            for (path, start, _), (position, size), data in zip(chunks, shown, ranges.read(chunks))
        ]
        ends = np.cumsum([len(positions) for _, positions in wanted]).tolist()
        return [datas[end - len(p) : end] for end, (_, p) in zip(ends, wanted)]

    def _find_places(self, shards: Sequence[int]) -> None:
        new = [shard for shard in shards if shard not in self._places]
        entries = [self._shards[shard] for shard in new]
        paths = [self._directory / entry["file"] for entry in entries]
        last = record_places.BLOCK_BYTES
        blocks = ranges.read([(p, e["bytes"] - last, e["bytes"]) for p, e in zip(paths, entries)])
        try:
            starts = [record_places.footer_start(block) for block in blocks]
            wanted = [(p, at, e["bytes"]) for p, at, e in zip(paths, starts, entries)]
            for shard, entry, start, data in zip(new, entries, starts, ranges.read(wanted)):
                self._places[shard] = record_places.read_footer(data, start, entry["num_records"])
        except ValueError as error:
            names = ", ".join(map(str, paths[:3]))
            raise ValueError(f"{names}: {error}; {records.REMAKE}") from error


def _record(path: StorePath, start: int, data: bytes, position: int, size: int) -> bytes:
    try:
        return record_places.record(data, start, size)
    except ValueError as error:
        raise ValueError(f"{path}, record {position}: {error}; {records.REMAKE}") from error


class _Filler:
    """The thread that copies shards."""

    def __init__(self, cached: CachedDirectory, shards: Sequence[Mapping[str, Any]]):
        self._cached, self._shards = cached, shards
        self._ended, self._starting = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins, if it has not begun."""
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    thread = threading.Thread(target=self._fill, name="copying shards", daemon=True)
                    thread.start()
                    self._thread = thread

    def close(self) -> None:
        """Ends the thread, after what it is just waiting for."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._cached.close()

    def _fill(self) -> None:
        try:
            while not self._ended.is_set():
                with self._cached.filling() as alone:
                    if alone:
                        self._copy_all()
                        return
                self._ended.wait(_ANOTHER_FILLS_SECONDS)
        except Stopped:
            pass
        # Training goes on without: each record that is not there is asked for by itself.
        except (OSError, ValueError) as error:
            logging.warning("no more shards are copied to %s: %s", self._cached.folder, error)

    def _copy_all(self) -> None:
        for number, entry in enumerate(self._shards):
            if self._cached.local(entry["file"]).exists():
                continue
            if not self._cached.make_room(entry["bytes"]):
                logging.info(
                    "%d of %d shards of %s fit the limit of the cache; the others are read record "
                    "by record",
                    *(number, len(self._shards), self._cached.source),
                )
                return
            facts = (entry["file"], entry["bytes"], entry["sha256"])
            self._cached.fetch(*facts, stopping=self._ended.is_set)
        logging.info("all shards of %s are in %s", self._cached.source, self._cached.folder)
