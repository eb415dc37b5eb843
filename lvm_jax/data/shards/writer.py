"""Writes a directory of shards, one shard after the other; goes on where an earlier run stopped.

Everything is written as `NAME.partial` and renamed when it is whole. Beside each finished shard
stand its notes (`shard-00000.json`), from which index and manifest are made at the end; the
manifest comes last. In a finished directory, a shard that was lost is made again, to the byte.

Legend: S sentences of the directory, N images of a sentence, T ids per image.
"""

import array
import base64
import functools
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lvm_jax import atomic, configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.shards import records
from lvm_jax.data.shards.manifest import (
    FORMAT,
    INDEX_FILES,
    KEYS,
    MANIFEST,
    content_fingerprint,
    count_by_name,
    manifest_checksum,
    read_json,
    read_manifest,
    write_index,
    write_json,
)
from lvm_jax.data.shards.reader import Shards, hash_of_key
from lvm_jax.data.shards.records import Record
from lvm_jax.vocabulary import Vocabulary


class ShardsWriter:
    """Writes a directory shard by shard; started again it goes on after the finished shards.

    Args:
        out: the directory; made if missing.
        build_key: what the shards are made from; shards of another key are never continued.
        vocabulary: the id space; ids must be codes.
        tokens_per_image: T.
        tokenizer_fingerprint: of the tokenizer that makes the ids.

    Raises:
        ConfigError: the directory cannot be written or holds shards made from something else.
    """

    def __init__(
        self,
        out: str | os.PathLike,
        *,
        build_key: str,
        vocabulary: Vocabulary,
        tokens_per_image: int,
        tokenizer_fingerprint: str,
    ):
        self.directory = pathlib.Path(out)
        self.build_key = build_key
        self.vocabulary = vocabulary
        self.tokens_per_image = tokens_per_image
        self.tokenizer_fingerprint = tokenizer_fingerprint
        _require_writable(self.directory)
        for path in sorted(self.directory.glob("shard-*.json")) + [self.directory / MANIFEST]:
            if path.exists() and read_json(path).get("build_key") != build_key:
                raise ConfigError(
                    *(Field("out"), f"={self.directory} holds shards made from another config, "),
                    "tokenizer or other pictures; give another one or remove it",
                )

    @property
    def complete(self) -> bool:
        """Whether the directory is finished already."""
        return (self.directory / MANIFEST).exists()

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """Of a directory that is `complete`."""
        return read_manifest(self.directory)

    def finished(self, number: int) -> bool:
        """Whether a shard was written whole by an earlier run, and has its size still."""
        return self.about(number) is not None

    def about(self, number: int) -> dict[str, Any] | None:
        """What `write_shard` was given to keep of a shard; None if the shard is not `finished`.

        Nothing, {}, where the directory is `complete`.
        """
        if self.complete:
            return {} if self._has_size(number, self.manifest["shards"][number]["bytes"]) else None
        if not self._notes(number).exists():
            return None
        notes = read_json(self._notes(number))
        # Notes of an older version have no columns.
        whole = "columns" in notes and self._has_size(number, notes["bytes"])
        return notes["about"] if whole else None

    def _has_size(self, number: int, num_bytes: int) -> bool:
        path = self._path(number)
        return path.exists() and path.stat().st_size == num_bytes

    def write_shard(
        self,
        number: int,
        sentences: Iterable[Record],
        about: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """Writes one shard; it appears only when whole.

        In a `complete` directory it must become what it was: nothing else is changed.

        Args:
            number: of the shard; processes may write different ones at the same time.
            sentences: what is in it.
            about: called when all sentences are written; kept in the notes until `finish`.

        Raises:
            ValueError: ids that are not codes, images of another length, or a lost shard that
                does not become what it was.
            RuntimeError: the disk is full; finished shards are kept.
        """
        if self.complete:
            self._replace_shard(number, sentences)
            return
        path = self._path(number)
        num_images, names, keys = self._write_records(path, sentences)
        notes = {
            "build_key": self.build_key,
            "bytes": path.stat().st_size,
            "sha256": records.checksum(path),
            "ends_sha256": records.checksum_of_ends(path),
            "columns": {"num_images": _pack_column(num_images), "keys": _pack_column(keys)},
            "names": _run_lengths(names),
            "about": about(),
        }
        write_json(self._notes(number), notes)

    def _replace_shard(self, number: int, sentences: Iterable[Record]) -> None:
        path, entry = self._path(number), self.manifest["shards"][number]
        again = path.with_name(f"again-{path.name}.partial")
        self._write_records(again, sentences)
        if records.checksum(again) != entry["sha256"]:
            again.unlink()
            raise ConfigError(
                f"{path} was to be made again, but became something else than it was: a file that "
                "it is made from has changed, or the tokenizer runs on other devices or versions; "
                "restore the shard from a copy, or remove ",
                *(Field("out"), f"={self.directory} to begin anew"),
            )
        try:
            again.replace(path)
        except OSError as error:
            raise atomic.write_error(path, error) from error

    def _write_records(
        self, path: pathlib.Path, sentences: Iterable[Record]
    ) -> tuple[array.array, list[tuple[str, str]], array.array]:
        """Writes a file; its sentences' numbers of images, (kind, source), and hashes of keys."""
        writer = records.RecordFileWriter(path)
        num_images, names, keys = array.array("H"), [], array.array("I")
        try:
            for record in sentences:
                self._check(record)
                writer.write(records.encode(record))
                num_images.append(len(record.ids))
                names.append((record.kind, record.source))
                keys.append(hash_of_key(record.key))
            writer.close()
        except BaseException:
            writer.abandon()
            raise
        return num_images, names, keys

    def finish(self, num_shards: int, about: dict[str, Any] | None = None) -> None:
        """Writes index and manifest over shards 0..num_shards-1 and removes the notes.

        Args:
            num_shards: shards of the whole directory.
            about: more to keep in the manifest, such as the config.
        """
        runs, shards, columns = [], [], {"num_images": [], "keys": []}
        for number in range(num_shards):
            notes = read_json(self._notes(number))
            runs += notes["names"]
            for name, typecode in (("num_images", "<u2"), ("keys", "<u4")):
                columns[name].append(_unpack_column(notes["columns"][name], typecode))
            shards.append(
                {
                    "file": self._path(number).name,
                    "num_records": len(columns["num_images"][-1]),
                    "num_images": int(columns["num_images"][-1].sum(dtype=np.int64)),
                    "bytes": notes["bytes"],
                    "sha256": notes["sha256"],
                    "ends_sha256": notes["ends_sha256"],
                }
            )
        num_images, keys = (np.concatenate(parts) for parts in columns.values())
        kinds, sources = sorted({run[0] for run in runs}), sorted({run[1] for run in runs})
        lengths = [run[2] for run in runs]
        kind_ids = np.repeat(np.array([kinds.index(run[0]) for run in runs], np.uint16), lengths)
        source_ids = np.repeat(
            np.array([sources.index(run[1]) for run in runs], np.uint16), lengths
        )
        columns = (num_images, kind_ids, source_ids, keys)
        self.write_manifest(columns, kinds, sources, shards, about)
        for number in range(num_shards):
            self._notes(number).unlink()

    def write_manifest(
        self,
        columns: Sequence[np.ndarray],
        kinds: Sequence[str],
        sources: Sequence[str],
        shards: Sequence[dict[str, Any]],
        about: dict[str, Any] | None = None,
    ) -> None:
        """Writes index and manifest.

        Args:
            columns: num_images, kind_ids, source_ids uint16 and key hashes uint32, each [S].
            kinds, sources: the names that ids are places in.
            shards: file, num_records, num_images, bytes, sha256 and ends_sha256 of each.
            about: more to keep in the manifest.
        """
        num_images, kind_ids, source_ids, _ = columns
        files = zip((*INDEX_FILES, KEYS), columns)
        index = [write_index(self.directory / name, column) for name, column in files]
        manifest = {
            "format": FORMAT,
            "build_key": self.build_key,
            "vocabulary": configs.to_dict(self.vocabulary),
            "tokenizer_fingerprint": self.tokenizer_fingerprint,
            "tokens_per_image": self.tokens_per_image,
            "num_sentences": len(num_images),
            "num_images": int(num_images.sum(dtype=np.int64)),
            "kinds": list(kinds),
            "sources": list(sources),
            "counts": {
                "by_kind": count_by_name(kinds, kind_ids, num_images),
                "by_source": count_by_name(sources, source_ids, num_images),
            },
            "shards": list(shards),
            "index": index,
            "about": about or {},
        }
        manifest["fingerprint"] = content_fingerprint(manifest)
        manifest["checksum"] = manifest_checksum(manifest)
        write_json(self.directory / MANIFEST, manifest)

    def _path(self, number: int) -> pathlib.Path:
        return self.directory / shard_name(number)

    def _notes(self, number: int) -> pathlib.Path:
        return self.directory / f"shard-{number:05d}.json"

    def _check(self, record: Record) -> None:
        ids = record.ids
        if ids.ndim != 2 or ids.shape[1] != self.tokens_per_image or not len(ids):
            raise ValueError(
                f"sentence {record.key!r} of {record.source} has ids {list(ids.shape)}, not "
                f"[images, {self.tokens_per_image}]"
            )
        if int(ids.min()) < 0 or int(ids.max()) >= self.vocabulary.num_codes:
            raise ValueError(
                f"sentence {record.key!r} of {record.source} has ids {ids.min()}..{ids.max()}, "
                f"but the vocabulary has codes 0..{self.vocabulary.num_codes - 1}"
            )


def write_shards(
    out: str | os.PathLike,
    sentences: Iterable[Record],
    *,
    vocabulary: Vocabulary,
    tokens_per_image: int,
    tokenizer_fingerprint: str,
    sentences_per_shard: int = 65536,
) -> Shards:
    """Writes sentences that exist already as a new directory, and opens it."""
    writer = ShardsWriter(
        out,
        build_key="",
        vocabulary=vocabulary,
        tokens_per_image=tokens_per_image,
        tokenizer_fingerprint=tokenizer_fingerprint,
    )
    number = 0
    for number, part in enumerate(_batched(sentences, sentences_per_shard), 1):
        writer.write_shard(number - 1, part)
    if not number:
        raise ValueError(f"no sentences to write to {os.fspath(out)}")
    writer.finish(number)
    return Shards(out)


def shard_name(number: int) -> str:
    """The file of a shard."""
    return f"shard-{number:05d}.array_record"


def _require_writable(directory: pathlib.Path) -> None:
    probe = directory / ".writable"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"0")
        probe.unlink(missing_ok=True)  # several processes may probe at once
    except OSError as error:
        raise ConfigError(
            "cannot write to ",
            *(Field("out"), f"={directory}: {error.strerror}; choose another place"),
        ) from error


def _pack_column(column: array.array) -> str:
    """Numbers as text that stays small in JSON and in memory."""
    return base64.b64encode(np.array(column).tobytes()).decode()


def _unpack_column(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def _run_lengths(names: list[tuple[str, str]]) -> list[tuple[str, str, int]]:
    return [(*name, sum(1 for _ in group)) for name, group in itertools.groupby(names)]


def _batched(items: Iterable[Record], size: int) -> Iterator[list[Record]]:
    iterator = iter(items)
    while part := list(itertools.islice(iterator, size)):
        yield part
