"""A prompt and its answers as one picture for people to look at.

Legend: n images of a prompt, C candidates, M new images, K <= M targets, H height, W width.
"""

from collections.abc import Sequence

import numpy as np

from lvm_jax import sheets

_ANSWER = "navy"


def draw(
    prompt_nHW3: np.ndarray,
    answers_CMHW3: np.ndarray,
    *,
    is_analogy: bool,
    scale: int | None = None,
    truth_K: np.ndarray | None = None,
    psnr_CK: np.ndarray | None = None,
) -> np.ndarray:
    """Draws examples or images, the query, each answer under its name, and the truth.

    Args:
        prompt_nHW3: uint8.
        answers_CMHW3: uint8.
        is_analogy: the prompt is pairs and a query.
        scale: how many times their size images are drawn; None makes them readable.
        truth_K: uint8 [K, H, W, 3], the true new images as far as they are known.
        psnr_CK: in dB, of every candidate against these.

    Returns:
        uint8 [H, W, 3].
    """
    scale = scale or sheets.readable_scale(min(prompt_nHW3.shape[1:3]))
    images = [sheets.enlarge(image, scale) for image in prompt_nHW3]
    if is_analogy:
        *examples, query = images
        pairs = [sheets.beside(examples[i : i + 2], sheets.GAP) for i in range(0, len(examples), 2)]
        prompt = [sheets.captioned(pair, f"example {i}") for i, pair in enumerate(pairs, 1)]
        prompt.append(sheets.captioned(query, "query"))
    else:
        prompt = [sheets.captioned(image, f"image {i}") for i, image in enumerate(images, 1)]
    rows = [sheets.flow(prompt)]
    num_new = answers_CMHW3.shape[1]
    no_psnr = np.zeros((len(answers_CMHW3), 0))
    named = [
        (answer_MHW3, _names(f"answer {number}", num_new, psnr_K), _ANSWER)
        for number, (answer_MHW3, psnr_K) in enumerate(
            zip(answers_CMHW3, no_psnr if psnr_CK is None else psnr_CK), 1
        )
    ]
    if truth_K is not None:
        named.append((truth_K, _names("truth", num_new), "black"))
    below = [
        [
            sheets.captioned(sheets.enlarge(image, scale), name, color=color)
            for image, name in zip(images, names)
        ]
        for images, names, color in named
    ]
    if num_new == 1:
        below = [[image for row in below for image in row]]
    rows += [sheets.flow(row) for row in below if row]
    return sheets.page(sheets.above(rows, sheets.GROUP_GAP))


def _names(name: str, num_images: int, psnr_K: Sequence[float] | np.ndarray = ()) -> list[str]:
    names = [name] if num_images == 1 else [f"{name}, image {i + 1}" for i in range(num_images)]
    return [
        f"{name}, {psnr_K[i]:.1f} dB" if i < len(psnr_K) else name for i, name in enumerate(names)
    ]
