"""Some prompts of every task and the model's answers as one picture, for a README or a slide."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lvm_jax.evaluation.scores import Shown, TaskResult

_DPI = 100
_SIDE, _SPACE, _APART = 56, 4, 14  # pixels: a picture, between two, between two groups
_MARGIN, _HEADING, _CAPTION = 12, 30, 20
_MOST_PROMPTS = 2


def draw(results: Sequence[TaskResult]) -> np.ndarray | None:
    """Draws the first prompts of every task.

    Args:
        results: as `analogies.evaluate` gives them.

    Returns:
        uint8 [height, width, 3], or None where no task has pictures to show.
    """
    shown = [result for result in results if result.shown]
    if not shown:
        return None
    groups = _groups(shown[0].shown[0])
    lefts, width = _places([len(pictures) for _, pictures in groups])
    step = _SIDE + _SPACE
    heights = [_HEADING + step * len(result.shown[:_MOST_PROMPTS]) for result in shown]
    height = _MARGIN + _CAPTION + sum(heights) + _MARGIN
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    for (caption, _), left in zip(groups, lefts):
        _write(figure, left, height - _MARGIN - 12, caption, "#5b6470", 8)
    top = _MARGIN + _CAPTION
    for result, taken in zip(shown, heights):
        heading = f"{result.name}: {result.verdict}"
        _write(figure, _MARGIN, height - top - 18, heading, "#16191d", 10)
        for row, prompt in enumerate(result.shown[:_MOST_PROMPTS]):
            bottom = height - top - _HEADING - row * step - _SIDE
            for (_, pictures), left in zip(_groups(prompt), lefts):
                for i, picture in enumerate(pictures):
                    square = _scaled(picture)[::-1]  # figimage's rows go upwards
                    figure.figimage(square, left + i * step, bottom, origin="lower")
        top += taken
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _groups(shown: Shown) -> list[tuple[str, list[np.ndarray]]]:
    """(caption, pictures) from left to right."""
    example = shown.example
    pairs = [(f"example {i + 1}", list(pair)) for i, pair in enumerate(example.pairs)]
    return [
        *pairs,
        ("query", [example.query]),
        ("the model's answers", list(shown.candidates)),
        ("truth", [example.answer]),
        ("tokenized", [shown.ceiling]),
    ]


def _places(counts: Sequence[int]) -> tuple[list[int], int]:
    """The left edge of every group, and the width of all."""
    widths = [count * (_SIDE + _SPACE) - _SPACE + _APART for count in counts]
    edges = list(itertools.accumulate(widths, initial=_MARGIN))
    return edges[:-1], edges[-1] - _APART + _MARGIN


def _scaled(picture: np.ndarray) -> np.ndarray:
    """The picture at _SIDE pixels, without smoothing what it is made of."""
    nearest = (np.arange(_SIDE) + 0.5) * picture.shape[0] // _SIDE
    rows = nearest.astype(int)
    return picture[rows][:, rows]


def _write(figure: Figure, x: float, y: float, text: str, color: str, size: float) -> None:
    figure.text(x, y, text, color=color, fontsize=size, transform=None)
