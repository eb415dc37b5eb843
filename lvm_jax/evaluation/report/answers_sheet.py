"""Some prompts of every task and the model's answers as one picture, for a README or a slide."""

from collections.abc import Sequence

import numpy as np

from lvm_jax import sheets
from lvm_jax.evaluation.analogies.scores import Shown, TaskResult

_SIDE = 80  # pixels that a picture takes at least: eleven in a row
_MOST_PROMPTS = 2


def draw(results: Sequence[TaskResult]) -> np.ndarray | None:
    """Draws the first prompts of every task.

    Args:
        results: as `asking.evaluate` gives them.

    Returns:
        uint8 [height, width, 3], or None where no task has pictures to show.
    """
    blocks = [
        sheets.captioned(
            sheets.above([_prompt(shown) for shown in result.shown[:_MOST_PROMPTS]], sheets.GAP),
            f"{result.name}: {result.verdict}",
            size=18,
        )
        for result in results
        if result.shown
    ]
    return sheets.page(sheets.above(blocks, sheets.GROUP_GAP)) if blocks else None


def _prompt(shown: Shown) -> np.ndarray:
    """One prompt, from left to right as the model reads it, its answers and the truth."""
    example = shown.example
    groups = [(f"example {i + 1}", pair) for i, pair in enumerate(example.pairs)]
    groups += [
        ("query", [example.query]),
        ("the model's answers", shown.candidates),
        ("truth", [example.answer]),
        ("tokenizer's best", [shown.ceiling]),
    ]
    scale = max(1, -(-_SIDE // example.query.shape[0]))
    return sheets.beside(
        [
            sheets.captioned(
                sheets.beside([sheets.enlarge(picture, scale) for picture in pictures], sheets.GAP),
                caption,
                color="dimgray",
            )
            for caption, pictures in groups
        ],
        sheets.GROUP_GAP,
    )
