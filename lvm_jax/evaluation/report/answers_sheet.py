"""Some prompts of every task and the model's answers as one picture, for a README or a slide."""

from collections.abc import Sequence

import numpy as np

from lvm_jax import sheets
from lvm_jax.evaluation.asking.results import Group, Shown, TaskResult

_SIDE = 80  # pixels that a picture takes at least: eleven in a row
_MOST_PROMPTS = 2


def draw(results: Sequence[TaskResult]) -> np.ndarray | None:
    """Draws the prompts of every task that stand in the middle, neither the best nor the worst.

    Args:
        results: with the examples that were kept.

    Returns:
        uint8 [height, width, 3], or None where no task has pictures to show.
    """
    blocks = [
        sheets.captioned(
            sheets.above([_prompt(shown) for shown in _middle(result.shown)], sheets.GAP),
            f"{result.name}: {result.verdict}",
            size=18,
        )
        for result in results
        if result.shown
    ]
    return sheets.page(sheets.above(blocks, sheets.GROUP_GAP)) if blocks else None


def _middle(shown: Sequence[Shown]) -> Sequence[Shown]:
    start = max(0, len(shown) - _MOST_PROMPTS) // 2
    return shown[start : start + _MOST_PROMPTS]


def _prompt(shown: Shown) -> np.ndarray:
    """One prompt, from left to right as the model reads it, its answers and the truth."""
    blocks = [block for group in shown.groups for block in _blocks(group)]
    scale = sheets.readable_scale(shown.groups[0].pictures.shape[2], _SIDE)
    return sheets.beside(
        [
            sheets.captioned(
                sheets.beside([sheets.enlarge(picture, scale) for picture in pictures], sheets.GAP),
                caption,
                color="dimgray",
            )
            for caption, pictures in blocks
        ],
        sheets.GROUP_GAP,
    )


def _blocks(group: Group) -> list[tuple[str, np.ndarray]]:
    """Captions and pictures; every example is one of its own."""
    if group.pictures.shape[1] > 1:
        return [(f"example {i + 1}", pair) for i, pair in enumerate(group.pictures)]
    return [(group.caption, group.pictures[:, 0])]
