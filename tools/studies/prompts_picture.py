"""Pictures of what is answered: the same queries under several prompts, and every task in short.

Legend: K example pairs, S side in pixels.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image

from lvm_jax import atomic, images, sheets
from lvm_jax.evaluation.asking.results import TaskResult
from lvm_jax.evaluation.asking.shared_queries import SharedAnswers
from lvm_jax.evaluation.report import wording
from lvm_jax.evaluation.tasks.task import Example, Examples
from lvm_jax.tokenizer.codec import Tokenizer

_SIDE = 128  # pixels of a query or an answer, at least; an example takes half
_SMALL = 64  # the same where every task has a place
_TEXT = 20
_ROW_GAP = 8  # more than between the two pictures of an example
_COLORS = 256


def draw(
    kinds: Mapping[str, Examples],
    answers: SharedAnswers,
    tokenizer: Tokenizer,
    *,
    seed: int,
    num_queries: int,
    alone: bool = True,
) -> np.ndarray:
    """Draws the first queries: a row for each prompt, examples, query and answers in order.

    Args:
        kinds: what the queries were asked for.
        answers: of one seed.
        tokenizer: decodes these.
        seed: of these.
        num_queries: how many at most.
        alone: also the answers without examples.

    Returns:
        uint8 [height, width, 3].
    """
    blocks = []
    for n in range(min(num_queries, answers.ids.shape[1])):
        shown = [kind.example(seed, n) for kind in kinds.values()]
        rows = []
        for p, prompt_ids in enumerate(answers.ids[: len(shown) + alone, n]):
            drawn = images.to_uint8(np.asarray(tokenizer.decode(prompt_ids)))
            rows.append(_row(shown[0], shown[p] if p < len(shown) else None, drawn))
        blocks.append(sheets.above(rows, _ROW_GAP))
    return sheets.page(sheets.above([_heads(shown[0]), *blocks], sheets.GROUP_GAP))


def draw_tasks(results: Sequence[TaskResult]) -> np.ndarray:
    """Draws query, first answer and truth of the best, the median and the worst of every task.

    Args:
        results: with the three examples that were kept, the best first.

    Returns:
        uint8 [height, width, 3].
    """
    blocks = [_task(result) for result in results]
    half = -(-len(blocks) // 2)
    columns = [sheets.above(part, sheets.GAP) for part in (blocks[:half], blocks[half:]) if part]
    return sheets.page(sheets.beside(columns, 3 * sheets.GROUP_GAP))


def _task(result: TaskResult) -> np.ndarray:
    examples = []
    for shown in result.shown:
        groups = {group.kind: group.pictures for group in shown.groups}
        asked = [groups[kind][0, 0] for kind in ("asked", "answers", "truth")]
        scale = sheets.readable_scale(len(asked[0]), _SMALL)
        asked = [sheets.enlarge(picture, scale) for picture in asked]
        value = wording.number(result.deciding.metric.value(shown.value))
        examples.append(
            sheets.captioned(
                sheets.beside(asked, sheets.GAP), f"{shown.place}: {value}", color="dimgray"
            )
        )
    title = f"{result.name}, {result.deciding.metric.label}"
    return sheets.captioned(sheets.beside(examples, sheets.GROUP_GAP), title)


def write(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes a PNG of 256 colors, which is a third as large and looks the same.

    Args:
        path: of the file.
        picture: uint8 [height, width, 3].
    """
    # No dithering: its noise would be most of the file.
    few = PIL.Image.fromarray(picture).quantize(_COLORS, dither=PIL.Image.Dither.NONE)
    with atomic.writing(path, parents=True) as partial:
        few.save(partial, "PNG", optimize=True)


def _row(first: Example, asked: Example | None, drawn_CSS3: np.ndarray) -> np.ndarray:
    """One prompt and its answers; without examples their place stays empty."""
    scale = _scale(first)
    large = lambda picture: sheets.enlarge(picture, scale)
    pairs = (first if asked is None else asked).pairs
    columns = [sheets.above([_half(p, scale) for p in pair], sheets.GAP) for pair in pairs]
    examples = sheets.beside(columns, sheets.GAP)
    if asked is None:
        examples = np.full_like(examples, 255)
    candidates = sheets.beside([large(picture) for picture in drawn_CSS3], sheets.GAP)
    return sheets.beside([examples, large(first.query), candidates], sheets.GROUP_GAP)


def _half(picture: np.ndarray, scale: int) -> np.ndarray:
    """A picture at half of the size of a query, less the gap between two of them."""
    return images.squash(picture, (len(picture) * scale - sheets.GAP) // 2)


def _scale(example: Example) -> int:
    return sheets.readable_scale(len(example.query), _SIDE)


def _heads(example: Example) -> np.ndarray:
    """What stands in the columns."""
    side = len(example.query) * _scale(example)
    half = len(_half(example.query, _scale(example))) + sheets.GAP
    widths = {"examples": half * len(example.pairs) - sheets.GAP, "query": side, "answers": side}
    lines = [sheets.text_line(text, width, size=_TEXT) for text, width in widths.items()]
    return sheets.beside(lines, sheets.GROUP_GAP)
