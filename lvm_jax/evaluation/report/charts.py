"""The report's charts, as inline SVG."""

import dataclasses
import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lvm_jax.pages.drawing import FAINT, INK, SERIES, styled, svg

_MOST_POINTS, _FEW_POINTS = 400, 20
_LEGEND_COLUMNS = 2
MOST_CURVES = len(SERIES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a chart.

    Attributes:
        label: its name in the legend.
        steps: [n] training steps, or what else the horizontal axis counts.
        values: [n], finite or NaN.
        low, high: [n], how far the values may be off; None draws nothing.
    """

    label: str
    steps: np.ndarray
    values: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves over training steps, or over something else.

    Attributes:
        title: what is shown.
        unit: label of the vertical axis.
        curves: the lines; at most `MOST_CURVES`.
        levels: label -> height of dashed lines to compare with.
        axis: label of the horizontal axis.
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)
    axis: str = "step"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bars:
    """Values side by side.

    Attributes:
        title: what is shown.
        unit: label of the axis.
        labels: of the bars, the first of which is the model's.
        values: [n], finite.
        low, high: [n], how far they may be off; equal to the value where nobody knows.
    """

    title: str
    unit: str
    labels: tuple[str, ...]
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


def line_chart(chart: Chart) -> str:
    """Draws a chart; an SVG element as text."""
    with styled(chart.title):
        number = len(chart.curves) + len(chart.levels)
        lines = -(-number // _LEGEND_COLUMNS) if number > 1 else 0
        figure = Figure(figsize=(5.2, 2.8 + 0.2 * lines), layout="constrained")
        axes = figure.subplots()
        for curve, color in zip(chart.curves, SERIES):
            steps, values = _thin(curve.steps), _thin(curve.values)
            # A few points are shown as points: one alone would be no line.
            marker = "o" if len(steps) <= _FEW_POINTS else None
            axes.plot(
                steps, values, color=color, linewidth=1.6, marker=marker, ms=4, label=curve.label
            )
            if curve.low is not None and curve.high is not None:
                axes.fill_between(steps, curve.low, curve.high, color=color, alpha=0.2, linewidth=0)
        for label, height in chart.levels.items():
            axes.axhline(height, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=label)
        axes.set(xlabel=chart.axis, ylabel=chart.unit)
        locator = axes.xaxis.get_major_locator()
        assert isinstance(locator, MaxNLocator)
        locator.set_params(integer=True)
        axes.grid(axis="y", linewidth=0.6)
        if lines:  # below the curves, whose places nobody knows before
            figure.legend(
                loc="outside lower center",
                ncols=min(number, _LEGEND_COLUMNS),
                frameon=False,
                fontsize=8.5,
                handlelength=1.2,
                columnspacing=1.0,
            )
        return svg(figure, chart.title)


def bar_chart(bars: Bars) -> str:
    """Draws values with their standard errors, one below the other; an SVG element as text."""
    with styled(bars.title):
        number = len(bars.labels)
        figure = Figure(figsize=(5.2, 0.7 + 0.34 * number), layout="constrained")
        axes = figure.subplots()
        places = np.arange(number)[::-1]
        colors = [SERIES[0], *[FAINT] * (number - 1)]
        off = np.stack([bars.values - bars.low, bars.high - bars.values])
        axes.barh(places, bars.values, height=0.62, color=colors)
        axes.errorbar(bars.values, places, xerr=off, fmt="none", ecolor=INK, elinewidth=1.2)
        axes.set(xlabel=bars.unit)
        axes.set_yticks(places, [textwrap.fill(label, 30) for label in bars.labels])
        axes.tick_params(axis="y", length=0)
        return svg(figure, bars.title)


def frequency_chart(counts: np.ndarray) -> str:
    """How often codes are used, most frequent first, against uniform use; an SVG as text."""
    shares = np.sort(counts)[::-1] / max(1, counts.sum()) * 100
    with styled("codebook"):
        figure = Figure(figsize=(5.2, 2.9), layout="constrained")
        axes = figure.subplots()
        # Steps rather than bars: thousands of bars would be thousands of SVG elements.
        edges = np.arange(len(shares) + 1)
        axes.stairs(shares, edges, fill=True, color=SERIES[0], alpha=0.75)
        axes.axhline(
            100 / len(shares), color=INK, linewidth=1, linestyle=(0, (4, 3)), label="uniform use"
        )
        axes.set(xlabel="code, most frequent first", ylabel="% of ids")
        axes.set_xlim(0, len(shares))
        axes.set_ylim(0)
        axes.legend(frameon=False, fontsize=9)
        return svg(figure, "Codebook usage")


def _thin(values: np.ndarray) -> np.ndarray:
    """Means of neighbours when there are more points than a screen can show."""
    group = -(-len(values) // _MOST_POINTS)
    if group <= 1:
        return values
    whole = values[: len(values) // group * group].reshape(-1, group)
    with np.errstate(invalid="ignore"):
        return whole.mean(axis=1)
