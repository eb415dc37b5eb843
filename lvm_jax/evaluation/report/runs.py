"""Several trainings side by side: their curves over steps, tokens, seconds or FLOPs."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lvm_jax import configs
from lvm_jax.training import metrics, workdir

XAxis = Literal["step", "tokens", "seconds", "flops"]
METRICS = (
    "train/loss",
    "eval/.*/loss",
    "train/grad_norm",
    "train/learning_rate",
    "perf/.*_per_sec_per_device",
)
"""What is drawn unless other metrics are named: a panel for each."""
_SUMS = {"tokens": "train/(tokens|images)_seen", "flops": "train/flops_seen"}
_SAYS_LITTLE = re.compile(r"(loop|distributed|mesh|rules)\..*|.*fingerprint|data_dependencies.*")
_MOST_DIFFERENCES = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a training left.

    Attributes:
        label: what tells it from the others.
        lines: of its metrics.jsonl.
    """

    label: str
    lines: Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """One curve.

    Attributes:
        label: of its run, and of the metric where a panel has several.
        run: which of the runs.
        x, y: float64 [n].
    """

    label: str
    run: int
    x: np.ndarray
    y: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """Curves that share their axes.

    Attributes:
        title: the metric.
        series: none of them empty.
    """

    title: str
    series: Sequence[Series]


def load(folders: Sequence[pathlib.Path]) -> list[Run]:
    """Reads runs, and labels each by how its config differs from the others'.

    Raises:
        ValueError: a folder that is no run's, or one without metrics.
    """
    resolved = [workdir.read_config(folder) for folder in folders]
    runs = []
    for folder, label in zip(folders, labels(resolved, [str(folder) for folder in folders])):
        lines = metrics.read_metrics(folder)
        if not lines:
            raise ValueError(f"{folder} has no metrics yet; wait for its first lines, or leave it")
        runs.append(Run(label=label, lines=lines))
    return runs


def labels(resolved: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """What tells each of several configs from the others, or its name where nothing does.

    How a run was placed and logged says little and is left out.
    """
    keys: list[str] = []
    for other in resolved[1:]:
        for path, *_ in configs.differences(resolved[0], other, "config"):
            key = path.removeprefix("config.")
            if key not in keys and not _SAYS_LITTLE.fullmatch(key):
                keys.append(key)
    told = [
        ", ".join(f"{key}={configs.shorten(configs.value_at(config, key))}" for key in chosen)
        for config in resolved
        for chosen in [keys[:_MOST_DIFFERENCES]]
    ]
    return [
        text if text and told.count(text) == 1 else f"{name} {f'({text})' if text else ''}".strip()
        for text, name in zip(told, names)
    ]


def panels(runs: Sequence[Run], patterns: Sequence[str], x: XAxis) -> list[Panel]:
    """One panel for each metric that some run has.

    Args:
        runs: which.
        patterns: regular expressions of whole names of metrics.
        x: what the horizontal axis counts.

    Raises:
        ValueError: no run has any of them, one cannot be drawn over `x`, or one is no expression.
    """
    drawn = []
    for pattern in patterns:
        _require_expression(pattern)
        names = [_names(run.lines, pattern) for run in runs]
        series = [
            _series(run, number, name, x, alone=len(names[number]) == 1)
            for number, run in enumerate(runs)
            for name in names[number]
        ]
        if series:
            every = sorted({name for each in names for name in each})
            drawn.append(Panel(title=every[0] if len(every) == 1 else pattern, series=series))
    if not drawn:
        known = sorted({name for run in runs for name in _names(run.lines, ".*/.*")})
        raise ValueError(f"no run has {' or '.join(patterns)}; they have {', '.join(known)}")
    return drawn


def _require_expression(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"metric {pattern!r} is no regular expression: {error}") from error


def _names(lines: Sequence[Mapping[str, Any]], pattern: str) -> list[str]:
    return sorted({name for line in lines for name in line if re.fullmatch(pattern, name)})


def _series(run: Run, number: int, name: str, x: XAxis, alone: bool) -> Series:
    steps, values = _points(run.lines, name)
    label = run.label if alone else f"{run.label}: {name}"
    return Series(label=label, run=number, x=_along(run, steps, x), y=values)


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(line["step"], line[name]) for line in lines if name in line]
    steps, values = np.array(points, np.float64).reshape(-1, 2).T
    return steps, values


def _along(run: Run, steps: np.ndarray, x: XAxis) -> np.ndarray:
    """Steps -> what the horizontal axis counts, which is known where lines were logged."""
    if x == "step":
        return steps
    if x == "seconds":
        known, seconds = _points(run.lines, "perf/sec_per_step")
        counts = np.cumsum(np.diff(known, prepend=0.0) * seconds)
    else:
        names = _names(run.lines, _SUMS[x])
        known, counts = _points(run.lines, names[0]) if names else (np.zeros(0), np.zeros(0))
    if not len(known):
        raise ValueError(f"{run.label} has not counted its {x}; choose another --x")
    return np.interp(steps, [0.0, *known], [0.0, *counts])
