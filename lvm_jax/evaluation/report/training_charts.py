"""What the metrics.jsonl of a training has to show."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lvm_jax.evaluation.report.charts import MOST_CURVES, Chart, Curve
from lvm_jax.measures import codes

Lines = Sequence[Mapping[str, Any]]
"""Of a metrics.jsonl, each with "step"."""


def of_tokenizer(lines: Lines) -> tuple[Chart, ...]:
    """Its reconstruction, codes and loss, as far as they were logged."""
    return (
        *_chart(lines, "Reconstruction", "PSNR in dB", "(train|eval/.*)/psnr"),
        *_chart(lines, "Codes in use", "share of the codebook", "(train|eval/.*)/codebook_usage"),
        *_chart(lines, "Loss", "loss", "train/loss"),
    )


def of_transformer(lines: Lines, code_counts: np.ndarray) -> tuple[Chart, ...]:
    """Its losses beside that of drawing codes as often as the training data have them."""
    levels = {"unigram of the codes": float(codes.entropy(code_counts))}
    return _chart(lines, "Loss", "nats per id", "(train|eval/.*)/loss", levels)


def _chart(
    lines: Lines, title: str, unit: str, pattern: str, levels: Mapping[str, float] | None = None
) -> tuple[Chart, ...]:
    """One chart, or none where nothing was logged."""
    drawn = curves(lines, pattern)
    return (Chart(title=title, unit=unit, curves=drawn, levels=levels or {}),) if drawn else ()


def curves(lines: Lines, pattern: str) -> tuple[Curve, ...]:
    """Curves of the metrics whose whole name matches a regular expression.

    Args:
        lines: of a metrics.jsonl.
        pattern: such as "train/loss|eval/.*/loss".

    Returns:
        As many as a chart may have at most, the training's own first, without empty ones.
        "train/loss" is called "training" and "eval/held_out/loss" "held out".
    """
    matching = {name for line in lines for name in line if re.fullmatch(pattern, name)}
    names = sorted(matching, key=lambda name: (not name.startswith("train/"), name))
    drawn = []
    for name in names[:MOST_CURVES]:
        points = [(line["step"], line[name]) for line in lines if name in line]
        steps, values = np.array(points, np.float64).T
        drawn.append(Curve(label=_label(name), steps=steps, values=values))
    return tuple(drawn)


def _label(name: str) -> str:
    return "training" if name.startswith("train/") else name.split("/")[1].replace("_", " ")
