"""Sentences that show every pair twice, of those that the study trains on.

No sentence of the corpus repeats a pair, so that nothing in training rewards a model for copying an
answer that it was shown. These do: what a model learns of them tells whether it could. In `repeats`
every pair comes again after as many others, so that it is enough to look so far back; in `shuffled`
the query alone says which answer it was.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator

import numpy as np

from experiments.study import corpus
from lvm_jax.data.shards import writer
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.records import Record

# Of one pass over these 300 updates of 8 rows are made.
NUM_TRAINED, NUM_HELD_OUT = 2400, 256
FOLDERS = ("repeats", "shuffled")
_SEED = 0


def write(out: pathlib.Path) -> dict[pathlib.Path, int]:
    """Writes shards and held_out_shards of each folder, as experiments/finetune.py takes them.

    Args:
        out: of the study, with shards/all/train and held_out; gets `FOLDERS`.

    Returns:
        Directory -> sentences.

    Raises:
        ValueError: there are no shards, or something is there already.
    """
    made = {}
    for folder, (split, name, most) in itertools.product(
        FOLDERS,
        (("train", "shards", NUM_TRAINED), ("held_out", "held_out_shards", NUM_HELD_OUT)),
    ):
        found = Shards(out / "shards" / "all" / split)
        shards = writer.write_shards(
            out / folder / name,
            _repeated(found, most, shuffled=folder == "shuffled"),
            vocabulary=found.vocabulary,
            tokens_per_image=found.tokens_per_image,
            tokenizer_fingerprint=found.tokenizer_fingerprint,
        )
        made[out / folder / name] = len(shards)
    return made


def _repeated(shards: Shards, most: int, *, shuffled: bool) -> Iterator[Record]:
    """Sentences of pairs in a random order, their second half the pairs of the first."""
    asked = [name for name in corpus.PAIRS if name in shards.sources]
    numbers = [shards.sources.index(name) for name in asked]
    of_pairs = np.flatnonzero(np.isin(shards.source_ids, numbers))
    rng = np.random.default_rng(_SEED)
    for record in shards.read_records(rng.permutation(of_pairs)[:most]):
        half = record.ids[: len(record.ids) // 4 * 2]
        pairs = half.reshape(-1, 2, half.shape[-1])
        again = rng.permutation(pairs) if shuffled else pairs
        yield dataclasses.replace(record, ids=np.concatenate([half, again.reshape(half.shape)]))
