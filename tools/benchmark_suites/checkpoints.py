"""Saving a checkpoint: with and without the checksums of its files, and in the midst of steps."""

import contextlib
import functools
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
# A step of about a tenth of a second on two cores.
_LEAST_STEPS, _WIDTH, _PRODUCTS = 10, 1024, 4


def run(*, megabytes: int, warmup: int, repeats: int) -> list[dict[str, Any]]:
    """Saves random float32 arrays to a temporary directory, each time to the end.

    Args:
        megabytes: of all arrays together.
        warmup, repeats: turns, see `timing.interleave`.

    Returns:
        A row for saving with checksums and one without: seconds, fastest, slowest, cpu_seconds
        and, with checksums, checksum_seconds (median, inside the code that makes them) and
        checksum_share (of the median save); one for checking all files: seconds; and one for a save
        while steps go on, see `_among_steps`.
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
    rows.append({"name": "check of all files", "seconds": _check(state, repeats)})
    return [*rows, _among_steps(state, megabytes, warmup=warmup, repeats=repeats)]


def _among_steps(state: Any, megabytes: int, *, warmup: int, repeats: int) -> dict[str, Any]:
    """What a save costs a training: steps with a save after the second one, against steps alone.

    Returns:
        seconds: by which the steps and the end of the save take longer, median over turns, of which
        stopped_seconds stand still; step_seconds, alone; and the interval between saves, in
        minutes, from which on they cost less than 2% of the time.
    """
    num_steps = max(_LEAST_STEPS, megabytes // 10)  # enough that the save ends among them
    product = jnp.full((_WIDTH, _WIDTH), 1 / _WIDTH, jnp.float32)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any) -> tuple[Any, jax.Array]:
        x = product
        for _ in range(_PRODUCTS):
            x = x @ product
        return jax.tree.map(lambda leaf: leaf * 0.999, state), jnp.sum(x)

    stopped: list[float] = []

    def run(saves: bool) -> None:
        new = jax.tree.map(jnp.copy, state)
        with _folder() as folder:
            store = checkpoints.Checkpoints(folder, {})
            for number in range(1, num_steps + 1):
                new, value = step(new)
                value.block_until_ready()
                if saves and number == 2:
                    begun = time.perf_counter()
                    store.save(number, new)
                    stopped.append(time.perf_counter() - begun)
            store.wait(num_steps, new)
            store.close()

    cases = {"with": lambda: run(True), "alone": lambda: run(False)}
    times = timing.interleave(cases, warmup=warmup, repeats=repeats)
    pairs = zip(times["with"].wall, times["alone"].wall)
    seconds = statistics.median(ours - theirs for ours, theirs in pairs)
    return {
        "name": "a save among steps",
        "seconds": seconds,
        "stopped_seconds": statistics.median(stopped[warmup:]),
        "step_seconds": times["alone"].median / num_steps,
        "minutes_for_2_percent": max(seconds, 0.0) / 0.02 / 60,
    }


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
