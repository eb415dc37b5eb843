"""The loader's speed: tokens per second from local shards, shuffled and packed.

With a rival, the same sentences are also read as LVM's own training reads them: a file of JSON
lines, base64 to lists of ids and weights, and windows cut from these lists, without shuffling,
packing, segments or positions.
"""

import base64
import dataclasses
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from lvm_jax.data.building.jsonl import export_jsonl
from lvm_jax.data.feeding.data_config import DataConfig, MixtureSource
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.writer import write_shards
from lvm_jax.storage import paths
from lvm_jax.vocabulary import Vocabulary

TOKENS_PER_IMAGE = 256
# Images per sentence of a mixed corpus: pairs of eight, videos, small groups, single images.
MIXED = {"pairs": 16, "turns": 8, "groups": 4, "single": 1}


def run(
    *,
    megabytes: int = 128,
    batch_size: int = 32,
    num_threads: int = 1,
    repeats: int = 5,
    seconds: float = 1.0,
    against: str | None = None,
    store: str | None = None,
) -> list[dict[str, Any]]:
    """Measures the loader on synthetic shards in a temporary directory.

    Args:
        megabytes: size of the shards of each source.
        batch_size: rows per batch.
        num_threads: threads of the loader.
        repeats: measurements of each case; the median counts.
        seconds: length of a measurement.
        against: "jsonl" for the rival.
        store: directory of an object store that the shards are copied to and read from; then the
            mixture alone is measured, once all shards are in a cache of this machine.

    Returns:
        A row for each case: name, tokens_per_second (median), slowest, fastest, padding (share of
        the ids), first_batch_seconds (opening with a cached plan), grown_mib (memory after all
        measurements less that after the first), and for the rival speed_ratio (median over the
        turns of the mixture's speed over the rival's). From a store also cold_batch_seconds
        (opening with nothing in the cache) and copied_seconds (until all shards were in it).
    """
    with tempfile.TemporaryDirectory(prefix="lvm_jax_data_") as folder:
        root = pathlib.Path(folder)
        for source, images in MIXED.items():
            _write(root / source, source, images, megabytes * 2**20)
        if store is not None:
            return _from_store(root, store, batch_size, num_threads, repeats, seconds)
        mixture = tuple(MixtureSource(name=name, shards=str(root / name)) for name in MIXED)
        mixed = DataConfig(num_threads=num_threads, mixture=mixture)
        one_of = lambda name: DataConfig(num_threads=num_threads, shards=str(root / name))
        cases = {
            "mixture of four sources": mixed,
            "one source, 16 images a sentence": one_of("pairs"),
            "one source, single images": one_of("single"),
            "mixture, context 4128": dataclasses.replace(mixed, context=4128),
            "mixture, stream packing": dataclasses.replace(mixed, packing="stream"),
            "mixture, 2 worker processes": dataclasses.replace(mixed, num_workers=2),
        }
        results = []
        for name, config in cases.items():
            rival = None
            if against and not results:
                rival = LinesReader(_one_file(root), batch_size, config.context)
            results += _measure(name, config, batch_size, repeats, seconds, rival)
        return results


def _from_store(
    root: pathlib.Path,
    store: str,
    batch_size: int,
    num_threads: int,
    repeats: int,
    seconds: float,
) -> list[dict[str, Any]]:
    mixture, folder = [], paths.store_path(store)
    assert folder is not None, store
    for source in MIXED:
        target = folder / source
        target.upload_all(root / source)
        mixture.append(MixtureSource(name=source, shards=str(target)))
    cache = root / "cache"
    config = DataConfig(num_threads=num_threads, mixture=tuple(mixture), store_cache=str(cache))
    begun = time.perf_counter()
    filling = Pipeline(config, seed=0, global_batch=batch_size).iterate()
    next(filling)
    cold = time.perf_counter() - begun
    names = lambda folder: sorted(path.name for path in folder.glob("*/shard-*"))
    while names(cache) != names(root):
        time.sleep(0.1)
    copied = time.perf_counter() - begun
    filling.close()
    rows = _measure("mixture, from a store", config, batch_size, repeats, seconds, None)
    rows[0].update(cold_batch_seconds=cold, copied_seconds=copied)
    return rows


