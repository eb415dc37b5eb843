"""Planning rows for very many sentences: time, memory, and how soon the first batch comes.

Each case runs in a process of its own, so that its peak memory is its own.
"""

import concurrent.futures
import multiprocessing
import pathlib
import re
import tempfile
import time
from typing import Any

import numpy as np

from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.data.feeding.plan_cache import PlanRequest, load_plan
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.writer import ShardsWriter
from lvm_jax.vocabulary import Vocabulary

IMAGES = (1, 2, 4, 8, 16)
SHARES = (0.6, 0.1, 0.1, 0.1, 0.1)


def run(*, num_sentences: int, write_records: bool, context: int = 4096) -> list[dict[str, Any]]:
    """Plans synthetic data sets in a temporary directory.

    Args:
        num_sentences: sentences of the data set.
        write_records: write the sentences themselves too (16 ids an image) and time the first
            batch; otherwise only the index and manifest exist, with 256 ids an image.
        context: ids per row less one; "split" has a third of the longest sentence instead.

    Returns:
        A row for each case ("sentence", "split" and "stream"): name, sentences, context, rows,
        plan_seconds (planning and keeping), peak_gib (of the process until then, libraries and
        mapped files included), open_seconds (with the plan kept), first_batch_seconds.
    """
    tokens_per_image = 16 if write_records else 256
    # A third leaves whole parts and remainders.
    short = max(IMAGES) * tokens_per_image // 3
    with tempfile.TemporaryDirectory(prefix="lvm_jax_plan_") as folder:
        directory = pathlib.Path(folder, "shards")
        _make(directory, num_sentences, tokens_per_image, write_records)
        shards = str(directory)
        cases = {
            "sentence": DataConfig(shards=shards, context=context),
            "split": DataConfig(shards=shards, context=short, long_sentences="split"),
            "stream": DataConfig(shards=shards, context=context, packing="stream"),
        }
        with concurrent.futures.ProcessPoolExecutor(
            max_workers=1,
            max_tasks_per_child=1,
            mp_context=multiprocessing.get_context("spawn"),
        ) as processes:
            return [
                {"name": name, **processes.submit(_measure, config, write_records).result()}
                for name, config in cases.items()
            ]


def _measure(config: DataConfig, read_records: bool) -> dict[str, Any]:
    begun = time.perf_counter()
    shards = Shards(config.shards)
    request = PlanRequest(
        context=config.context, packing=config.packing, long_sentences=config.long_sentences
    )
    plan = load_plan(shards, request)
    row = {"sentences": len(shards), "context": config.context, "rows": plan.num_rows}
    row["plan_seconds"] = time.perf_counter() - begun
    row["peak_gib"] = _peak_gib()
    del plan
    begun = time.perf_counter()
    pipeline = Pipeline(config, seed=0, global_batch=32)
    pipeline.rows_of(1000)
    row["open_seconds"] = time.perf_counter() - begun
    if read_records:
        next(pipeline.iterate())
        row["first_batch_seconds"] = time.perf_counter() - begun
    return row


def _peak_gib() -> float:
    """The most memory that this process ever had resident."""
    # getrusage would begin at the peak of the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s*(\d+) kB", status)
    assert peak is not None
    return int(peak[1]) / 2**20


def _make(directory: pathlib.Path, size: int, tokens_per_image: int, write_records: bool) -> None:
    rng = np.random.default_rng(0)
    step = 1 << 20
    num_images = np.empty(size, np.uint16)
    for start in range(0, size, step):
        part = num_images[start : start + step]
        part[:] = rng.choice(IMAGES, len(part), p=SHARES)
    writer = ShardsWriter(
        directory,
        build_key="plan",
        vocabulary=Vocabulary(),
        tokens_per_image=tokens_per_image,
        tokenizer_fingerprint="synthetic",
    )
    if not write_records:
        zeros = np.zeros(size, np.uint16)
        keys = np.arange(size, dtype=np.uint32)
        writer.write_manifest((num_images, zeros, zeros, keys), ["k"], ["s"], [])
        return
    ids = rng.integers(0, 8192, (max(IMAGES), tokens_per_image), dtype=np.uint16)
    numbers = range(0, size, step)
    for number, start in enumerate(numbers):
        part = enumerate(num_images[start : start + step].tolist(), start)
        writer.write_shard(
            number,
            (Record(kind="k", source="s", key=str(i), ids=ids[:images]) for i, images in part),
        )
    writer.finish(len(numbers))
