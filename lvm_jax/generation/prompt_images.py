"""The images of prompts, as files or arrays -> ids.

Legend: n images of a prompt, T ids per image, S side of an image in pixels.
"""

import itertools
import os
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from lvm_jax import image_record
from lvm_jax import images as images_lib
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.tokenizer.codec import Tokenizer

PromptImage: TypeAlias = str | os.PathLike[str] | np.ndarray
"""A file, or uint8 or float32 [0, 1] of shape [S, S, 3]."""
PromptImages: TypeAlias = Sequence[PromptImage] | np.ndarray
"""One prompt: its images in order, or all of them in one array [n, S, S, 3]."""


def encode_prompts(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[PromptImages],
    image_config: ImageConfig | None = None,
) -> list[np.ndarray]:
    """The ids of every prompt.

    Args:
        model: says how files are read, unless `image_config` does.
        tokenizer: the model's.
        prompts: images of each.
        image_config: how files are read; by default as the pictures that the model learned from.

    Returns:
        int32 [n, T] for each prompt.

    Raises:
        ValueError: a prompt without images, a file that is no image, or an array of another size.
    """
    has_files = any(isinstance(i, str | os.PathLike) for prompt in prompts for i in prompt)
    if has_files and image_config is None:
        image_config = image_record.config_for(model.images, "the model")
    size, pixels = tokenizer.image_size, []
    loader = SquareLoader(image_config or ImageConfig(), size)
    for prompt in prompts:
        if len(prompt) == 0:
            raise ValueError("a prompt needs at least one image")
        for number, image in enumerate(prompt):
            if isinstance(image, str | os.PathLike):
                pixels.append(loader.load_file(image))
            else:
                pixels.append(_checked(np.asarray(image), number, size))
    ids = np.empty((len(pixels), tokenizer.tokens_per_image), np.int32)
    for dtype in {array.dtype for array in pixels}:
        which = [i for i, array in enumerate(pixels) if array.dtype == dtype]
        ids[which] = tokenizer.encode(np.stack([pixels[i] for i in which]))
    lengths = [len(prompt) for prompt in prompts]
    return [ids[end - n : end] for n, end in zip(lengths, itertools.accumulate(lengths))]


def _checked(image: np.ndarray, number: int, size: int) -> np.ndarray:
    """An image of a prompt as uint8 or float32 [S, S, 3]."""
    if image.shape != (size, size, 3):
        raise ValueError(
            f"prompt image {number} has shape {image.shape}; this tokenizer takes "
            f"({size}, {size}, 3): give its file, or use lvm_jax.images.resize_crop or squash"
        )
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"prompt images are {image.dtype}; give uint8 or float32 in [0, 1]")
    if not (image.min() >= 0 and image.max() <= 1):  # also refuses NaN
        raise ValueError(
            f"float prompt images span {image.min():.3g}..{image.max():.3g}; scale them to [0, 1]"
        )
    # The same picture has the same ids in either form: the tokenizer's own division of uint8, which
    # made the ids in shards, differs from numpy's in the last bit.
    image, as_uint8 = image.astype(np.float32), images_lib.to_uint8(image)
    return as_uint8 if np.array_equal(images_lib.to_float(as_uint8), image) else image
