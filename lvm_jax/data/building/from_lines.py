"""LVM's JSON lines (`jsonl`) -> shards.

A file is cut into stretches of equal bytes, each of which makes one shard; files are not joined, so
that many small ones make as many small shards. What is in a shard so depends on the file alone: it
is the same for any number of processes, and an interrupted import goes on after the shards that are
finished, if their lines are the same as then: their hash counts where the times of the file do not.
Ids are taken as they are; no tokenizer is needed. Blank lines at the end of a file are no lines.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.building import jsonl, lifecycle, line_files, originals, rejects
from lvm_jax.data.building.lifecycle import Notes, Plan, Records, State
from lvm_jax.data.building.line_files import Stretch
from lvm_jax.data.building.slices import Slice
from lvm_jax.data.building.workers import Moved
from lvm_jax.data.shards.manifest import MANIFEST
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.records import Record
from lvm_jax.vocabulary import Vocabulary

VERSION = 1
KIND = "jsonl"
# An id takes 4 bytes as int32 and 16/3 in base64, but 2 in a shard.
_TEXT_BYTES_PER_SHARD_BYTE = 8 / 3
# It is said how far a shard is after so many bytes.
_BYTES_PER_REPORT = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How lines become sentences; `num_workers` alone does not change what is made.

    Attributes:
        tokens_per_image: T; lines must hold a multiple of it.
        num_codes: size of the codebook that the ids are from.
        num_special: special ids of the vocabulary.
        tokenizer_fingerprint: of the tokenizer that made the ids; "" when it is not known.
        max_bad_lines: bad lines to leave out and list before the import is refused.
        shard_megabytes: about how large a shard becomes, if its file is large enough.
        num_workers: processes.
    """

    tokens_per_image: int = 256
    num_codes: int = 8192
    num_special: int = 100
    tokenizer_fingerprint: str = ""
    max_bad_lines: int = 0
    shard_megabytes: float = 256
    num_workers: int = 1

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "tokens_per_image", "num_workers")
        configs.require_at_least(self, 0, "max_bad_lines")
        if not self.shard_megabytes > 0:
            raise ConfigError(Field("shard_megabytes"), f"={self.shard_megabytes} must be positive")


def import_jsonl(
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    config: ImportConfig | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    part: Slice | None = None,
) -> Shards | None:
    """Makes shards of LVM's JSON lines, or goes on where an earlier run stopped.

    In a finished directory it makes shards again that are missing or have another size, to the
    byte.

    Several processes may share the work, each with a slice and as many worker processes as its
    config says, also on machines that share a disk; together they write the same bytes as one.

    Args:
        paths: the files; their lines become sentences in this order. Where two have one name, these
            are called by their paths as given.
        out: the directory.
        config: how.
        progress: called with (bytes done, bytes in all) of what this process makes.
        part: what this process makes; all by default.

    Returns:
        The finished shards, or None if other slices have still to finish. OUT/rejects.jsonl lists
        the bad lines, where there are any.

    Raises:
        ValueError: a missing file, one that is given twice or changed since shards were made of
            it, more bad lines than allowed, or no good one; named.
        RuntimeError: the disk became full or a process died; a new run goes on.
    """
    lines = _Lines(list(map(pathlib.Path, paths)), pathlib.Path(out), config or ImportConfig())

    def report(shards: lifecycle.Progress) -> None:
        if shards.done > shards.before:
            progress(shards.done, shards.total)

    return lifecycle.build(lines.plan(part or Slice()), lines, report)


