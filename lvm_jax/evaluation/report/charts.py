"""The report's charts, as inline SVG."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lvm_jax.pages.drawing import INK, SERIES, styled, svg

_MOST_POINTS, _FEW_POINTS = 400, 20
MOST_CURVES = len(SERIES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a chart.

    Attributes:
        label: its name in the legend.
        steps: [n] training steps.
        values: [n], finite or NaN.
    """

    label: str
    steps: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves over training steps.

    Attributes:
        title: what is shown.
        unit: label of the vertical axis.
        curves: the lines; at most `MOST_CURVES`.
        levels: label -> height of dashed lines to compare with.
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)


def line_chart(chart: Chart) -> str:
    """Draws a chart; an SVG element as text."""
    with styled(chart.title):
        figure = Figure(figsize=(5.2, 2.9), layout="constrained")
        axes = figure.subplots()
        for curve, color in zip(chart.curves, SERIES):
            steps, values = _thin(curve.steps), _thin(curve.values)
            # A few points are shown as points: one alone would be no line.
            marker = "o" if len(steps) <= _FEW_POINTS else None
            axes.plot(
                steps, values, color=color, linewidth=1.6, marker=marker, ms=4, label=curve.label
            )
        for label, height in chart.levels.items():
            axes.axhline(height, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=label)
        axes.set(xlabel="step", ylabel=chart.unit)
        locator = axes.xaxis.get_major_locator()
        assert isinstance(locator, MaxNLocator)
        locator.set_params(integer=True)
        axes.grid(axis="y", linewidth=0.6)
        if len(chart.curves) + len(chart.levels) > 1:
            axes.legend(frameon=False, fontsize=9)
        return svg(figure, chart.title)


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
