"""How c is chosen: the learning rate of every width is c / width."""

import json
import math
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from absl import logging

from lvm_jax import atomic
from studies import plan

FILE = "choice.json"


def known(
    folder: pathlib.Path,
    results: Mapping[str, Mapping[str, Any]],
    failed: Collection[str] = (),
) -> float | None:
    """The c that was chosen, once and for all; None while it cannot be.

    Args:
        folder: of the files of results; the choice is written beside them.
        results, failed: as in `choose`.
    """
    file = folder / FILE
    if file.exists():
        return json.loads(file.read_text())["c"]
    chosen = choose(results, failed)
    if chosen is None:
        return None
    atomic.write_json(file, chosen, parents=True)
    logging.info("c = %g has the lowest held-out loss: %s", chosen["c"], chosen["mean_loss"])
    return chosen["c"]


def choose(
    results: Mapping[str, Mapping[str, Any]], failed: Collection[str] = ()
) -> dict[str, Any] | None:
    """The c with the lowest held-out loss, in the mean of the sizes of the sweep.

    Args:
        results: name -> results of runs.
        failed: names of runs that ended without any, such as by a loss that is not finite.

    Returns:
        What is written into `FILE`; None while a run of the sweep is missing.
    """
    losses = _losses(results, failed, grid(results, failed))
    if losses is None:
        return None
    means = _means(losses)
    best = min(means, key=lambda c: means[c])
    if math.isinf(means[best]):
        return None
    return {
        "rule": "peak_lr = c / width; c of the lowest held-out loss, mean over the sizes",
        "c": best,
        "at_edge": best in (min(means), max(means)),
        "mean_loss": {f"{c:g}": _rounded(mean) for c, mean in means.items()},
        "loss": {size: {f"{c:g}": _rounded(losses[c][size]) for c in means} for size in plan.SWEPT},
    }


def grid(
    results: Mapping[str, Mapping[str, Any]], failed: Collection[str] = ()
) -> tuple[float, ...]:
    """The c that are tried: those of the plan, and beyond an end as long as that is the best.

    Args:
        results, failed: as in `choose`.
    """
    tried = plan.GRID
    while len(tried) < plan.MOST_TRIED:
        losses = _losses(results, failed, tried)
        if losses is None:
            break
        means = _means(losses)
        best = min(means, key=lambda c: means[c])
        if best not in (min(tried), max(tried)):
            break
        tried = (*tried, 2 * best if best == max(tried) else best / 2)
    return tried


def _losses(
    results: Mapping[str, Mapping[str, Any]], failed: Collection[str], tried: tuple[float, ...]
) -> dict[float, dict[str, float]] | None:
    """c -> size -> held-out loss, infinite for a run that failed; None while one is missing."""
    losses: dict[float, dict[str, float]] = {c: {} for c in sorted(tried)}
    for run in plan.sweep(tried):
        assert run.c is not None
        if run.name in results:
            losses[run.c][run.size] = results[run.name]["held_out"]["loss"]
        elif run.name in failed:
            losses[run.c][run.size] = math.inf
        else:
            return None
    return losses


def _means(losses: Mapping[float, Mapping[str, float]]) -> dict[float, float]:
    return {c: sum(of_c.values()) / len(of_c) for c, of_c in losses.items()}


def _rounded(loss: float) -> float | None:
    return None if math.isinf(loss) else round(loss, 5)
