"""Results -> charts."""

import numpy as np

from lvm_jax.evaluation.asking import results as names
from lvm_jax.evaluation.asking.results import MetricResult, Rung, TaskResult
from lvm_jax.evaluation.report import charts, result_charts, wording
from lvm_jax.evaluation.tasks.pixels import MSE

ALONE = (names.MODEL, *names.SELECTIONS, names.CEILING, names.COPY)
ALL = (*ALONE, names.MEAN, names.NEAREST_PIXELS, names.NEAREST_IDS)


def rung(pairs, whose):
    values = {name: (np.array([0.1, 0.3]) + place,) for place, name in enumerate(whose)}
    measured = MetricResult(metric=MSE, values=values)
    return TaskResult(
        name=f"a, {pairs}",
        seeds=(0,),
        metrics=(measured,),
        decides=MSE.name,
        rung=Rung(series="a", axis="example pairs", value=pairs),
    )


def test_a_curve_of_shots_shows_every_baseline_where_it_has_one():
    points = [rung(0, ALONE), rung(1, ALL), rung(3, ALL)]
    (chart,) = result_charts.ladders(points)
    steps = {curve.label: curve.steps.tolist() for curve in chart.curves}
    labels = {name: wording.whose(points[0].deciding, name) for name in ALL}
    assert steps == {labels[n]: [0, 1, 3] if n in ALONE else [1, 3] for n in ALL}
    assert [curve.low is None for curve in chart.curves] == [False] + [True] * (len(ALL) - 1)
    assert all(label in charts.line_chart(chart).replace("&#x27;", "'") for label in steps)