class LinesReader:
    """Batches as LVM's training makes them from a file of JSON lines, endlessly."""

    def __init__(self, path: pathlib.Path, batch_size: int, context: int):
        self.path, self.shape = path, (batch_size, context)

    def iterate(self) -> Generator[dict[str, np.ndarray], None, None]:
        size = self.shape[0] * self.shape[1]
        # As there, a weight for every id, in a list of its own.
        ids: list[int] = []
        weights: list[float] = []
        while True:
            with open(self.path) as file:
                for line in file:
                    data = base64.b64decode(json.loads(line)["tokens"])
                    sentence = np.frombuffer(data, np.int32).tolist()
                    ids.extend(sentence)
                    weights.extend([1.0 for _ in sentence])
                    while len(ids) > size + 1:
                        yield {
                            "inputs": self._array(ids[:size], np.int32),
                            "targets": self._array(ids[1 : size + 1], np.int32),
                            "weights": self._array(weights[1 : size + 1], np.float32),
                        }
                        ids, weights = ids[size:], weights[size:]

    def _array(self, values: Sequence[float], dtype: type) -> np.ndarray:
        return np.array(values, dtype).reshape(self.shape)


def _one_file(root: pathlib.Path) -> pathlib.Path:
    """The sentences of all sources as JSON lines, one source after the other as LVM joins them."""
    path = root / "all.jsonl"
    with open(path, "wb") as file:
        for source in MIXED:
            export_jsonl(Shards(root / source), root / "part.jsonl")
            file.write((root / "part.jsonl").read_bytes())
    (root / "part.jsonl").unlink()
    return path


def _write(directory: pathlib.Path, source: str, images: int, num_bytes: int) -> None:
    vocabulary = Vocabulary()
    rng = np.random.default_rng(images)
    length = images * TOKENS_PER_IMAGE

    def sentences():
        for i in range(num_bytes // 2 // length):
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


def _measure(
    name: str,
    config: DataConfig,
    batch_size: int,
    repeats: int,
    seconds: float,
    rival: LinesReader | None,
) -> list[dict[str, Any]]:
    Pipeline(config, seed=0, global_batch=batch_size)  # the plan is made and kept
    begun = time.perf_counter()
    pipeline = Pipeline(config, seed=0, global_batch=batch_size)
    contestants = {name: pipeline.iterate()}
    first = next(contestants[name])
    first_batch_seconds = time.perf_counter() - begun
    if rival:
        contestants["LVM's way, from JSON lines"] = rival.iterate()
    # Ids that carry loss: padding is no work done.
    share = np.mean([pipeline.batch(step)["weights"].mean() for step in range(8)])
    tokens = {who: float(first["inputs"].size) for who in contestants}
    tokens[name] *= float(share)
    for who, batches in contestants.items():
        _rate(batches, tokens[who], seconds)
    before = resident_mib()
    rates: dict[str, list[float]] = {who: [] for who in contestants}
    for _ in range(repeats):
        for who, batches in contestants.items():
            rates[who].append(_rate(batches, tokens[who], seconds))
    grown = resident_mib() - before
    for batches in contestants.values():
        batches.close()
    used = np.mean([(pipeline.batch(step)["segments"] > 0).mean() for step in range(8)])
    rows = [
        {
            "name": who,
            "tokens_per_second": statistics.median(speeds),
            "slowest": min(speeds),
            "fastest": max(speeds),
        }
        for who, speeds in rates.items()
    ]
    rows[0].update(
        padding=1 - float(used), first_batch_seconds=first_batch_seconds, grown_mib=grown
    )
    if rival:
        ours, theirs = rates.values()
        rows[1]["speed_ratio"] = statistics.median(a / b for a, b in zip(ours, theirs))
    return rows


def _rate(batches, tokens: float, seconds: float) -> float:
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        next(batches)
        count += 1
    return count * tokens / (time.perf_counter() - begun)


def resident_mib() -> float:
    """Memory of this process that is in RAM, shards that are mapped included; 0 off Linux."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return 0.0
    words = status.read_text().split()
    return int(words[words.index("VmRSS:") + 1]) / 1024
