"""Many independent pieces of work: spread over processes, with a bar, skipping what is done."""

import concurrent.futures
import functools
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from absl import logging

from lvm_jax import progress_bar, worker_processes


class ItemError(Exception):
    """One item cannot be made: it is named, counted and left out; the others go on."""


def run(
    name: str,
    function: Callable[[pathlib.Path, Any], None],
    out: pathlib.Path,
    items: Sequence[Any],
    is_done: Callable[[pathlib.Path, Any], bool],
    workers: int,
) -> list[str]:
    """Makes the items that are not made yet.

    Args:
        name: for the bar and the messages.
        function: makes one item in OUT; a module-level function, as it runs in other processes.
        out: the corpus.
        items: what to make; picklable.
        is_done: whether an item's files are all there.
        workers: number of processes; 1 works in this one.

    Returns:
        A line for each item that could not be made.

    Raises:
        OSError: no room or no permission.
        RuntimeError: a worker died.
    """
    left = [item for item in items if not is_done(out, item)]
    done = len(items) - len(left)
    if done:
        logging.info("%s: %d of %d are there already", name, done, len(items))
    call = functools.partial(_attempt, function, out)
    bar = functools.partial(progress, name, total=len(items), initial=done)
    if not left:
        return []
    if workers == 1:
        problems = [problem for problem in bar(map(call, left)) if problem]
    else:
        try:
            problems = _run_in_processes(call, left, workers, bar)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise RuntimeError(
                f"{name}: a worker process died (out of memory?); start the same command again, "
                f"with --workers={max(1, workers // 2)} if it was memory"
            ) from error
    for problem in problems[:5]:
        logging.warning("%s: left out %s", name, problem)
    if len(problems) > 5:
        logging.warning("%s: left out %d in all; manifest.json names them", name, len(problems))
    return problems


def progress(name: str, work: Iterable[Any], unit: str = "item", **options) -> Iterable[Any]:
    """A bar over the pieces of work."""
    return progress_bar.Bar(work, desc=name, unit=unit, **options)


def _run_in_processes(call: Callable, left: Sequence[Any], workers: int, bar: Callable) -> list:
    context = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker
    )
    try:
        chunk = max(1, min(16, len(left) // (8 * workers)))
        return [problem for problem in bar(executor.map(call, left, chunksize=chunk)) if problem]
    finally:
        executor.shutdown(cancel_futures=True)


def _attempt(function: Callable, out: pathlib.Path, item: Any) -> str:
    try:
        function(out, item)
    except ItemError as error:
        return str(error)
    return ""


def _start_worker() -> None:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"  # the processes are the parallelism
    worker_processes.end_with_parent()
