"""`analogies.json` of earlier versions: perplexities of the truth and squared errors."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lvm_jax.evaluation.asking import results
from lvm_jax.evaluation.asking.results import MODEL, MetricResult, TaskResult
from lvm_jax.evaluation.tasks import pixels

VERSION = 2


def results_of(content: Mapping[str, Any]) -> tuple[TaskResult, ...]:
    """The results in such a file."""
    return tuple(_of_task(task) for task in content["tasks"])


def _of_task(task: Mapping[str, Any]) -> TaskResult:
    truth = _values(task, "nll_per_prompt", "right")
    errors = _values(task, "mse_per_prompt", "answer")
    return TaskResult(
        name=task["name"],
        seeds=tuple(seed["seed"] for seed in task["seeds"]),
        metrics=(
            MetricResult(metric=results.TRUTH, values=truth, own="right prompt"),
            MetricResult(metric=pixels.MSE, values=errors),
        ),
        decides=pixels.MSE.name,
    )


def _values(task: Mapping[str, Any], key: str, own: str) -> dict[str, tuple[np.ndarray, ...]]:
    names = list(task["seeds"][0][key])
    return {
        MODEL if name == own else name: tuple(np.array(s[key][name]) for s in task["seeds"])
        for name in names
    }
