"""Evaluations side by side as one self-contained HTML file."""

import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np

from lvm_jax import atomic
from lvm_jax.evaluation.asking.results import Rung
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.report import charts, result_charts
from lvm_jax.evaluation.report import evaluations_wording as wording
from lvm_jax.evaluation.report.evaluations import Comparison, Row
from lvm_jax.pages.elements import document, facts, figure, header, number_table, text


def write(path: str | os.PathLike, comparison: Comparison) -> None:
    """Writes the page; the file appears under its name only when whole.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    atomic.write_text(path, render(comparison), parents=True)


def render(comparison: Comparison) -> str:
    """The page as HTML text."""
    num_tasks = len({row.task for row in comparison.rows})
    lead = (
        f"{len(comparison.evaluations)} evaluations of {num_tasks} "
        f"{'task' if num_tasks == 1 else 'tasks'}. {wording.HOW}"
    )
    tiles = [
        (
            str(sum(row.clearly and row.best == each.letter for row in comparison.rows)),
            f"numbers in which {each.letter} is clearly the best: {each.model}",
        )
        for each in comparison.evaluations
    ]
    notes = "".join(f"<p>{text(note)}</p>" for note in wording.notes(comparison))
    body = (
        header("Evaluations side by side", wording.headline(comparison), lead, tiles)
        + (f'<section class="card"><h3>Mind</h3>{notes}</section>' if notes else "")
        + _ladders(comparison)
        + "<h2>In numbers</h2>"
        + "".join(_tables(comparison))
        + _facts(comparison)
    )
    return document("Evaluations side by side", body)


def _tables(comparison: Comparison) -> Iterator[str]:
    """A card for every task; the points of a curve share one, metric by metric."""
    letters = [each.letter for each in comparison.evaluations]
    tables: dict[str, list[Row]] = {}
    for row in comparison.rows:
        tables.setdefault(row.rung.series if row.rung else row.task, []).append(row)
    for name, rows in tables.items():
        metrics = list(dict.fromkeys(row.metric.name for row in rows))
        ordered = sorted(rows, key=lambda row: metrics.index(row.metric.name))
        cells = [_cells(row, letters) for row in ordered]
        table = number_table(["metric", *letters, "best"], cells)
        yield f'<section class="card scroll"><h3>{text(name)}</h3>{table}</section>'


def _cells(row: Row, letters: Sequence[str]) -> list[str]:
    point = f"{row.rung.value} {row.rung.axis}" if row.rung else ""
    about = [row.metric.name.replace("_", " "), point, wording.unit(row)]
    lines = "".join(f'<small class="wrap">{text(line)}</small>' for line in about[1:] if line)
    cells = [text(about[0]) + lines]
    for letter in letters:
        value, error = map(text, wording.score(row.results[letter]))
        cell = f'<span class="own">{value}</span>' if letter == row.best else value
        cell += f"<small>{error}</small>" if error else ""
        if letter in row.gains:
            gain = row.gains[letter]
            kind = ("good" if gain.mean > 0 else "bad") if gain.clear else "muted"
            cell += f'<small class="{kind}">{text(" ".join(wording.gain(gain)))}</small>'
        learned = row.results[letter].learned
        if learned is not None:
            cell += f"<small>{'learned' if learned else 'not learned'}</small>"
        cells.append(cell)
    best, comma, doubt = wording.verdict(row).partition(", ")
    return [*cells, text(best) + (f'<small class="wrap">{text(doubt)}</small>' if comma else "")]


def _ladders(comparison: Comparison) -> str:
    """Curves over context or examples, those of several evaluations in one chart."""
    points: dict[tuple[str, str, Metric], list[tuple[Rung, Row]]] = {}
    for row in comparison.rows:
        if (rung := row.rung) is not None:
            points.setdefault((rung.series, rung.axis, row.metric), []).append((rung, row))
    figures = "".join(
        figure(chart.title, charts.line_chart(chart))
        for (series, axis, metric), ladder in points.items()
        for chart in [_ladder(series, axis, metric, ladder)]
    )
    return f'<h2>Curves</h2><div class="columns">{figures}</div>' if figures else ""


def _ladder(
    series: str, axis: str, metric: Metric, ladder: Sequence[tuple[Rung, Row]]
) -> charts.Chart:
    ladder = sorted(ladder, key=lambda point: point[0].value)
    steps = np.array([rung.value for rung, _ in ladder])
    curves = []
    for letter in list(ladder[0][1].results)[: charts.MOST_CURVES]:
        curve = result_charts.curve(letter, steps, [row.results[letter] for _, row in ladder])
        # Each one's own error would hide differences on the same examples, which are surer.
        curves.append(dataclasses.replace(curve, low=None, high=None))
    return charts.Chart(
        title=f"{series}: {metric.label}", unit=metric.label, curves=tuple(curves), axis=axis
    )


def _facts(comparison: Comparison) -> str:
    cards = [
        facts(
            each.letter,
            {
                "file": each.path,
                "model": each.model,
                "tokenizer": each.manifest["tokenizer"].get("name", "unnamed"),
                "hash": str(each.manifest.get("hash", ""))[:16],
            },
        )
        for each in comparison.evaluations
    ]
    cards.append(facts("In common", wording.settings(comparison)))
    return f'<h2>What was compared</h2><div class="columns">{"".join(cards)}</div>'
