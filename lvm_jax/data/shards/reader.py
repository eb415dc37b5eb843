"""A directory of tokenized sentences: ArrayRecord files, an index and a manifest.

    shard-00000.array_record ...   records (see `records`)
    num_images.npy                 uint16 [S], images of each sentence
    kinds.npy, sources.npy         uint16 [S], places in the manifest's lists of names
    keys.npy                       uint32 [S], hashes of the keys, for held-out splits
    manifest.json                  what the files must be; written last, so its presence means whole

Legend: S sentences of the directory, N images of a sentence, T ids per image.
"""

import functools
import os
import pathlib
import weakref
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lvm_jax import configs, image_record
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.shards import records
from lvm_jax.data.shards.manifest import INDEX_FILES, KEYS, MANIFEST, RESTORE, read_manifest
from lvm_jax.data.shards.open_files import OpenFiles
from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.stored_files import StoredFiles
from lvm_jax.draws import hash_key
from lvm_jax.storage import paths
from lvm_jax.storage.cache import Cache
from lvm_jax.vocabulary import Vocabulary

_OPEN = OpenFiles()


class Shards:
    """Reads a finished directory; threads may share it.

    Args:
        directory: where it is.
        cache: where this machine keeps copies if that is a store.

    Attributes:
        directory: where it is.
        manifest: the content of manifest.json.
        vocabulary: the id space.
        tokens_per_image: T.
        tokenizer_fingerprint: of the tokenizer that made the ids.
        fingerprint: changes with any id, its order, the vocabulary or the tokenizer.
        images: how the pictures behind the ids were read; None when it is not known, as with
            imported ids.
        num_images: uint16 [S], memory-mapped.
        kinds, sources: names; kind_ids, source_ids: uint16 [S], memory-mapped places in them.

    Raises:
        ValueError: no finished shards here, an altered manifest, a missing or shortened file. One
            line that names the file. Checksums of the shards are left to `verify`.
    """

    def __init__(self, directory: str | os.PathLike, cache: Cache = Cache()):  # noqa: B008
        self.directory = paths.path(directory)
        self.manifest = read_manifest(self.directory)
        stored = paths.store_path(self.directory)
        self._stored = StoredFiles(stored, self.manifest, cache) if stored else None
        self.vocabulary = configs.build_stored(
            Vocabulary, self.manifest["vocabulary"], "vocabulary"
        )
        self.tokens_per_image: int = self.manifest["tokens_per_image"]
        self.tokenizer_fingerprint: str = self.manifest["tokenizer_fingerprint"]
        self.fingerprint: str = self.manifest["fingerprint"]
        about = self.manifest.get("about", {})
        self.images = image_record.read(about, f"{self.directory / MANIFEST}: about")
        self.kinds = tuple(self.manifest["kinds"])
        self.sources = tuple(self.manifest["sources"])
        sizes = self._stored.sizes() if self._stored else None
        for entry in self.manifest["shards"] + self.manifest["index"]:
            path = self.directory / entry["file"]
            there = _size(path) if sizes is None else sizes.get(entry["file"])
            _check_size(path, there, entry["bytes"])
        self.num_images, self.kind_ids, self.source_ids = (
            self._map_index(name) for name in INDEX_FILES
        )
        counts = [entry["num_records"] for entry in self.manifest["shards"]]
        self._ends = np.cumsum(counts)
        self._bytes_per_image = self.tokens_per_image * records.ID_BYTES
        weakref.finalize(self, _OPEN.forget, id(self))

    def __len__(self) -> int:
        return self.manifest["num_sentences"]

    @property
    def plans(self) -> pathlib.Path:
        """Where plans of its rows are kept: beside it, or in this machine's cache."""
        return (self._stored.folder if self._stored else self.directory) / "rows"

    def _map_index(self, name: str) -> np.ndarray:
        path = self._index_file(name)
        try:
            array = np.load(path, mmap_mode="r").view(np.ndarray)
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}; {RESTORE}") from error
        if array.shape != (len(self),):
            raise ValueError(
                f"{path} has {array.shape} entries, the manifest {len(self)} sentences; {RESTORE}"
            )
        # Rows are cut by what these files say, so a flipped bit would give wrong ids in silence.
        self._check_index(name)
        return array

    def _index_file(self, name: str) -> pathlib.Path:
        if self._stored is None:
            return self.directory / name
        entry = next(entry for entry in self.manifest["index"] if entry["file"] == name)
        return self._stored.index(entry)

    def _check_index(self, name: str) -> None:
        path = self._index_file(name)
        stored = [entry["sha256"] for entry in self.manifest["index"] if entry["file"] == name]
        if [records.checksum(path)] != stored:
            raise ValueError(f"{path} does not match its checksum; {RESTORE}")

    @functools.cached_property
    def key_hashes(self) -> np.ndarray:
        """uint32 [S], memory-mapped; `hash_of_key` of each sentence's key.

        Raises:
            ConfigError: shards of a version that did not keep them; names fields of the config of
                what reads them.
        """
        if KEYS not in [entry["file"] for entry in self.manifest["index"]]:
            raise ConfigError(
                *(f"{self.directory} was built without {KEYS}, which ", Field("split.share")),
                *(" needs; build the shards again, or set ", Field("split.keys")),
            )
        return self._map_index(KEYS)

    def read_bytes(self, indices: np.ndarray) -> list[bytes]:
        """The raw records of sentences, in the order asked for.

        Args:
            indices: int [n], sentences in [0, S), in any order.

        Raises:
            ValueError: a damaged record; names the file and the record.
        """
        indices = np.asarray(indices, np.int64)
        # By place on disk: each file is locked once, and neighbours share a page.
        order = np.argsort(indices, kind="stable")
        shard_of = np.searchsorted(self._ends, indices[order], side="right")
        in_order: list[bytes] = [b""] * len(indices)
        borders = np.flatnonzero(np.diff(shard_of)) + 1
        places = np.split(order, borders) if len(order) else []
        wanted = []
        for chosen in places:
            shard = int(np.searchsorted(self._ends, indices[chosen[0]], side="right"))
            start = int(self._ends[shard - 1]) if shard else 0
            wanted.append((shard, (indices[chosen] - start).tolist()))
        for chosen, (shard, positions), datas in zip(places, wanted, self._read(wanted)):
            sizes = self.num_images[indices[chosen]].astype(np.int64) * self._bytes_per_image
            for place, data, size, position in zip(
                chosen.tolist(), datas, sizes.tolist(), positions
            ):
                # A record's first two bytes say where its ids begin.
                if len(data) - (data[0] | data[1] << 8) != size:
                    raise ValueError(
                        f"{self.directory / self.manifest['shards'][shard]['file']}, record "
                        f"{position} has not the number of images that {INDEX_FILES[0]} says; "
                        f"{RESTORE}"
                    )
                in_order[place] = data
        return in_order

    def _read(self, wanted: Sequence[tuple[int, list[int]]]) -> Iterator[list[bytes]]:
        """The records of shards at positions in them."""
        if self._stored is None:
            return (self._file(shard).read(positions) for shard, positions in wanted)
        away = [one for one in wanted if self._stored.copy(one[0]) is None]
        parts = dict(zip((shard for shard, _ in away), self._stored.read(away)))
        return (
            parts[shard] if shard in parts else self._file(shard).read(positions)
            for shard, positions in wanted
        )

    def read(self, indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """The ids of sentences: uint16 [N, T] each, in the order asked for."""
        return [record.ids for record in self.read_records(indices)]

    def read_records(self, indices: Sequence[int] | np.ndarray) -> list[Record]:
        """Sentences with their kinds, sources and keys, in the order asked for."""
        datas = self.read_bytes(np.asarray(indices, np.int64))
        return [records.decode(data, self.tokens_per_image) for data in datas]

    def _shard_file(self, shard: int) -> pathlib.Path:
        copy = self._stored.copy(shard) if self._stored else None
        return copy or self.directory / self.manifest["shards"][shard]["file"]

    def _file(self, shard: int) -> records.RecordFile:
        entry = self.manifest["shards"][shard]
        return _OPEN.get(
            (id(self), shard),
            lambda: records.RecordFile(
                self._shard_file(shard),
                entry["num_records"],
                entry.get("ends_sha256", ""),  # directories of earlier versions have none
            ),
        )

    def require_tokenizer(self, fingerprint: str) -> None:
        """Refuses a tokenizer that did not make these ids.

        Raises:
            ValueError: names both fingerprints.
        """
        if not self.tokenizer_fingerprint:
            raise ValueError(
                f"{self.directory} was imported without saying which tokenizer made its ids; "
                "import it again and give this tokenizer, if it was this one"
            )
        if fingerprint != self.tokenizer_fingerprint:
            raise ValueError(
                f"{self.directory} was made by tokenizer {self.tokenizer_fingerprint[:16]}, not by "
                f"{fingerprint[:16]}; give the tokenizer of the shards or build them again"
            )

    def verify(self, progress: Callable[[int], None] = lambda num_bytes: None) -> None:
        """Reads every file and compares its checksum.

        Args:
            progress: called with the bytes of each file that was checked.

        Raises:
            ValueError: names the first file that differs, and the record where it can.
        """
        for entry in self.manifest["index"]:
            self._check_index(entry["file"])
        for shard, entry in enumerate(self.manifest["shards"]):
            path = self.directory / entry["file"]
            if records.checksum(path) != entry["sha256"]:
                # A damaged record is named by the reader; damage elsewhere is not in a record.
                for position in range(entry["num_records"]):
                    list(self._read([(shard, [position])]))
                raise ValueError(f"{path} does not match its checksum; {records.REMAKE}")
            progress(entry["bytes"])


def hash_of_key(key: str) -> int:
    """32 bits that depend on a sentence's key alone; the same for ever."""
    return hash_key("sentence", key) >> 32


def _size(path: pathlib.Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _check_size(path: pathlib.Path, there: int | None, num_bytes: int) -> None:
    if there is None:
        raise ValueError(f"{path} is missing, but the manifest names it; restore it or build again")
    if there != num_bytes:
        raise ValueError(
            f"{path} has {there} bytes, the manifest says {num_bytes}: it is cut short or "
            "replaced; restore it or build again"
        )
