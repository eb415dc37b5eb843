"""A pair that ships, ready to be asked, and prompts to ask.

Legend: n images of a prompt, K targets, S side of an image in pixels.
"""

import dataclasses
import os
import tempfile
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from lvm_jax.generation.jobs import prompt_files
from lvm_jax.generation.language_model import LanguageModel, load_model
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.pretrained import places
from lvm_jax.tokenizer.codec import Tokenizer, load_tokenizer


def load_pretrained(name: str) -> tuple[LanguageModel, Tokenizer]:
    """Loads a small model and its tokenizer that come with the package.

    Args:
        name: "uvd_mini", of which lvm_jax/pretrained/uvd_mini/MODEL_CARD.md tells more.

    Returns:
        (model, tokenizer), as `load_model` and `load_tokenizer` give them.

    Raises:
        ValueError: there is no such pair, or this copy of the package came without it.
    """
    pair = places.find(name)
    tokenizer = load_tokenizer(pair.tokenizer)
    return load_model(pair.model, tokenizer=tokenizer), tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """A prompt whose pictures are read.

    Attributes:
        images: example pairs and a query, or frames in order, as `generate` takes them.
        targets: the true new images, as far as they are known.
        layout: analogy: example pairs and a query; sequence: frames in order.
        title: what it is called.
        attribution: whose the pictures are.
    """

    images: UInt8[np.ndarray, "n S S 3"]
    targets: UInt8[np.ndarray, "K S S 3"]
    layout: Literal["sequence", "analogy"]
    title: str
    attribution: str


def load_prompt(
    prompt: str | os.PathLike, tokenizer: Tokenizer, *, image_config: ImageConfig | None = None
) -> Prompt:
    """Reads a prompt file: one that ships, or your own.

    Args:
        prompt: name of one that ships, such as "emoji_mask", or a file as tools/demo.py saves it.
        tokenizer: pictures become squares of its size.
        image_config: how; by default as those that the tokenizer learned from.

    Raises:
        ValueError: no such prompt, which lists those that ship; or a damaged one, or a picture in
            it that is none: names them.
    """
    file = prompt_files.read(places.find_prompt(prompt))
    loader = SquareLoader(image_config or tokenizer.images or ImageConfig(), tokenizer.image_size)
    with tempfile.TemporaryDirectory(prefix="lvm_jax_prompt_") as folder:
        images, targets = file.unpack(folder)
        squares = np.stack([loader.load_file(path) for path in images + targets])
    return Prompt(
        images=squares[: len(images)],
        targets=squares[len(images) :],
        layout=file.layout,
        title=file.title,
        attribution=file.attribution,
    )
