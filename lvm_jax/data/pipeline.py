"""Shards -> batches: the batch at step s is a pure function of (config, seed, s).

There is no iterator state: started at any step, on any number of processes, the pipeline gives the
same rows. Reading, packing and shuffling happen in worker threads, whole batches at a time.

Legend: B rows of a batch, L the context, N = L + 1 ids of a row.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from lvm_jax.data import assemble, mixture
from lvm_jax.data import rows as rows_lib
from lvm_jax.data.config import DataConfig
from lvm_jax.data.shards import Shards

Batch = dict[str, np.ndarray]


class Pipeline:
    """The batches of a data set.

    Attributes:
        config, seed, global_batch: as given.
        shards: the open data set.
        plan: its rows.
        rows_per_epoch: rows of the plan.
        vocabulary, tokenizer_fingerprint, manifest: of the shards.

    Args:
        config: which data.
        seed: of the order of the rows.
        global_batch: rows of a batch over all processes.
        allow_repeats: lets a batch hold a row twice when there are fewer rows than a batch needs,
            as a small held-out set may.

    Raises:
        ValueError: shards, context or batch size do not fit; names the key.
    """

    def __init__(
        self, config: DataConfig, *, seed: int, global_batch: int, allow_repeats: bool = False
    ):
        self.config, self.seed, self.global_batch = config, seed, global_batch
        self.shards = Shards(config.shards)
        self.vocabulary = self.shards.vocabulary
        self.tokenizer_fingerprint = self.shards.tokenizer_fingerprint
        self.manifest = self.shards.manifest
        self.plan = rows_lib.load_plan(
            self.shards, config.context, config.packing, config.shuffle, config.plan_cache
        )
        self.rows_per_epoch = self.plan.num_rows
        if global_batch < 1:
            raise ValueError(f"config.batch_size={global_batch} must be at least 1")
        if global_batch > self.rows_per_epoch and not allow_repeats:
            raise ValueError(
                f"config.batch_size={global_batch} exceeds the {self.rows_per_epoch} rows that "
                f"config.data.shards={config.shards} gives at config.data.context="
                f"{config.context}; use at most {self.rows_per_epoch}"
            )

    def dependencies(self) -> dict[str, Any]:
        """What the rows of every step depend on, by name; tells what changed between two runs."""
        return {
            "shards": self.shards.fingerprint,
            "tokenizer": self.tokenizer_fingerprint,
            "context": self.config.context,
            "packing": self.config.packing,
            "shuffle": self.config.shuffle,
            "row_plan_version": rows_lib.VERSION,
            "seed": self.seed,
        }

    @property
    def fingerprint(self) -> str:
        """Changes whenever `dependencies` do; 64 hex digits."""
        text = json.dumps(self.dependencies(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

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
        """
        numbers_B = mixture.rows_of_step(
            step, self.global_batch, self.rows_per_epoch, self.seed, self.config.shuffle
        )
        return self.batch_of(numbers_B if rows is None else numbers_B[rows])

    def batch_of(self, numbers_B: np.ndarray) -> Batch:
        """The batch that these rows of the plan make; see `batch`."""
        shards, config = self.shards, self.config
        pieces = self.plan.pieces(numbers_B, shards.num_images, shards.tokens_per_image)
        ids_BN = assemble.gather_ids(
            pieces,
            shards.read_bytes(pieces.sentences),
            shards.num_images[pieces.sentences].astype(np.int64) * shards.tokens_per_image,
            self.vocabulary,
            config.context + 1,
        )
        layout = assemble.LAYOUTS[config.packing]
        return {
            "inputs": ids_BN[:, :-1].astype(np.int32),
            "targets": ids_BN[:, 1:].astype(np.int32),
            **layout(pieces, config.context),
        }

    def iterate(
        self, start_step: int = 0, rows: slice | None = None, stop_step: int | None = None
    ) -> Iterator[Batch]:
        """The batches from a step on, made ahead by worker threads.

        Args:
            start_step: the first step.
            rows: which rows of each global batch, such as `process_rows` gives; None means all.
            stop_step: the step before which to stop; None goes on for ever.
        """
        last = sys.maxsize if stop_step is None else stop_step
        steps = grain.MapDataset.range(start_step, last)
        options = grain.ReadOptions(
            num_threads=self.config.num_threads,
            prefetch_buffer_size=self.config.prefetch if self.config.num_threads else 0,
        )
        batches = iter(steps.map(lambda step: self.batch(step, rows)).to_iter_dataset(options))
        try:
            yield from batches
        finally:
            batches.close()  # ends the threads


def process_rows(global_batch: int, process: int, num_processes: int) -> slice:
    """The rows of a global batch that one of several equal processes reads.

    Raises:
        ValueError: the batch does not divide over the processes.
    """
    if global_batch % num_processes:
        near = max(num_processes, global_batch // num_processes * num_processes)
        raise ValueError(
            f"config.batch_size={global_batch} must be a multiple of the {num_processes} "
            f"processes; use {near} or {near + num_processes}"
        )
    each = global_batch // num_processes
    return slice(process * each, (process + 1) * each)
