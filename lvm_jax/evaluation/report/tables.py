"""The report's tables of numbers: every metric of every task, and of every seed."""

from collections.abc import Sequence

import numpy as np

from lvm_jax.evaluation.asking import results as names
from lvm_jax.evaluation.asking.results import MODEL, MetricResult, TaskResult
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.report import wording
from lvm_jax.pages.elements import number_table, text


def of_results(results: Sequence[TaskResult]) -> str:
    """What every task scored, and how to read it.

    Args:
        results: of at least one task.
    """
    if all(set(of.values) == {MODEL} for result in results for of in result.metrics):
        return f"<h2>In numbers</h2>{_of_the_model_alone(results)}"
    tables = [_of_metric(metric, measured) for metric, measured in wording.by_metric(results)]
    rule = ""
    if any(of.margins for result in results for of in result.metrics):
        rule = (
            '<p class="lead muted">Below a rival: by how much the model is better within the same '
            "prompts, with the standard error over all prompts of all seeds, which choose other "
            "examples and other draws. A margin is clear when over all prompts it exceeds "
            f"{names.CLEAR:g} standard errors, no seed points the other way, and there are "
            f"{names.FEWEST_PROMPTS} prompts or more. {_rule(results)}</p>"
        )
    return f"<h2>In numbers</h2>{rule}{''.join(tables)}"


def _rule(results: Sequence[TaskResult]) -> str:
    """When a task counts as learned."""
    if any(result.truth is not None for result in results):
        return (
            "A task is recognised from its examples when the true answer is clearly more probable "
            "under the right prompt than under every other one, the query alone among them; it is "
            "answered when what is drawn is besides clearly better than every baseline."
        )
    return "A task is answered when what is drawn is clearly better than every baseline."


def _of_metric(metric: Metric, measured: Sequence[TaskResult]) -> str:
    own = [wording.of(result, metric) for result in measured]
    shown = wording.columns(own)
    heads = ["task", *(wording.whose(own[0], name) for name in shown)]
    rows = [_row(result, metric, shown) for result in measured]
    counts = sorted({len(of.all_values()) for of in own})
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    over = f"Mean over {number} prompts" if metric.per_example else "Of all prompts together"
    if metric.shown == "exp":
        over = f"Over {number} prompts"
    about = f"{metric.about} " if metric.about else ""
    return (
        f'<section class="card scroll"><h3>{text(metric.label)}</h3>'
        f'<p class="muted small">{text(about)}{metric.better.capitalize()} is better. {over}.</p>'
        f"{number_table(heads, rows)}{_per_seed(metric, measured, shown)}</section>"
    )


def _of_the_model_alone(results: Sequence[TaskResult]) -> str:
    """All metrics beside each other where there is nothing to compare with."""
    metrics = [metric for metric, _ in wording.by_metric(results)]
    rows = []
    for result in results:
        cells = [text(result.name), str(len(result.deciding.all_values()))]
        for metric in metrics:
            own = result.metric(metric.name)
            cells.append("" if own is None else _value(own, MODEL) + _error(own, MODEL))
        rows.append(cells)
    heads = ["task", "examples", *(metric.label for metric in metrics)]
    abouts = "".join(
        f"<p class='muted small'>{text(metric.label)}: {text(metric.about)} "
        f"{metric.better.capitalize()} is better.</p>"
        for metric in metrics
    )
    return f'<section class="card scroll">{number_table(heads, rows)}{abouts}</section>'


def _row(result: TaskResult, metric: Metric, shown: Sequence[str]) -> list[str]:
    own = wording.of(result, metric)
    cells = [text(result.name)]
    for name in shown:
        if name not in own.values:
            cells.append("<small>not measured</small>")
        elif name == MODEL:
            cells.append(f'<span class="own">{_value(own, name)}</span>{_error(own, name)}')
        elif name in own.margins:
            cells.append(_value(own, name) + _gap(own, name))
        else:
            cells.append(_value(own, name) + _error(own, name))
    return cells


def _value(result: MetricResult, name: str) -> str:
    return text(wording.number(result.shown(name)))


def _error(result: MetricResult, name: str) -> str:
    error = result.error(name)
    if not np.isfinite(error):
        return ""
    if result.metric.shown == "exp":  # of the mean of logarithms, so a factor
        return f"<small>\u00d7/\u00f7 {np.exp(error):.2f}</small>"
    return f"<small>{wording.off(error)}</small>"


def _gap(result: MetricResult, rival: str) -> str:
    """How clearly a rival is beaten, for the cell of its value."""
    good = "good" if result.margins[rival].clear else "bad"
    unit = f" {result.metric.unit}" if result.metric.unit else ""
    return (
        f"<small>{text(wording.gap(result, rival) + unit)}</small>"
        f'<small class="{good}">{text(wording.margin(result, rival))}</small>'
    )


def _per_seed(metric: Metric, measured: Sequence[TaskResult], shown: Sequence[str]) -> str:
    if not metric.per_example or all(len(result.seeds) < 2 for result in measured):
        return ""
    own = wording.of(measured[0], metric)
    heads = ["task", "seed", *(wording.whose(own, name) for name in shown)]
    rows = [
        [text(result.name), str(seed)]
        + [_of_seed(wording.of(result, metric), name, place) for name in shown]
        for result in measured
        for place, seed in enumerate(result.seeds)
    ]
    note = ""
    if metric.shown == "exp":
        note = (
            "<p class='small muted'>The small number is the mean over prompts of each one's own "
            "value, as LVM reports perplexities.</p>"
        )
    return f"<details><summary>Every seed</summary>{note}{number_table(heads, rows)}</details>"


def _of_seed(result: MetricResult, name: str, place: int) -> str:
    if name not in result.values:
        return ""
    values = result.values[name][place]
    values = values[np.isfinite(values)]
    if not len(values):
        return "-"
    cell = wording.number(result.metric.value(float(values.mean())))
    if result.metric.shown == "exp":
        cell += f"<small>{wording.number(float(np.exp(values).mean()))}</small>"
    return cell
