"""What must hold when a training has been disturbed and has finished all the same."""

import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np

from lvm_jax.training import metrics, stored_params
from tests.campaign.toy_training import MARK, DifferenceError, ToyTraining

Result = dict[str, float | bytes]


def result(workdir: pathlib.Path) -> Result:
    """What a training left that must not depend on what happened on the way.

    Raises:
        DifferenceError: a value that stands twice.
    """
    values_of: Result = {}
    for values in metrics.read_metrics(workdir):
        for key in values:
            if key.startswith(("train/", "eval/", "data/epochs")):
                name = f"{values['step']} {key}"
                if name in values_of:
                    raise DifferenceError(f"metrics.jsonl has {key} of step {values['step']} twice")
                values_of[name] = values[key]
    params, _ = stored_params.load_params(workdir)
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        values_of[jax.tree_util.keystr(path)] = np.asarray(leaf).tobytes()
    return values_of


def require_equal(result: Result, expected: Result) -> None:
    """Bitwise.

    Raises:
        DifferenceError: names the first difference.
    """
    if missing := sorted(expected.keys() ^ result.keys()):
        raise DifferenceError(f"only in one of both: {missing[:5]} ({len(missing)} in all)")
    for key, value in expected.items():
        same = result[key] == value or (value != value and result[key] != result[key])
        if not same:
            raise DifferenceError(
                f"{key} differs: {str(result[key])[:40]} instead of {str(value)[:40]}"
            )


def require_nothing_left(training: ToyTraining, before: set[str]) -> None:
    """No process that the training started, and no shared memory of processes that are gone.

    Args:
        training: nothing of it runs any more.
        before: what `shared_memory` was before it began.

    Raises:
        DifferenceError: there still is something after a while.
    """
    _require_none(lambda: _processes_of(training.folder), "processes", seconds=15)
    # Whose it is cannot be seen. What waits in a queue of somebody else's loader goes sooner.
    new = shared_memory() - before
    _require_none(
        lambda: [n for n in new & shared_memory() if not _is_used(n)], "shared memory", seconds=60
    )


def _require_none(find: Callable[[], list[str]], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := find():
        if time.monotonic() > deadline:
            raise DifferenceError(f"left behind: {what} {left[:3]}")
        time.sleep(0.2)


def _processes_of(folder: pathlib.Path) -> list[str]:
    mark, left = f"{MARK}={folder}\0".encode(), []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes() + b"\0":
                command = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ")
                left.append(f"{path.parent.name}: {command[:80].decode(errors='replace')}")
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return left


def _is_used(name: str) -> bool:
    """Whether a living process has a segment of shared memory, such as another test's."""
    for path in pathlib.Path("/proc").glob("[0-9]*/maps"):
        try:
            if f"/dev/shm/{name}" in path.read_text():
                return True
        except OSError:
            continue
    return False


def shared_memory() -> set[str]:
    """Names of all segments of this machine."""
    folder = pathlib.Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
