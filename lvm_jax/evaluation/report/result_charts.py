"""Results -> charts: the model beside baselines, and curves over context and examples."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lvm_jax.evaluation.asking.results import MODEL, MetricResult, TaskResult
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.report import wording
from lvm_jax.evaluation.report.charts import MOST_CURVES, Bars, Chart, Curve


def bars(results: Sequence[TaskResult]) -> tuple[Bars, ...]:
    """The deciding metric of every task that has baselines; points of curves are none."""
    return tuple(
        _bars(result) for result in results if result.deciding.margins and result.rung is None
    )


def _bars(result: TaskResult) -> Bars:
    own = result.deciding
    shown = [name for name in wording.columns([own]) if np.isfinite(own.mean(name))]
    low, high = zip(*(_spread(own, name) for name in shown))
    return Bars(
        title=f"{result.name}: {own.metric.label}",
        unit=f"{own.metric.label}, {own.metric.better} is better",
        labels=tuple(wording.whose(own, name) for name in shown),
        values=np.array([own.shown(name) for name in shown]),
        low=np.array(low),
        high=np.array(high),
    )


def _spread(result: MetricResult, name: str) -> tuple[float, float]:
    """What a value may be by a standard error; itself where that is unknown."""
    mean, error = result.mean(name), result.error(name)
    error = error if np.isfinite(error) else 0.0
    return result.metric.value(mean - error), result.metric.value(mean + error)


def ladders(results: Sequence[TaskResult]) -> tuple[Chart, ...]:
    """A chart for every metric of every family of curves.

    Several curves are the model's under several settings; beside a single one stand baselines.
    """
    families: dict[tuple[str, str], list[TaskResult]] = {}
    for result in results:
        if result.rung is not None:
            name = result.rung.family or result.rung.series
            families.setdefault((name, result.rung.axis), []).append(result)
    return tuple(
        _ladder(name, axis, metric, measured)
        for (name, axis), rungs in families.items()
        for metric, measured in wording.by_metric(rungs)
    )


def _ladder(name: str, axis: str, metric: Metric, measured: Sequence[TaskResult]) -> Chart:
    series: dict[str, list[TaskResult]] = {}
    for result in measured:
        assert result.rung is not None
        series.setdefault(result.rung.series, []).append(result)
    if len(series) > 1:
        curves = [_points(label, each, metric, MODEL) for label, each in series.items()]
    else:
        own = [wording.of(result, metric) for result in measured]
        curves = [
            _points(wording.whose(own[0], name), measured, metric, name)
            for name in wording.columns(own)
        ]
        # Bands of them all would hide the curves; whether gaps are clear, the tables say.
        curves[1:] = [dataclasses.replace(each, low=None, high=None) for each in curves[1:]]
    return Chart(
        title=f"{name}: {metric.label}",
        unit=metric.label,
        curves=tuple(curves[:MOST_CURVES]),
        axis=axis,
    )


def _points(label: str, rungs: Sequence[TaskResult], metric: Metric, whose: str) -> Curve:
    # Without example pairs there is no mean of theirs: its curve begins with the next point.
    known = [
        (result.rung.value, own)
        for result in rungs
        if result.rung is not None and whose in (own := wording.of(result, metric)).values
    ]
    return curve(label, np.array([value for value, _ in known]), [own for _, own in known], whose)


def curve(
    label: str, steps: np.ndarray, results: Sequence[MetricResult], whose: str = MODEL
) -> Curve:
    """What a metric is at every point, with its standard errors.

    Args:
        label: of the curve.
        steps: [n], where the points are.
        results: of them, n.
        whose: numbers are shown.
    """
    spread = np.array([_spread(each, whose) for each in results])
    values = np.array([each.shown(whose) for each in results])
    return Curve(label=label, steps=steps, values=values, low=spread[:, 0], high=spread[:, 1])
