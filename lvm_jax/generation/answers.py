"""Prompt images -> new images: tokenize, continue, decode.

Three layers: `generate` is the public face, `answer_prompts` takes images to images and
`answer_ids` ids to ids; below it `decode_loop` continues one device batch.

Legend: N prompts, n images of a prompt, C candidates, R = N * C rows, M new images, T ids per
image, P ids of a window, G new ids of it, S side of an image in pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from lvm_jax.generation import decode_loop, prompts, rows
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.prompt_images import PromptImages, encode_prompts
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.images import ImageConfig
from lvm_jax.tokenizer.codec import Tokenizer


def generate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt_images: PromptImages,
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
    config = AnswerConfig(
        num_new_images=num_new_images,
        num_candidates=num_candidates,
        seed=seed,
        sampling=SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p),
        images_per_example=images_per_example,
        batch_size=batch_size,
    )
    (answers_CM,) = answer_prompts(
        model, tokenizer, [prompt_images], config, image_config=image_config
    )
    return answers_CM


def answer_prompts(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts_images: Sequence[PromptImages],
    config: AnswerConfig,
    *,
    image_config: ImageConfig | None = None,
    progress: Callable[[int], Any] | None = None,
) -> list[np.ndarray]:
    """`generate` for several prompts, which may differ in length; each answered as if alone.

    Args:
        model, tokenizer, image_config: as for `generate`.
        prompts_images: the images of each prompt.
        config: what is asked of each.
        progress: called with the number of rows (prompt x candidate) finished since the last call.

    Returns:
        One float32 [num_candidates, num_new_images, S, S, 3] per prompt, in order.
    """
    model.check_tokenizer(tokenizer)
    prompts_ids = encode_prompts(model, tokenizer, prompts_images, image_config)
    ids_NCMT = np.asarray(answer_ids(model, prompts_ids, config, progress=progress), np.int32)
    decoded = np.asarray(tokenizer.decode(ids_NCMT.reshape(-1, tokenizer.tokens_per_image)))
    shape = (config.num_candidates, config.num_new_images, *decoded.shape[1:])
    return list(decoded.reshape(len(prompts_ids), *shape))


def answer_ids(
    model: LanguageModel,
    prompts_ids: Sequence[np.ndarray],
    config: AnswerConfig,
    *,
    progress: Callable[[int], Any] | None = None,
) -> list[np.ndarray]:
    """Tokenized prompts -> tokenized answers.

    While the context has room, new images are made in one go; after that one at a time, each with
    as many of the images before it as fit (LVM's way with long videos).

    Args:
        model: the model.
        prompts_ids: int code ids [n, T] of each prompt.
        config: what is asked of each.
        progress: called with the number of rows (prompt x candidate) finished since the last call.

    Returns:
        int32 [C, M, T] for each prompt.

    Raises:
        ValueError: a prompt without images, one that the context has no room for, or an id out of
            range.
    """

    def answer(prompts_NnT: np.ndarray) -> np.ndarray:
        return _answer_one_length(model, prompts_NnT, config, progress)

    return rows.in_groups_of_one_shape(answer, prompts_ids)


def _answer_one_length(
    model: LanguageModel,
    prompts_NnT: np.ndarray,
    config: AnswerConfig,
    progress: Callable[[int], Any] | None,
) -> np.ndarray:
    """`answer_ids` for prompts that have as many images each: int32 [N, C, M, T]."""
    num_prompts, num_images, tokens_per_image = prompts_NnT.shape
    context = model.config.context
    if num_images + 1 > context // tokens_per_image:
        logging.info(
            "a prompt of %d images does not fit beside its answer: the oldest are dropped",
            num_images,
        )
    history_RnT = np.repeat(prompts_NnT.astype(np.int32), config.num_candidates, axis=0)
    candidates_R = np.tile(np.arange(config.num_candidates, dtype=np.int32), num_prompts)
    made = 0
    while made < config.num_new_images:
        now = prompts.new_images_at_once(
            context, tokens_per_image, num_images + made, config.num_new_images - made
        )
        window_RP = prompts.sequential(
            history_RnT,
            vocabulary=model.vocabulary,
            framing=model.framing,
            context=context,
            num_new_images=now,
            images_per_example=config.images_per_example,
        )
        ids_RG = decode_loop.continue_rows(
            model,
            window_RP,
            now * tokens_per_image,
            config,
            candidates_R=candidates_R,
            first_position=made * tokens_per_image,
            progress=progress if made + now == config.num_new_images else None,
        )
        new_RMT = ids_RG.reshape(len(ids_RG), now, tokens_per_image)
        history_RnT = np.concatenate([history_RnT, new_RMT], axis=1)
        made += now
    shape = (num_prompts, config.num_candidates, config.num_new_images, tokens_per_image)
    return history_RnT[:, num_images:].reshape(shape)
