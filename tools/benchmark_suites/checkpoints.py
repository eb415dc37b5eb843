"""Saving a checkpoint, with and without the checksums of its files, in turns."""

import contextlib
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from benchmark_suites import timing
from lvm_jax.training import checkpoints, checksums, recovery
from lvm_jax.training import workdir as workdir_lib

_LEAVES = 24


def run(*, megabytes: int, warmup: int, repeats: int) -> list[dict[str, Any]]:
    """Saves random float32 arrays to a temporary directory, each time to the end.

    Args:
        megabytes: of all arrays together.
        warmup, repeats: turns, see `timing.interleave`.

    Returns:
        A row for saving with checksums and one without: seconds, fastest, slowest, cpu_seconds
        and, with checksums, checksum_seconds (median, inside the code that makes them) and
        checksum_share (of the median save); and one for checking all files: seconds.
    """
    keys = jax.random.split(jax.random.key(0), _LEAVES)
    size = megabytes * 10**6 // 4 // _LEAVES
    state = {"params": {str(i): jax.random.normal(key, (size,)) for i, key in enumerate(keys)}}
    jax.block_until_ready(jax.tree.map(jnp.sum, state))
    spent: list[float] = []
    note = checksums.note

    def timed(*args: Any, **kwargs: Any) -> None:
        begun = time.perf_counter()
        note(*args, **kwargs)
        spent.append(time.perf_counter() - begun)

    def save(how: Any) -> None:
        with _folder() as folder, mock.patch.object(checksums, "note", how):
            _save(folder, state)

    without = lambda *args, **kwargs: None
    with mock.patch.object(checksums, "note_rest", without):
        cases = {"with checksums": lambda: save(timed), "without": lambda: save(without)}
        times = timing.interleave(cases, warmup=warmup, repeats=repeats)
    rows = [
        {
            "name": name,
            "seconds": measured.median,
            "fastest": min(measured.wall),
            "slowest": max(measured.wall),
            "cpu_seconds": measured.cpu_median,
        }
        for name, measured in times.items()
    ]
    inside = statistics.median(spent[warmup:])
    pairs = zip(times["with checksums"].wall, times["without"].wall)
    rows[0] |= {
        "time_ratio": statistics.median(ours / theirs for ours, theirs in pairs),
        "checksum_seconds": inside,
        "checksum_share": inside / times["with checksums"].median,
    }
    return [*rows, {"name": "check of all files", "seconds": _check(state, repeats)}]


def _check(state: Any, repeats: int) -> float:
    with _folder() as folder:
        _save(folder, state)
        seconds = []
        for _ in range(repeats):
            begun = time.perf_counter()
            assert recovery.find_damage(folder / workdir_lib.FOLDER / "1") is None
            seconds.append(time.perf_counter() - begun)
        return statistics.median(seconds)


@contextlib.contextmanager
def _folder() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="lvm_jax_checkpoints_") as folder:
        identity = workdir_lib.RunIdentity(resolved={}, fixed=())
        workdir_lib.prepare_workdir(pathlib.Path(folder), identity)
        yield pathlib.Path(folder)


def _save(folder: pathlib.Path, state: Any) -> None:
    store = checkpoints.Checkpoints(folder, {})
    store.save(1, state)
    store.wait(1, state)
    store.close()