class _Lines:
    """The lines of some files as a source of shards (`lifecycle.Source`).

    What is noted of a shard: `lines`, their number; `rejects`, the bad ones; `sha256` of all of
    them; and `stamp`, of the file before it was read. Older versions had neither of the last two.
    """

    def __init__(self, paths: Sequence[pathlib.Path], out: pathlib.Path, config: ImportConfig):
        num_bytes = int(config.shard_megabytes * 2**20 * _TEXT_BYTES_PER_SHARD_BYTE)
        self.paths, self.out, self.config = paths, out, config
        self.stretches = line_files.stretches(paths, max(1, num_bytes))
        self._notes: dict[int, Notes] = {}

    def plan(self, part: Slice) -> Plan:
        """The directory that they become."""
        config = self.config
        return Plan(
            out=self.out,
            part=part,
            build_key=self._build_key(),
            vocabulary=Vocabulary(num_codes=config.num_codes, num_special=config.num_special),
            tokens_per_image=config.tokens_per_image,
            tokenizer_fingerprint=config.tokenizer_fingerprint,
            sizes=[stretch.stop - stretch.start for stretch in self.stretches],
            num_workers=config.num_workers,
        )

    def _build_key(self) -> str:
        """Changes with what the shards depend on, but for changes that leave a file its size."""
        about = dataclasses.asdict(self.config)
        del about["num_workers"], about["max_bad_lines"]
        names = line_files.names(self.paths)
        files = [(name, path.stat().st_size) for path, name in zip(self.paths, names)]
        text = json.dumps([VERSION, KIND, files, about], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def changed(self, state: State) -> list[str]:
        """Files whose lines are not those of the shards that are there."""
        if state.complete:
            return self._changed_since_finished(state)
        changed: dict[str, None] = {}
        for number, notes in sorted(state.notes.items()):
            stretch = self.stretches[number]
            if stretch.path in changed or "sha256" not in notes:
                continue
            if notes["stamp"] == originals.stamp_of(stretch.path):
                continue
            if notes["sha256"] != line_files.hash_of_lines(stretch):
                changed[stretch.path] = None
        return list(changed)

    def _changed_since_finished(self, state: State) -> list[str]:
        finished = (self.out / MANIFEST).stat().st_mtime_ns
        changed = []
        for path, about in zip(self.paths, state.writer.manifest["about"]["jsonl"], strict=True):
            status = path.stat()
            if "sha256" not in about or max(status.st_mtime_ns, status.st_ctime_ns) < finished:
                continue
            if self._hash_of_file(path, {}) != about["sha256"]:
                changed.append(str(path))
        return changed

    def _hash_of_file(self, path: pathlib.Path, notes: Mapping[int, Notes]) -> str:
        """SHA-256 over the hashes of a file's stretches, of which the notes may have some."""
        hashes = [
            notes.get(stretch.number, {}).get("sha256") or line_files.hash_of_lines(stretch)
            for stretch in self.stretches
            if stretch.path == str(path)
        ]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()

    @contextlib.contextmanager
    def making(self, state: State) -> Iterator[Records]:
        """Refuses bad lines as soon as they are too many."""
        self._notes = dict(state.notes)
        try:
            yield functools.partial(_records, self.stretches, self.config)
        except _TooManyBadLinesError as error:
            if state.complete:
                raise ConfigError(
                    *(f"{self.stretches[error.number].path} has more bad lines than "),
                    *(Field("max_bad_lines"), f"={self.config.max_bad_lines}; "),
                    "give the number that the shards were made with",
                ) from error
            raise self._refusal({error.number: error.bad_lines}) from error

    def written(self, number: int, notes: Notes) -> None:
        """Refuses bad lines as soon as they are too many in all shards."""
        self._notes[number] = notes
        self._require_few()

    def _require_few(self) -> None:
        if sum(len(notes["rejects"]) for notes in self._notes.values()) > self.config.max_bad_lines:
            raise self._refusal({})

    def _refusal(self, of_the_last: Mapping[int, list[dict[str, Any]]]) -> ConfigError:
        """Lists the bad lines, and those of a shard that was given up."""
        bad_lines = {number: notes["rejects"] for number, notes in self._notes.items()}
        bad_lines.update(of_the_last)
        rejects.write(self.out, self._listed(bad_lines))
        number = min(number for number, bad in bad_lines.items() if bad)
        first, path = bad_lines[number][0], self.stretches[number].path
        return ConfigError(
            f"{path}, byte {first['offset']}: {first['reason']}; more than ",
            *(Field("max_bad_lines"), f"={self.config.max_bad_lines} lines are bad, the first of "),
            f"them in {self.out / rejects.FILE}; mend the file or raise ",
            Field("max_bad_lines"),
        )

    def _listed(self, bad_lines: Mapping[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """As `rejects.jsonl` has them, numbered from 1 as far as all before them were counted."""
        listed, before = [], None
        for stretch in self.stretches:
            if stretch.start == 0:
                before = 0
            for bad in bad_lines.get(stretch.number, ()):
                line = None if before is None else before + bad["line"] + 1
                about = {"file": stretch.name, "line": line, "offset": bad["offset"]}
                listed.append({**about, "reason": bad["reason"]})
            if before is not None and stretch.number in self._notes:
                before += self._notes[stretch.number]["lines"]
            else:
                before = None
        return listed

    def about(self, notes: Mapping[int, Notes]) -> dict[str, Any]:
        """What the manifest says beside the shards; writes `rejects.jsonl`."""
        self._notes = dict(notes)
        self._require_few()
        bad_lines = {number: notes["rejects"] for number, notes in self._notes.items()}
        rejects.write(self.out, self._listed(bad_lines))
        num_lines = sum(notes["lines"] for notes in self._notes.values())
        num_bad = sum(map(len, bad_lines.values()))
        if num_bad == num_lines:
            raise ValueError(
                f"{self.stretches[0].path} holds no good line; see {self.out / rejects.FILE}"
            )
        files = [
            {
                "file": name,
                "bytes": path.stat().st_size,
                "sha256": self._hash_of_file(path, self._notes),
            }
            for path, name in zip(self.paths, line_files.names(self.paths))
        ]
        return {"jsonl": files, "lines": num_lines, "bad_lines": num_bad}


class _TooManyBadLinesError(Exception):
    """Ends a stretch whose shard would be thrown away."""

    def __init__(self, number: int, bad_lines: list[dict[str, Any]]):
        super().__init__(number, bad_lines)
        self.number, self.bad_lines = number, bad_lines


def _records(
    stretches: Sequence[Stretch], config: ImportConfig, number: int, notes: Notes, moved: Moved
) -> Iterator[Record]:
    """The good lines of a stretch."""
    stretch = stretches[number]
    source = stretch.name.removesuffix(".jsonl")
    bad_lines: list[dict[str, Any]] = []
    num_lines, reported = 0, stretch.start
    # Taken before the lines: a change while they are read is noticed by the next run.
    stamp, digest = originals.stamp_of(stretch.path), hashlib.sha256()
    for offset, line in line_files.lines(stretch, digest):
        if offset - reported >= _BYTES_PER_REPORT:
            moved(offset - reported)
            reported = offset
        try:
            if line is None:
                raise ValueError(f"a line longer than {line_files.LONGEST_LINE} bytes")
            ids = jsonl.parse_line(line, config.tokens_per_image, config.num_codes)
        except ValueError as error:
            bad_lines.append({"line": num_lines, "offset": offset, "reason": str(error)})
            if len(bad_lines) > config.max_bad_lines:
                raise _TooManyBadLinesError(number, bad_lines) from error
        else:
            yield Record(kind=KIND, source=source, key=f"{stretch.name}@{offset}", ids=ids)
        num_lines += 1
    notes.update(lines=num_lines, rejects=bad_lines, stamp=stamp, sha256=digest.hexdigest())
