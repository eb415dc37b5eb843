"""Answers -> what a page shows of them: captions, pictures, a line about how far they are.

Legend: n images of a prompt, M new images, S side of an image in pixels.
"""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from lvm_jax import images as images_lib
from lvm_jax import sheets
from lvm_jax.demo.answering import Answers, Candidate
from lvm_jax.demo.limits import spell_seconds
from lvm_jax.generation.jobs import prompt_files
from lvm_jax.generation.jobs.prompt_files import PromptFile

_THUMBNAILS = 3  # the last example and the query
_LETTERS = 28  # of a strip, which is shown at half its size or less


def caption(place: int, candidate: Candidate) -> str:
    """What stands under an answer; `place` counts from 1."""
    parts = [f"{place}."]
    if candidate.perplexity is not None:
        parts.append(f"perplexity {spell_perplexity(candidate.perplexity)}")
    if candidate.psnr:
        parts.append(f"{np.mean(candidate.psnr):.1f} dB")
    return " ".join(parts[:1]) + " " + ", ".join(parts[1:]) if len(parts) > 1 else "being made"


def spell_perplexity(value: float) -> str:
    """A perplexity in three digits or so."""
    return f"{value:.1f}" if value < 1000 else f"{value:.3g}"


def progress(answers: Answers, *, stopped: bool = False) -> str:
    """How far an answer is, in one line."""
    made = f"{answers.num_images} of {answers.num_wanted} images"
    if stopped and not answers.is_done:
        return f"Cancelled: {made} are here."
    if not answers.is_done:
        if answers.seconds_left is None:
            return f"{made}; with its program compiled, the rest comes faster."
        return f"{made}, at most {spell_seconds(answers.seconds_left)} left."
    several = len(answers.candidates) > 1
    order = ", the likeliest first" if several else ""
    line = f"{made} in {spell_seconds(answers.seconds)}{order}."
    if answers.truth_perplexity is not None:
        line += f" The truth has a perplexity of {spell_perplexity(answers.truth_perplexity)}."
    return line


def enlarged(square: np.ndarray) -> np.ndarray:
    """A square of the tokenizer, large enough to look at: uint8 [H, W, 3]."""
    return sheets.enlarge(square, sheets.readable_scale(square.shape[0]))


def strip(prompt_n: np.ndarray, answers: Answers, truth_K: np.ndarray) -> np.ndarray:
    """Frames in order, new ones under their answer's caption.

    Args:
        prompt_n: uint8 [n, S, S, 3].
        answers: to it.
        truth_K: uint8 [K, S, S, 3].

    Returns:
        uint8 [H, W, 3].
    """
    rows = [_row("prompt", prompt_n, "black")]
    for place, candidate in enumerate(answers.candidates, 1):
        rows.append(_row(f"answer {caption(place, candidate)}", candidate.images, "navy"))
    if len(truth_K):
        rows.append(_row("truth", truth_K, "black"))
    return sheets.page(sheets.above(rows, sheets.GROUP_GAP))


def _row(name: str, images: np.ndarray, color: str) -> np.ndarray:
    frames = sheets.flow([enlarged(image) for image in images], gap=sheets.GAP)
    return sheets.captioned(frames, name, size=_LETTERS, color=color)


def thumbnail(prompt: PromptFile) -> str:
    """The end of a prompt, as HTML."""
    shown = "".join(
        f'<img alt="" src="{prompt_files.as_url(data)}">' for data in prompt.images[-_THUMBNAILS:]
    )
    return f'<div class="thumbnails">{shown}<span class="asked">?</span></div>'


def credit(prompt: PromptFile) -> str:
    """Whose the pictures of a prompt are, as HTML that opens at a click."""
    whose = html.escape(prompt.attribution)
    return whose and f"<details><summary>Whose pictures</summary>{whose}</details>"


def clip(prompt_n: np.ndarray, candidate: Candidate) -> list[np.ndarray]:
    """Frames of a prompt and of an answer, as a clip shows them."""
    return [enlarged(image) for image in [*prompt_n, *candidate.images]]


def as_json(answers: Answers) -> dict[str, Any]:
    """Answers for programs: pictures as data: addresses, the likeliest candidate first."""
    return {
        "done": answers.is_done,
        "seconds": round(answers.seconds, 3),
        "truth_perplexity": answers.truth_perplexity,
        "candidates": [
            {
                "number": candidate.number,
                "perplexity": candidate.perplexity,
                "psnr": list(candidate.psnr),
                "images": _urls(candidate.images),
            }
            for candidate in answers.candidates
        ],
    }


def _urls(images: Sequence[np.ndarray] | np.ndarray) -> list[str]:
    return [prompt_files.as_url(images_lib.encode_png(image)) for image in images]
