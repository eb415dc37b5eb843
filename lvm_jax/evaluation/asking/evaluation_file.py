"""`evaluation.json`: the numbers of an evaluation and all that they depend on.

    {"format": 1,
     "manifest": {
       "hash": sha256 of the entries below that say what numbers depend on, see `manifest.digest`,
       "model": {"name", "fingerprint", ...},
       "tokenizer": {"name", "fingerprint"},
       "task": {...},                 which tasks, measured how
       "settings": {...},             what else changes the numbers: sampling, candidates, shots
       "seeds": [...],
       "prompts": {task: [[name, ...], ...]},   the pictures of every prompt
       "inputs": {task: sha256},      of the pixels of all of its examples
       "source": {...},               where the pictures lay, which changes no number
       "software": {...}, "machine": {...}},
     "results": {task: {metric: {
       "unit", "better", "per_example", "about", "shown",       as in `Metric`
       "decides": whether it is the task's first metric,
       "rung": {"series", "family", "axis", "value"},        where the task is a point of a curve
       "own": what readers call the model's,
       "model": {"mean", "standard_error", "values"},
       "best_by_likelihood": {...},                like "model"; both only of several candidates
       "best_by_oracle": {...},
       "baselines": {name: {"mean", "standard_error", "values",
                            "gain", "gain_standard_error", "seeds_ahead", "beaten"}},
       "learned": true, false, or null where there is no baseline}}}}

"model" is the mean over candidates. "values" are those of the examples, a list for each seed; null
stands for an example without value, and for the standard error of a single example and of a metric
that is not per_example, whose values are one number. "gain" is the mean of the paired differences,
positive where the model is better. "ceiling" (the truth through the tokenizer) stands among the
baselines without being one that must be beaten. Two evaluations can be compared where "task",
"settings", "seeds", "prompts" and "inputs" are equal.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lvm_jax import atomic
from lvm_jax.evaluation.asking import earlier_scores
from lvm_jax.evaluation.asking.results import (
    CEILING,
    MODEL,
    SELECTIONS,
    MetricResult,
    Rung,
    TaskResult,
    number_or_none,
)
from lvm_jax.evaluation.metrics.metric import Metric

FORMAT = 1
FILE = "evaluation.json"


def write(path: pathlib.Path, results: Sequence[TaskResult], manifest: Mapping[str, Any]) -> None:
    """Writes all numbers, and what they were made of.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    of_tasks = {result.name: _of_task(result) for result in results}
    content = {"format": FORMAT, "manifest": dict(manifest), "results": of_tasks}
    # A line for the whole file: values of thousands of examples would be a line each.
    atomic.write_text(path, json.dumps(content) + "\n", parents=True)


def _of_task(result: TaskResult) -> dict[str, Any]:
    rung = {} if result.rung is None else {"rung": dataclasses.asdict(result.rung)}
    return {
        of.metric.name: {"decides": of.metric.name == result.decides, **rung, **_of_metric(of)}
        for of in result.metrics
    }


def _of_metric(result: MetricResult) -> dict[str, Any]:
    metric = result.metric
    entry: dict[str, Any] = {
        "unit": metric.unit,
        "better": metric.better,
        "per_example": metric.per_example,
        "about": metric.about,
        "shown": metric.shown,
        "own": result.own,
    }
    for whose in (MODEL, *SELECTIONS):
        if whose in result.values:
            entry[whose] = _numbers(result, whose)
    entry["baselines"] = {
        whose: _numbers(result, whose) | _gain(result, whose)
        for whose in (*result.rivals, CEILING)
        if whose in result.values
    }
    return entry | {"learned": result.learned}


def _numbers(result: MetricResult, whose: str) -> dict[str, Any]:
    return {
        "mean": number_or_none(result.mean(whose)),
        "standard_error": number_or_none(result.error(whose)),
        "values": [[number_or_none(v) for v in seed] for seed in result.values[whose]],
    }


def _gain(result: MetricResult, whose: str) -> dict[str, Any]:
    if whose == CEILING or not result.metric.per_example:
        return {}
    margin = result.margins[whose]
    return {
        "gain": number_or_none(margin.mean),
        "gain_standard_error": number_or_none(margin.error),
        "seeds_ahead": margin.seeds_ahead,
        "beaten": margin.clear,
    }


def read(path: str | pathlib.Path) -> tuple[TaskResult, ...]:
    """The results in a file, without pictures; also in an analogies.json of earlier versions.

    Raises:
        ValueError: no such file, or one of another version or kind; names it.
    """
    content = _content(pathlib.Path(path))
    if content.get("version") == earlier_scores.VERSION and "tasks" in content:
        return earlier_scores.results_of(content)
    return _results(path, content)


def read_with_manifest(
    path: str | pathlib.Path,
) -> tuple[tuple[TaskResult, ...], Mapping[str, Any]]:
    """The results in a file, without pictures, and what they were made of.

    Raises:
        ValueError: no such file, or one of another version or kind; names it.
    """
    content = _content(pathlib.Path(path))
    results = _results(path, content)
    return results, content["manifest"]


def _content(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no evaluation; evaluate again")
    return content


def _results(path: str | pathlib.Path, content: Mapping[str, Any]) -> tuple[TaskResult, ...]:
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format={content.get('format')} of evaluations, this code reads {FORMAT}; "
            "evaluate again"
        )
    try:
        seeds = tuple(content["manifest"]["seeds"])
        return tuple(_task_of(name, seeds, metrics) for name, metrics in content["results"].items())
    except (LookupError, TypeError, AttributeError, ValueError, StopIteration) as error:
        what = f"no {error}" if isinstance(error, KeyError) else f"{error}"
        raise ValueError(f"{path} is no whole evaluation: {what}; evaluate again") from error


def _task_of(name: str, seeds: tuple[int, ...], metrics: Mapping[str, Any]) -> TaskResult:
    decides = next(key for key, entry in metrics.items() if entry["decides"])
    rung = metrics[decides].get("rung")
    return TaskResult(
        name=name,
        seeds=seeds,
        metrics=tuple(_metric_of(key, entry) for key, entry in metrics.items()),
        decides=decides,
        rung=None if rung is None else Rung(**rung),
    )


def _metric_of(name: str, entry: Mapping[str, Any]) -> MetricResult:
    metric = Metric(
        name=name,
        **{key: entry[key] for key in ("unit", "better", "per_example", "about", "shown")},
    )
    numbers = {whose: entry[whose] for whose in (MODEL, *SELECTIONS) if whose in entry}
    numbers |= entry["baselines"]
    values = {
        whose: tuple(np.array(seed, np.float64) for seed in each["values"])  # None becomes NaN
        for whose, each in numbers.items()
    }
    return MetricResult(metric=metric, values=values, own=entry["own"])
