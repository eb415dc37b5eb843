"""Prompt images -> new images: tokenize, continue, decode.

Legend: N prompts, n images of a prompt, C candidates, R = N * C rows, M new images, T ids per
image, S side of an image in pixels.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import image_record
from lvm_jax import images as images_lib
from lvm_jax.generation import id_loop, prompts
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.tokenizer.codec import Tokenizer

# A file, or uint8 or float32 [0, 1] of shape [S, S, 3].
PromptImage = str | os.PathLike | np.ndarray


def generate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt_images: Sequence[PromptImage] | np.ndarray,
    num_new_images: int = 1,
    num_candidates: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    *,
    images_per_example: int = 1,
    batch_size: int = 8,
    image_config: ImageConfig | None = None,
) -> np.ndarray:
    """Continues a row of images.

    An analogy prompt is in1, out1, in2, out2, ..., query; a sequential prompt is frames in order. A
    prompt too long for the model's context loses its oldest images.

    Args:
        model: from `lvm_jax.load_model`.
        tokenizer: the tokenizer that the model was trained with.
        prompt_images: n >= 1 files of any size, or float32 [0, 1] or uint8 [n, S, S, 3].
        num_new_images: images to add. Beyond the context the oldest images make room, one new image
            at a time.
        num_candidates: answers to draw; number c is the same whatever the number asked for.
        seed: of the drawing; same seed, same answer.
        temperature: 0 takes the most probable id each time.
        top_k: draw from the k most probable ids; 0 from all.
        top_p: draw from the most probable ids that make up this much probability.
        images_per_example: oldest images are dropped this many at a time; 2 for analogies.
        batch_size: candidates decoded at a time.
        image_config: how files are read; by default as the pictures that the model learned from.

    Returns:
        float32 [num_candidates, num_new_images, S, S, 3] in [0, 1].

    Raises:
        ValueError: a file that is no image, an array of another size, another tokenizer than the
            model's, or an option out of range.
    """
    (answers_CM,) = generate_many(
        model,
        tokenizer,
        [prompt_images],
        num_new_images=num_new_images,
        num_candidates=num_candidates,
        seed=seed,
        sampling=SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p),
        images_per_example=images_per_example,
        batch_size=batch_size,
        image_config=image_config,
    )
    return answers_CM


def generate_many(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts_images: Sequence[Sequence[PromptImage] | np.ndarray],
    *,
    num_new_images: int = 1,
    num_candidates: int = 1,
    seed: int = 0,
    sampling: SamplingConfig | None = None,
    images_per_example: int = 1,
    batch_size: int = 8,
    image_config: ImageConfig | None = None,
    progress: Callable[[int], Any] | None = None,
) -> list[np.ndarray]:
    """`generate` for several prompts, which may differ in length; each answered as if alone.

    Args:
        progress: called with the number of rows (prompt x candidate) finished since the last call.

    Returns:
        One float32 [num_candidates, num_new_images, S, S, 3] per prompt, in order.
    """
    check_tokenizer(model, tokenizer)
    if num_new_images < 1 or num_candidates < 1:
        raise ValueError(
            f"num_new_images={num_new_images} and num_candidates={num_candidates} must be positive"
        )
    ids_of_prompts = _encode(model, tokenizer, prompts_images, image_config)
    answers: dict[int, np.ndarray] = {}
    # Rows decoded together have one length; prompts of one length go together.
    for length in sorted({len(ids_nT) for ids_nT in ids_of_prompts}):
        which = [i for i, ids_nT in enumerate(ids_of_prompts) if len(ids_nT) == length]
        ids_NCMT = continue_ids(
            model,
            np.stack([ids_of_prompts[i] for i in which]),
            num_new_images=num_new_images,
            num_candidates=num_candidates,
            seed=seed,
            sampling=sampling,
            images_per_example=images_per_example,
            batch_size=batch_size,
            progress=progress,
        )
        decoded = tokenizer.decode(ids_NCMT.reshape(-1, tokenizer.tokens_per_image))
        shape = (num_candidates, num_new_images, *decoded.shape[1:])
        answers.update(zip(which, np.reshape(decoded, (len(which), *shape))))
    return [answers[i] for i in range(len(ids_of_prompts))]


def continue_ids(
    model: LanguageModel,
    prompts_NnT: np.ndarray,
    *,
    num_new_images: int = 1,
    num_candidates: int = 1,
    seed: int = 0,
    sampling: SamplingConfig | None = None,
    images_per_example: int = 1,
    batch_size: int = 8,
    progress: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """Tokenized prompts of one length -> tokenized answers, int32 [N, C, M, T].

    While the context has room, new images are made in one go; after that one at a time, each with
    as many of the images before it as fit (LVM's way with long videos).
    """
    num_prompts, num_images, tokens_per_image = np.shape(prompts_NnT)
    most = model.config.context // tokens_per_image
    history_RnT = np.repeat(np.asarray(prompts_NnT, np.int32), num_candidates, axis=0)
    candidates_R = np.tile(np.arange(num_candidates, dtype=np.int32), num_prompts)
    if num_images + 1 > most:
        logging.info(
            "a prompt of %d images does not fit beside its answer: the oldest are dropped",
            num_images,
        )
    made = 0
    while made < num_new_images:
        now = max(1, min(num_new_images - made, most - history_RnT.shape[1]))
        prompt_RP = np.stack(
            [
                prompts.sequential(
                    row_nT,
                    vocabulary=model.vocabulary,
                    context=model.config.context,
                    num_new_images=now,
                    images_per_example=images_per_example,
                )
                for row_nT in history_RnT
            ]
        )
        last = made + now == num_new_images
        ids_RG = id_loop.generate_ids(
            model,
            prompt_RP,
            now * tokens_per_image,
            sampling,
            seed,
            candidates=candidates_R,
            first_position=made * tokens_per_image,
            batch_size=batch_size,
            progress=progress if last else None,
        )
        new_RMT = ids_RG.reshape(len(ids_RG), now, tokens_per_image)
        history_RnT = np.concatenate([history_RnT, new_RMT], axis=1)
        made += now
    shape = (num_prompts, num_candidates, num_new_images, tokens_per_image)
    return history_RnT[:, num_images:].reshape(shape)


def check_tokenizer(model: LanguageModel, tokenizer: Tokenizer) -> None:
    """Refuses a tokenizer whose ids mean something else to the model.

    Raises:
        ValueError: another number of codes, or another fingerprint than the model's training data.
    """
    if tokenizer.num_codes != model.vocabulary.num_codes:
        raise ValueError(
            f"the tokenizer has {tokenizer.num_codes} codes and the model "
            f"{model.vocabulary.num_codes}; use the tokenizer that the model was trained with"
        )
    known = model.tokenizer_fingerprint
    if known and known != tokenizer.fingerprint:
        raise ValueError(
            f"the tokenizer's fingerprint {tokenizer.fingerprint[:12]} is not the model's "
            f"{known[:12]}; use the tokenizer that the model was trained with"
        )


def _encode(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts_images: Sequence[Sequence[PromptImage] | np.ndarray],
    image_config: ImageConfig | None,
) -> list[np.ndarray]:
    """The ids of every prompt, int32 [n, T] each."""
    is_file = lambda image: isinstance(image, str | os.PathLike)
    if image_config is None and any(
        is_file(image) for prompt in prompts_images for image in prompt
    ):
        image_config = image_record.config_for(model.images, "the model")
    size, pixels = tokenizer.image_size, []
    loader = SquareLoader(image_config or ImageConfig(), size)
    for prompt in prompts_images:
        if len(prompt) == 0:
            raise ValueError("a prompt needs at least one image")
        for number, image in enumerate(prompt):
            if is_file(image):
                pixels.append(loader.load_file(image))
            else:
                pixels.append(_checked(np.asarray(image), number, size))
    ids = np.empty((len(pixels), tokenizer.tokens_per_image), np.int32)
    for dtype in {array.dtype for array in pixels}:
        which = [i for i, array in enumerate(pixels) if array.dtype == dtype]
        ids[which] = tokenizer.encode(np.stack([pixels[i] for i in which]))
    lengths = [len(prompt) for prompt in prompts_images]
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
