"""The life of a directory of shards: parts are missing, are made, and the directory is finished.

Any number of processes share it, each with a slice of the shards. While shards are missing, the
directory also holds notes beside each finished one and files that end in `.partial`. Whoever makes
the last shard turns these into index, manifest and `rejects.jsonl`, and removes them. A shard that
a finished directory has lost is made again, to the byte.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from absl import logging

from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.building import rejects, slices, workers
from lvm_jax.data.building.slices import Slice
from lvm_jax.data.building.workers import Moved
from lvm_jax.data.shards.manifest import INDEX_FILES, KEYS, MANIFEST
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.writer import ShardsWriter, shard_name
from lvm_jax.vocabulary import Vocabulary

# What an unfinished directory holds beside shards; other programs may keep files here too.
_TEMPORARY = (
    "slice-*",
    "tokens-*",
    "images-*",
    "pictures-*",
    "rejects-*",
    "writing-*",
    "again-*",
    "shard-*",
    *INDEX_FILES,
    KEYS,
    MANIFEST,
    rejects.FILE,
)

Notes = dict[str, Any]
"""What is kept beside a shard until the directory is finished: JSON."""
Records = Callable[[int, Notes, Moved], Iterator[Record]]
"""The records of a shard: takes its number, notes to fill, and what to call with the size done."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a directory becomes.

    Attributes:
        out: the directory.
        part: which of the shards this process makes.
        build_key: of what the shards are made from, 64 hex digits; see `ShardsWriter`.
        vocabulary, tokens_per_image, tokenizer_fingerprint: of the ids.
        sizes: of the shards, in what progress counts.
        num_workers: processes that make shards for this one; more than 1 need `Records` that can be
            pickled.
    """

    out: pathlib.Path
    part: Slice
    build_key: str
    vocabulary: Vocabulary
    tokens_per_image: int
    tokenizer_fingerprint: str
    sizes: Sequence[int]
    num_workers: int = 1

    @property
    def mine(self) -> range:
        """Numbers of the shards of this process."""
        return range(len(self.sizes))[self.part.index :: self.part.count]


@dataclasses.dataclass(frozen=True)
class State:
    """How a process finds a directory.

    Attributes:
        writer: of the directory.
        complete: whether it was finished before.
        missing: numbers of the shards that this process has to make.
        notes: of all finished shards, by number; nothing is in them if `complete`.
    """

    writer: ShardsWriter
    complete: bool
    missing: Sequence[int]
    notes: Mapping[int, Notes]


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a process is with its shards: done before it began and done now, of their size."""

    before: int
    done: int
    total: int


class Source(Protocol):
    """What shards are made from: pictures, or lines."""

    def changed(self, state: State) -> Sequence[str]:
        """Files that hold something else than what the shards that are there were made from."""
        ...

    def making(self, state: State) -> contextlib.AbstractContextManager[Records]:
        """A block in which missing shards are made."""
        ...

    def written(self, number: int, notes: Notes) -> None:
        """Is told of every new shard of an unfinished directory.

        Raises:
            ConfigError: too much had to be left out.
        """
        ...

    def about(self, notes: Mapping[int, Notes]) -> dict[str, Any]:
        """What the manifest says of the source; also writes `rejects.jsonl`.

        Args:
            notes: of all shards, by number.

        Raises:
            ValueError: too much had to be left out, or everything.
        """
        ...


def build(plan: Plan, source: Source, progress: Callable[[Progress], None]) -> Shards | None:
    """Makes the shards of a process that are missing; finishes the directory if it can.

    Returns:
        The finished shards, or None if other slices have still to finish.

    Raises:
        ValueError: what the user can fix: files that have changed since shards were made from them,
            rejects, a lost shard that does not become what it was, or `plan.out`.
        RuntimeError: the disk became full, or a worker process died; a new run goes on.
    """
    # Who finishes takes away what shards are known by: nobody looks meanwhile.
    with slices.finishing(plan.out) if plan.out.is_dir() else contextlib.nullcontext():
        state = _look(plan)
    claim = slices.claim(plan.out, plan.part, plan.build_key)
    with claim if state.missing else contextlib.nullcontext():
        if changed := source.changed(state):
            raise _changed_error(plan, changed)
        _log_start(plan, state)
        if state.missing:
            _make(plan, source, state, progress)
        elif state.complete:
            total = _size(plan, plan.mine)
            progress(Progress(before=total, done=total, total=total))
    return _finish(plan, source, state.writer)


