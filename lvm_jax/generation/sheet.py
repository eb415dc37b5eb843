"""A prompt and its answers as one picture for people to look at.

Legend: n images of a prompt, C candidates, M new images, S side of an image in pixels.
"""

import numpy as np

from lvm_jax import sheets

_ANSWER = "navy"


def draw(
    prompt_nSS3: np.ndarray,
    answers_CMSS3: np.ndarray,
    *,
    is_analogy: bool,
    scale: int | None = None,
) -> np.ndarray:
    """Draws examples or images, the query, and each answer under its name.

    Args:
        prompt_nSS3: uint8.
        answers_CMSS3: uint8.
        is_analogy: the prompt is pairs and a query.
        scale: how many times their size images are drawn; None makes them readable.

    Returns:
        uint8 [H, W, 3].
    """
    scale = scale or sheets.readable_scale(prompt_nSS3.shape[1])
    images = [sheets.enlarge(image, scale) for image in prompt_nSS3]
    if is_analogy:
        *examples, query = images
        pairs = [sheets.beside(examples[i : i + 2], sheets.GAP) for i in range(0, len(examples), 2)]
        prompt = [sheets.captioned(pair, f"example {i}") for i, pair in enumerate(pairs, 1)]
        prompt.append(sheets.captioned(query, "query"))
    else:
        prompt = [sheets.captioned(image, f"image {i}") for i, image in enumerate(images, 1)]
    rows = [sheets.flow(prompt)]
    candidates = [
        [
            sheets.captioned(sheets.enlarge(image, scale), name, color=_ANSWER)
            for image, name in zip(answer_MSS3, _names(number, len(answer_MSS3)))
        ]
        for number, answer_MSS3 in enumerate(answers_CMSS3, 1)
    ]
    if answers_CMSS3.shape[1] == 1:
        rows.append(sheets.flow([answer for (answer,) in candidates]))
    else:
        rows += [sheets.flow(answer) for answer in candidates]
    return sheets.page(sheets.above(rows, sheets.GROUP_GAP))


def _names(number: int, num_images: int) -> list[str]:
    if num_images == 1:
        return [f"answer {number}"]
    return [f"answer {number}, image {i}" for i in range(1, num_images + 1)]
