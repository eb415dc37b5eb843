"""Panels of several runs as one picture."""

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lvm_jax import atomic
from lvm_jax.evaluation.report.runs import Panel

FORMATS = ("png", "svg", "pdf")
# Told apart by most people who see few colours (Okabe and Ito 2008), without its yellow and black.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES = ("-", "--", ":", "-.")
_STYLE: dict[Any, Any] = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
_LEAST_POINTS = 40  # fewer are not smoothed unless it is asked for
_SHARE = 50  # of a curve's points that a mean is of


def draw(
    panels: Sequence[Panel], path: pathlib.Path, *, x_label: str, smooth: int | None = None
) -> None:
    """Writes a picture: panels in two columns, and one legend for all.

    Args:
        panels: at least one.
        path: its suffix is one of `FORMATS`.
        x_label: of all panels.
        smooth: points that a mean is of, drawn over the points themselves; by default a fiftieth
            of a curve that is long; 1 for none.

    Raises:
        atomic.WriteError: the disk does not take it.
    """
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    labels = list(dict.fromkeys(series.label for panel in panels for series in panel.series))
    height = 3.0 * rows + 0.22 * len(labels) + 0.2
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.6 * columns, height), layout="constrained")
        every = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, panel in zip(every, panels):
            _draw_panel(axes, panel, smooth)
            axes.set_xlabel(x_label)
        for axes in every[len(panels) :]:
            axes.remove()
        handles = {
            label: handle
            for axes in figure.axes
            for handle, label in zip(*axes.get_legend_handles_labels())
        }
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", frameon=False, ncols=1
        )
        with atomic.writing(path, parents=True) as partial:
            figure.savefig(partial, format=path.suffix[1:], dpi=150)


def _draw_panel(axes: Axes, panel: Panel, smooth: int | None) -> None:
    inner: list[np.ndarray] = []
    for number, series in enumerate(panel.series):
        color = _COLORS[series.run % len(_COLORS)]
        of_run = [each for each in panel.series[:number] if each.run == series.run]
        dash = _DASHES[(len(of_run) + series.run // len(_COLORS)) % len(_DASHES)]
        count = len(series.y)
        window = (count // _SHARE if count >= _LEAST_POINTS else 1) if smooth is None else smooth
        mean = running_mean(series.y, max(window, 1))
        if window > 1:
            axes.plot(series.x, series.y, color=color, alpha=0.25, linewidth=0.6)
        style: dict[str, Any] = {"color": color, "linewidth": 1.4, "label": series.label}
        # A few points are shown as points: one alone would be no line.
        axes.plot(series.x, mean, dash, marker="o" if count <= 20 else None, ms=3, **style)
        inner.append(mean[count // 20 :])
    _look_at(axes, np.concatenate(inner))
    axes.set_title(panel.title)
    axes.grid(linewidth=0.4, alpha=0.5)


def _look_at(axes: Axes, values: np.ndarray) -> None:
    """Leaves the first moments and a few outliers out of sight, where the rest would be flat."""
    values = values[np.isfinite(values)]
    if len(values) < _LEAST_POINTS:
        return
    low, high = np.percentile(values, (0, 99.5))
    if high > low and axes.get_ylim()[1] - low > 2 * (high - low):
        axes.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Means of the last `window` values, of fewer at the beginning; float64 [n]."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    return (sums[last] - sums[first]) / (last - first)
