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
    losses: dict[float, dict[str, float]] = {}
    for run in plan.sweep():
        assert run.c is not None
        if run.name in results:
            loss = results[run.name]["held_out"]["loss"]
        elif run.name in failed:
            loss = math.inf
        else:
            return None
        losses.setdefault(run.c, {})[run.size] = loss
    means = {c: sum(of_c.values()) / len(of_c) for c, of_c in sorted(losses.items())}
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


def _rounded(loss: float) -> float | None:
    return None if math.isinf(loss) else round(loss, 5)
