"""Shards -> batches: the batch at step s is a pure function of (config, seed, s).

There is no iterator state: started at any step, on any number of processes, the pipeline gives the
same rows. Reading, packing and shuffling happen in worker threads, whole batches at a time.

Legend: B rows of a batch or of several, L the context.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Generator
from typing import Any

import grain
import numpy as np
from absl import flags

from lvm_jax import configs, draws, worker_processes
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.feeding import assemble, mixture, plan_cache, selection
from lvm_jax.data.feeding import data_config as config_lib
from lvm_jax.data.feeding import packing as packing_lib
from lvm_jax.data.feeding import rows as rows_lib
from lvm_jax.data.feeding.data_config import DataConfig, MixtureSource
from lvm_jax.data.shards.reader import Shards
from lvm_jax.draws import hash_key
from lvm_jax.storage.cache import Cache

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One source of a pipeline: its name, its open shards, its rows and the seed of their order.

    `kinds` are those of its sentences: of the shards', what the source takes.
    """

    name: str
    shards: Shards
    kinds: tuple[str, ...]
    plan: rows_lib.RowPlan
    seed: int


class Pipeline:
    """The batches of a data set or of a mixture of several.

    It may be pickled: a copy in another process opens the same files and gives the same batches.

    Attributes:
        config, seed, global_batch: as given.
        parts: the sources.
        rows_per_epoch: rows of all sources together.
        vocabulary, tokenizer_fingerprint, tokens_per_image: of the shards, alike in all sources.
        kinds: names of the kinds of sentences that all sources together may give.

    Args:
        config: which data.
        seed: of the order of the rows.
        global_batch: rows of a batch over all processes.
        allow_repeats: no error when there are fewer rows than a batch needs, as in a small held-out
            set, whose rows are asked for with `rows_once`.

    Raises:
        ConfigError: shards, context or batch size do not fit; names the field of `config` or the
            argument.
    """

    def __init__(
        self, config: DataConfig, *, seed: int, global_batch: int, allow_repeats: bool = False
    ):
        self.config, self.seed, self.global_batch = config, seed, global_batch
        self._allow_repeats = allow_repeats
        if global_batch < 1:
            raise ConfigError(Field("global_batch"), f"={global_batch} must be at least 1")
        self.parts = _open_parts(config, seed)
        shards = self.parts[0].shards
        self.vocabulary = shards.vocabulary
        self.tokenizer_fingerprint = shards.tokenizer_fingerprint
        self.tokens_per_image = shards.tokens_per_image
        self.kinds = tuple(dict.fromkeys(kind for part in self.parts for kind in part.kinds))
        self._places_of_kinds = [_places(part.shards.kinds, self.kinds) for part in self.parts]
        weights = [source.weights for source in config.mixture] or [((0, 1.0),)]
        self._schedule = mixture.Schedule(weights, global_batch) if len(weights) > 1 else None
        self.rows_per_epoch = sum(part.plan.num_rows for part in self.parts)
        if not allow_repeats:
            self._check_rows()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.config, self.seed, self.global_batch, self._allow_repeats)

    def _check_rows(self) -> None:
        """No batch may hold a row twice."""
        batch, context = self.global_batch, self.config.context
        if batch > self.rows_per_epoch:
            shards = self.config.shards
            where = (Field("shards"), f"={shards}") if shards else ("the data",)
            raise ConfigError(
                *(Field("global_batch"), f"={batch} exceeds the {self.rows_per_epoch} rows that "),
                *(*where, " gives at ", Field("context"), f"={context}; "),
                f"use at most {self.rows_per_epoch}",
            )
        for source, part in zip(self.config.mixture, self.parts):
            for step, _ in source.weights:
                weights = [config_lib.weight_at(s, step) for s in self.config.mixture]
                taken = int(config_lib.weight_at(source, step) / sum(weights) * batch)
                if taken > part.plan.num_rows:
                    raise ConfigError(
                        *(Field(f"mixture.{part.name}"), f" gives {part.plan.num_rows} rows at "),
                        *(Field("context"), f"={context}, but its weight takes {taken} of the "),
                        *(Field("global_batch"), f"={batch} rows of a batch; "),
                        "lower its weight or the batch",
                    )

    def dependencies(self) -> dict[str, Any]:
        """What the rows of every step depend on, by name; tells what changed between two runs."""
        config, sources = self.config, {}
        for source, part in zip(config.mixture, self.parts):
            sources[source.name] = {
                "shards": part.shards.fingerprint,
                "weight": [list(pair) for pair in source.weights],
                "kinds": list(source.kinds),
                "sources": list(source.sources),
            }
        read: dict[str, Any] = {"shards": self.parts[0].shards.fingerprint}
        if sources:
            # Rows are dealt out to the sources by their places.
            read = {"mixture": sources, "mixture_order": [part.name for part in self.parts]}
        return {
            **read,
            "batch_size": self.global_batch,  # the rows of step s begin at s times it
            "tokenizer": self.tokenizer_fingerprint,
            "context": config.context,
            "packing": config.packing,
            "long_sentences": config.long_sentences,
            "split": selection.of_source(None, config.split).as_key(),
            "shuffle": config.shuffle,
            "row_plan_version": packing_lib.VERSION,
            "seed": self.seed,
        }

    @property
    def fingerprint(self) -> str:
        """Changes whenever `dependencies` do; 64 hex digits."""
        text = json.dumps(self.dependencies(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def epochs(self, step: int) -> dict[str, float]:
        """How often each source was seen before a step; 1.5 is once and a half."""
        number = step * self.global_batch
        counts = [number] if self._schedule is None else self._schedule.counts_before(number)
        return {
            part.name: float(count) / part.plan.num_rows for part, count in zip(self.parts, counts)
        }

    def rows_of(
        self, step: int, rows: slice | None = None, num_steps: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which rows make the batches of some steps.

        Args:
            step: the first of them.
            rows: which rows of each global batch; None means all.
            num_steps: how many.

        Returns:
            sources, rows: int64 [B], places in `parts` and in the plan of that part; step after
                step.
        """
        first = step * self.global_batch
        numbers_B = np.arange(first, first + num_steps * self.global_batch, dtype=np.int64)
        if rows is not None:
            numbers_B = numbers_B.reshape(num_steps, -1)[:, rows].reshape(-1)
        sources_B, places_B = self._locate(numbers_B)
        return sources_B, self._rows_at(sources_B, places_B)

    def rows_once(self, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of which none comes twice, for held-out data: whatever the batch size, the same.

        Args:
            limit: how many at most.

        Returns:
            sources, rows: as `rows_of`. All rows where the limit allows; else those among the first
                `limit` that training would take which it had not taken before: in the proportions
                of a mixture, but for sources that are too small.
        """
        sizes = np.array([part.plan.num_rows for part in self.parts], np.int64)
        if self._schedule is not None and self.rows_per_epoch <= limit:
            return np.repeat(np.arange(len(sizes)), sizes), np.concatenate(
                [np.arange(size) for size in sizes]
            )
        sources_B, places_B = self._locate(np.arange(min(limit, self.rows_per_epoch)))
        is_new = places_B < sizes[sources_B]
        sources_B, places_B = sources_B[is_new], places_B[is_new]
        return sources_B, self._rows_at(sources_B, places_B)

    def _locate(self, numbers_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the run -> their sources, and how many rows each source gave before."""
        if self._schedule is None:
            return np.zeros_like(numbers_B), numbers_B
        return self._schedule.locate(numbers_B)

    def _rows_at(self, sources_B: np.ndarray, places_B: np.ndarray) -> np.ndarray:
        rows_B = np.empty_like(places_B)
        for source in np.unique(sources_B).tolist():
            part, chosen = self.parts[source], sources_B == source
            rows_B[chosen] = draws.rows_at(
                places_B[chosen], part.plan.num_rows, part.seed, self.config.shuffle
            )
        return rows_B

    def batch(self, step: int, rows: slice | None = None) -> Batch:
        """The batch of a step.

        Args:
            step: 0 for the first.
            rows: which rows of the global batch; None means all.

        Returns:
            inputs, targets: int32 [B, L], targets one id further on.
            segments: int32 [B, L], 1, 2, ... for the sentences of a row and 0 for padding; all 1
                in "stream" packing.
            positions: int32 [B, L], from 0 in every sentence (in every row for "stream").
            weights: float32 [B, L], 1 where the target belongs to the sentence of the input, 0 at
                seams and on padding.
            kinds: int16 [B, L], the place in `kinds` of the target's sentence, where it has weight;
                -1 on padding.
        """
        return assemble.unpack(self.read_packed(step, rows), self.config.packing)

    def read_packed(
        self, step: int, rows: slice | None = None, num_steps: int = 1
    ) -> assemble.Arrays:
        """The rows of some steps, one step after the other, as `assemble.pack` gives them.

        Several steps cost less in one call than in many: most calls of numpy are for all of them.
        Arguments as in `rows_of`.
        """
        return self._read_rows(*self.rows_of(step, rows, num_steps))

    def read_rows(self, sources_B: np.ndarray, rows_B: np.ndarray) -> Batch:
        """Given rows, at least one, as `batch` gives them.

        Args:
            sources_B, rows_B: as `rows_of` and `rows_once` return them.
        """
        return assemble.unpack(self._read_rows(sources_B, rows_B), self.config.packing)

    def _read_rows(self, sources_B: np.ndarray, rows_B: np.ndarray) -> assemble.Arrays:
        pieces, datas, kinds, places = [], [], [], []
        for source in np.unique(sources_B).tolist():
            part, chosen = self.parts[source], np.flatnonzero(sources_B == source)
            held = part.plan.pieces(rows_B[chosen], part.shards.num_images, self.tokens_per_image)
            pieces.append(held)
            datas += part.shards.read_bytes(held.sentences)
            kinds.append(self._places_of_kinds[source][part.shards.kind_ids[held.sentences]])
            places.append(chosen)
        joined, kinds_P = pieces[0], np.concatenate(kinds)
        if len(pieces) > 1:
            joined, order = rows_lib.join_pieces(pieces, np.concatenate(places))
            datas, kinds_P = [datas[place] for place in order.tolist()], kinds_P[order]
        return assemble.pack(joined, datas, kinds_P, self.vocabulary, self.config.context + 1)

    def iterate(
        self, start_step: int = 0, rows: slice | None = None, stop_step: int | None = None
    ) -> Generator[Batch, None, None]:
        """The batches from a step on, made ahead by worker threads or processes.

        Args:
            start_step: the first step.
            rows: which rows of each global batch, such as `process_rows` gives; None means all.
            stop_step: the step before which to stop; None goes on for ever.
        """
        config = self.config
        batch_size = len(range(self.global_batch)[rows or slice(None)])
        together, ahead = _steps_at_once(config, batch_size)
        last = sys.maxsize if stop_step is None else stop_step
        options = grain.ReadOptions(
            num_threads=config.num_threads,
            prefetch_buffer_size=ahead if config.num_threads else 0,
        )
        steps = grain.MapDataset.range(start_step, last, together)
        dataset = steps.map(_ReadSteps(self, rows, together, last))
        if not config.num_workers:
            # In the thread that read them: to unpack in the caller's took a tenth of the speed.
            dataset = dataset.map(functools.partial(assemble.unpack, packing=config.packing))
        dataset = dataset.to_iter_dataset(options)
        if config.num_workers:
            if not flags.FLAGS.is_parsed():  # grain asks its own flags when it starts processes
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=config.num_workers, per_worker_buffer_size=ahead
                ),
                worker_init_fn=_start_worker,
            )
        ahead_of_use = iter(dataset)
        try:
            for arrays in ahead_of_use:
                if config.num_workers:
                    # What processes send lies in memory that goes away with them; unpacking copies
                    # it, a step at a time so that none waits for the others.
                    for packed in assemble.split(arrays, batch_size):
                        yield assemble.unpack(packed, config.packing)
                else:
                    for start in range(0, len(arrays["inputs"]), batch_size):
                        yield {k: v[start : start + batch_size] for k, v in arrays.items()}
        finally:
            ahead_of_use.close()  # ends threads and processes


# Steps that are read together have about this many ids: less of the time goes into calls, and a
# batch still comes within milliseconds.
_IDS_TOGETHER = 1 << 19


def _steps_at_once(config: DataConfig, batch_size: int) -> tuple[int, int]:
    """How many steps are read together, and how many times that are kept ready.

    Of the batches that `config.prefetch` allows, some are ready, some being made by each thread and
    some being used.
    """
    if not (config.num_threads or config.num_workers):
        return 1, 1
    most = config.prefetch // (max(1, config.num_threads) + 1)
    steps = _IDS_TOGETHER // max(1, batch_size * config.context)
    together = max(1, min(steps, most))
    return together, max(1, config.num_threads, config.prefetch // together - 1)


def _start_worker(_number: int, _num_workers: int) -> None:
    worker_processes.end_with_parent()
    worker_processes.leave_signals_to_parent()


@dataclasses.dataclass(frozen=True)
class _ReadSteps:
    """`Pipeline.read_packed` as something that worker processes can be given."""

    pipeline: Pipeline
    rows: slice | None
    num_steps: int
    stop_step: int

    def __call__(self, step: int) -> assemble.Arrays:
        num_steps = min(self.num_steps, self.stop_step - step)
        return self.pipeline.read_packed(step, self.rows, num_steps)


def _reopen(config: DataConfig, seed: int, global_batch: int, allow_repeats: bool) -> Pipeline:
    return Pipeline(config, seed=seed, global_batch=global_batch, allow_repeats=allow_repeats)


def _open_parts(config: DataConfig, seed: int) -> tuple[Part, ...]:
    """Opens every source; each directory once."""
    opened: dict[str, Shards] = {}
    parts = []
    for source in config.mixture or (None,):
        own = source is not None and source.shards
        directory = own or config.shards
        if directory not in opened:
            field = f"mixture.{source.name}" if own else "shards"
            opened[directory] = _open(directory, field, config)
        request = plan_cache.PlanRequest(
            context=config.context,
            packing=config.packing,
            shuffle=config.shuffle,
            long_sentences=config.long_sentences,
            selection=selection.of_source(source, config.split),
        )
        with _of_source(source):
            plan = plan_cache.load_plan(opened[directory], request, config.plan_cache)
        parts.append(
            Part(
                name=config_lib.SHARDS if source is None else source.name,
                shards=opened[directory],
                kinds=_kinds(opened[directory], source),
                plan=plan,
                # Each source has its own order; one alone has that of the seed itself.
                seed=seed if source is None else hash_key("source", seed, source.name),
            )
        )
    first = parts[0].shards
    for part in parts[1:]:
        for field in ("vocabulary", "tokens_per_image", "tokenizer_fingerprint"):
            one, other = getattr(first, field), getattr(part.shards, field)
            if one != other:
                raise ConfigError(
                    *(Field("mixture"), f": {parts[0].name} ({first.directory}) and {part.name} "),
                    f"({part.shards.directory}) cannot be mixed: {field} is {one} and {other}; ",
                    "build both with one tokenizer",
                )
    return tuple(parts)


def _open(directory: str, field: str, config: DataConfig) -> Shards:
    try:
        return Shards(directory, Cache(folder=config.store_cache, gib=config.store_cache_gib))
    except ValueError as error:
        raise ConfigError(Field(field), f": {error}") from error


def _kinds(shards: Shards, source: MixtureSource | None) -> tuple[str, ...]:
    """What a source takes of the kinds of its shards."""
    wanted = () if source is None else source.kinds
    return tuple(kind for kind in shards.kinds if not wanted or kind in wanted)


def _places(names: tuple[str, ...], among: tuple[str, ...]) -> np.ndarray:
    """Where each name is among others: int16 [names], -1 for those that are not."""
    return np.array([among.index(n) if n in among else -1 for n in names], np.int16)


def _of_source(source: MixtureSource | None) -> contextlib.AbstractContextManager[None]:
    """Errors about rows: what sources have is named as a source's, the rest as the config's."""
    if source is None:
        return contextlib.nullcontext()
    whole = {name: name for name in ("context", "long_sentences", "split")}
    return configs.within(f"mixture.{source.name}", **whole)


def process_rows(global_batch: int, process: int, num_processes: int) -> slice:
    """The rows of a global batch that one of several equal processes reads.

    Raises:
        ConfigError: the batch does not divide over the processes.
    """
    if global_batch % num_processes:
        near = max(num_processes, global_batch // num_processes * num_processes)
        raise ConfigError(
            *(Field("global_batch"), f"={global_batch} must be a multiple of the "),
            f"{num_processes} processes; use {near} or {near + num_processes}",
        )
    each = global_batch // num_processes
    return slice(process * each, (process + 1) * each)