def _look(plan: Plan) -> State:
    writer = ShardsWriter(
        plan.out,
        build_key=plan.build_key,
        vocabulary=plan.vocabulary,
        tokens_per_image=plan.tokens_per_image,
        tokenizer_fingerprint=plan.tokenizer_fingerprint,
    )
    notes = _notes_of_finished(plan, writer)
    missing = [number for number in plan.mine if number not in notes]
    return State(writer, writer.complete, missing, notes)


def _notes_of_finished(plan: Plan, writer: ShardsWriter) -> dict[int, Notes]:
    every = {number: writer.about(number) for number in range(len(plan.sizes))}
    return {number: notes for number, notes in every.items() if notes is not None}


def _size(plan: Plan, numbers: Sequence[int]) -> int:
    return sum(plan.sizes[number] for number in numbers)


def _changed_error(plan: Plan, changed: Sequence[str]) -> ConfigError:
    more = f" ({len(changed)} such files)" if len(changed) > 1 else ""
    return ConfigError(
        f"{changed[0]} has changed since shards in {plan.out} were made from it, though its size "
        f"is the same{more}; put the old file back, or remove ",
        *(Field("out"), f"={plan.out} to begin anew"),
    )


def _log_start(plan: Plan, state: State) -> None:
    out, num_missing, num_mine = plan.out, len(state.missing), len(plan.mine)
    if state.complete and num_missing:
        logging.warning(
            "%s was finished, but %d of its shards are missing or have another size (%s first); "
            "making them again",
            *(out, num_missing, shard_name(state.missing[0])),
        )
    elif state.complete:
        logging.info(
            "%s: all %d sentences are there already, nothing to do (a damaged shard is made again "
            "when its file is removed)",
            *(out, state.writer.manifest["num_sentences"]),
        )
    elif num_missing < num_mine:
        logging.info(
            "%s: %d of %d shards are there already, going on",
            *(out, num_mine - num_missing, num_mine),
        )
    elif not num_mine:
        logging.warning(
            "%s has %d shards, so slice %s has nothing to do; a smaller shard_megabytes makes more",
            *(out, len(plan.sizes), plan.part),
        )


def _make(plan: Plan, source: Source, state: State, progress: Callable[[Progress], None]) -> None:
    total = _size(plan, plan.mine)
    before = done = total - _size(plan, state.missing)

    def moved(size: int) -> None:
        nonlocal done
        done += size
        progress(Progress(before=before, done=done, total=total))

    with source.making(state) as records:
        moved(0)
        write = functools.partial(_write_shard, state.writer, records, plan.sizes)
        results = workers.run(write, state.missing, plan.num_workers, moved)
        with contextlib.closing(results):
            for number, notes in results:
                if not state.complete:
                    source.written(number, notes)


def _write_shard(
    writer: ShardsWriter, records: Records, sizes: Sequence[int], number: int, moved: Moved
) -> tuple[int, Notes]:
    """Writes a shard, in the process that makes it."""
    notes: Notes = {}
    left = sizes[number]

    def count(size: int) -> None:
        nonlocal left
        left -= size
        moved(size)

    writer.write_shard(number, records(number, notes, count), lambda: notes)
    if left:
        moved(left)
    return number, notes


def _finish(plan: Plan, source: Source, writer: ShardsWriter) -> Shards | None:
    """Writes what stands over all shards, if all are there and no other process did it."""
    total = len(plan.sizes)
    with slices.finishing(plan.out):
        notes = _notes_of_finished(plan, writer)
        if missing := total - len(notes):
            logging.info(
                "%s: this slice is done; %d of %d shards are still missing, and whoever makes "
                "the last one finishes the directory",
                *(plan.out, missing, total),
            )
            return None
        if not writer.complete:
            writer.finish(total, source.about(notes))
        _clean(plan.out)
    return Shards(plan.out)


def _clean(out: pathlib.Path) -> None:
    """Removes what only an unfinished directory needs."""
    for path in temporary(out):
        path.unlink(missing_ok=True)


def temporary(out: pathlib.Path) -> list[pathlib.Path]:
    """The files that only an unfinished directory needs."""
    partial = [path for name in _TEMPORARY for path in out.glob(f"{name}.partial")]
    return partial + list(out.glob("shard-*.json"))
