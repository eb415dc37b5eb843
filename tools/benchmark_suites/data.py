"""The loader's speed: tokens per second from local shards, shuffled and packed."""

import pathlib
import statistics
import tempfile
import time
from typing import Any

import numpy as np

from lvm_jax.data.pipeline import DataConfig, Pipeline
from lvm_jax.data.records import Record
from lvm_jax.data.shards_writer import write_shards
from lvm_jax.vocabulary import Vocabulary

TOKENS_PER_IMAGE = 256
# Images per sentence of a mixed corpus: pairs of eight, videos, small groups, single images.
MIXED = {"pairs": 16, "turns": 8, "groups": 4, "single": 1}


def run(
    *,
    megabytes: int = 128,
    context: int = 4096,
    batch_size: int = 32,
    num_threads: int = 2,
    repeats: int = 5,
    seconds: float = 1.0,
) -> list[dict[str, Any]]:
    """Measures the loader on synthetic shards in a temporary directory.

    Args:
        megabytes: size of the shards.
        context: ids per row.
        batch_size: rows per batch.
        num_threads: threads of the loader.
        repeats: measurements of each case; the median counts.
        seconds: length of a measurement.

    Returns:
        A row for each case: name, tokens_per_second (median), slowest, fastest, padding (share of
        the ids), first_batch_seconds (opening with a cached plan).
    """
    cases = [
        ("packed, 16 images a sentence", {"pairs": 16}, "sentence"),
        ("packed, four sources", MIXED, "sentence"),
        ("packed, single images", {"single": 1}, "sentence"),
        ("stream, four sources", MIXED, "stream"),
    ]
    results = []
    with tempfile.TemporaryDirectory(prefix="lvm_jax_data_") as root:
        for number, (name, sources, packing) in enumerate(cases):
            directory = pathlib.Path(root, f"{number}")
            _write(directory, sources, megabytes * 2**20)
            config = DataConfig(
                shards=str(directory), context=context, packing=packing, num_threads=num_threads
            )
            results.append({"name": name, **_measure(config, batch_size, repeats, seconds)})
    return results


def _write(directory: pathlib.Path, sources: dict[str, int], num_bytes: int) -> None:
    """Shards with the same number of ids from every source."""
    vocabulary = Vocabulary()
    rng = np.random.default_rng(0)
    each = num_bytes // len(sources) // 2

    def sentences():
        for source, images in sources.items():
            length = images * TOKENS_PER_IMAGE
            for i in range(each // length):
                ids = rng.integers(0, vocabulary.num_codes, length, dtype=np.uint16)
                ids = ids.reshape(images, TOKENS_PER_IMAGE)
                yield Record(kind=source, source=source, key=f"{source}-{i}", ids=ids)

    write_shards(
        directory,
        sentences(),
        vocabulary=vocabulary,
        tokens_per_image=TOKENS_PER_IMAGE,
        tokenizer_fingerprint="synthetic",
    )


def _measure(config: DataConfig, batch_size: int, repeats: int, seconds: float) -> dict[str, float]:
    Pipeline(config, seed=0, global_batch=batch_size)  # the plan is made and kept
    begun = time.perf_counter()
    pipeline = Pipeline(config, seed=0, global_batch=batch_size)
    batches = pipeline.iterate()
    first = next(batches)
    first_batch_seconds = time.perf_counter() - begun
    tokens = first["inputs"].size
    _rate(batches, tokens, seconds / 2)
    rates = [_rate(batches, tokens, seconds) for _ in range(repeats)]
    batches.close()
    used = np.mean([(pipeline.batch(step)["segments"] > 0).mean() for step in range(4)])
    return {
        "tokens_per_second": statistics.median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "padding": 1 - float(used),
        "first_batch_seconds": first_batch_seconds,
    }


def _rate(batches, tokens: int, seconds: float) -> float:
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        next(batches)
        count += 1
    return count * tokens / (time.perf_counter() - begun)
