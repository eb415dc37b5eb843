"""Prompt images -> new images, as they are made: tokenize, continue, decode.

`answer_stream` yields image by image and `id_stream` below it ids; `generate`, `answer_prompts` and
`answer_ids` collect what these yield. Under them `decode_loop` continues device batches.

While the context has room, new images go on with one cache. After that the window slides by one
frame a new image: the kept frames get the positions that they would have if the sentence began with
the oldest of them (BOS in front if the model is framed with it), so that a new image is what the
model draws when it is asked with these frames alone. What was computed for their former positions
is of no use then, and the window is computed anew.

Legend: N prompts, n images of a prompt, C candidates, R = N * C rows, M new images, T ids per
image, S side of an image in pixels.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lvm_jax.generation import decode_loop, memory, prompts
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.prompt_images import PromptImages, encode_prompts
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.images import ImageConfig
from lvm_jax.tokenizer.codec import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NewImages:
    """One new image of a prompt, as every candidate has it.

    Attributes:
        prompt: number of the prompt.
        index: of the new image, from 0.
        images: float32 [C, S, S, 3] in [0, 1].
    """

    prompt: int
    index: int
    images: np.ndarray


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
    seeds: Sequence[int] | None = None,
    progress: Callable[[int], Any] | None = None,
) -> list[np.ndarray]:
    """Tokenized prompts -> tokenized answers.

    Args:
        model: the model.
        prompts_ids: int code ids [n, T] of each prompt.
        config: what is asked of each.
        seeds: of each prompt; by default the config's.
        progress: called with the number of rows (prompt x candidate) finished since the last call.

    Returns:
        int32 [C, M, T] for each prompt.

    Raises:
        ValueError: as `id_stream`.
    """
    made: list[list[np.ndarray]] = [[] for _ in prompts_ids]
    for part in id_stream(model, prompts_ids, config, seeds=seeds):
        for number, ids_CT in zip(part.prompts, part.ids):
            made[number].append(ids_CT)
        if progress is not None and part.index == config.num_new_images - 1:
            progress(len(part.prompts) * config.num_candidates)
    return [np.stack(ids_MCT, axis=1) for ids_MCT in made]


def answer_stream(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts_images: Sequence[PromptImages],
    config: AnswerConfig,
    *,
    image_config: ImageConfig | None = None,
    seeds: Sequence[int] | None = None,
) -> Iterator[NewImages]:
    """The new images of `answer_prompts`, each as soon as all candidates have it.

    Prompts are checked and tokenized before this returns. Closing the iterator stops the drawing.

    Args:
        model, tokenizer, prompts_images, image_config: as for `answer_prompts`.
        config: what is asked of each.
        seeds: of each prompt; by default the config's.

    Yields:
        Those of one prompt in order, those of different prompts in any.

    Raises:
        ValueError: as `generate`, and as `id_stream`.
        RuntimeError: there is not enough memory; says what to lower.
    """
    model.check_tokenizer(tokenizer)
    prompts_ids = encode_prompts(model, tokenizer, prompts_images, image_config)
    return _decoded(tokenizer, id_stream(model, prompts_ids, config, seeds=seeds), config)


def _decoded(
    tokenizer: Tokenizer, parts: Iterator[decode_loop.Part], config: AnswerConfig
) -> Iterator[NewImages]:
    for part in parts:
        with memory.explained(config):
            decoded = np.asarray(tokenizer.decode(part.ids.reshape(-1, part.ids.shape[-1])))
        images_nC = decoded.reshape(*part.ids.shape[:2], *decoded.shape[1:])
        for number, images in zip(part.prompts, images_nC):
            yield NewImages(prompt=number, index=part.index, images=images)


def id_stream(
    model: LanguageModel,
    prompts_ids: Sequence[np.ndarray],
    config: AnswerConfig,
    *,
    seeds: Sequence[int] | None = None,
    first_candidate: int = 0,
) -> Iterator[decode_loop.Part]:
    """The ids of new images, a part for each, as they are made.

    Args:
        model: the model.
        prompts_ids: int code ids [n, T] of each prompt.
        config: what is asked of each.
        seeds: of each prompt; by default the config's.
        first_candidate: number of the first one drawn; several calls may share the candidates.

    Yields:
        Parts of T ids; those of one prompt in order, those of different prompts in any.

    Raises:
        ValueError: a prompt without images, one that the context has no room for, or an id out of
            range.
        RuntimeError: there is not enough memory; says what to lower.
    """
    seeds = [config.seed] * len(prompts_ids) if seeds is None else seeds
    assert len(seeds) == len(prompts_ids), (len(seeds), len(prompts_ids))
    groups: dict[int, list[int]] = {}
    for number, ids_nT in enumerate(prompts_ids):
        num_images, tokens_per_image = np.shape(ids_nT)
        prompts.check_room(model.config.context, tokens_per_image, num_images, config)
        now = prompts.new_images_at_once(
            model.config.context, tokens_per_image, num_images, config.num_new_images
        )
        groups.setdefault(now, []).append(number)
    candidates = first_candidate + np.arange(config.num_candidates)
    return _grouped(model, prompts_ids, config, seeds, groups, candidates)


def _grouped(
    model: LanguageModel,
    prompts_ids: Sequence[np.ndarray],
    config: AnswerConfig,
    seeds: Sequence[int],
    groups: dict[int, list[int]],
    candidates_C: np.ndarray,
) -> Iterator[decode_loop.Part]:
    """`id_stream` for prompts by how many of their new images are made with one cache."""
    with memory.explained(config):
        for now, members in groups.items():
            # Where the window slides, a few prompts are finished before others begin.
            slides = now < config.num_new_images
            size = max(1, config.batch_size // config.num_candidates) if slides else len(members)
            for start in range(0, len(members), size):
                numbers = members[start : start + size]
                answer = _Answer(
                    model, [prompts_ids[number] for number in numbers], config, candidates_C
                )
                for part in answer.parts(now, [seeds[number] for number in numbers]):
                    yield dataclasses.replace(part, prompts=[numbers[i] for i in part.prompts])


class _Answer:
    """Prompts that make as many of their new images with one cache."""

    def __init__(
        self,
        model: LanguageModel,
        prompts_ids: Sequence[np.ndarray],
        config: AnswerConfig,
        candidates_C: np.ndarray,
    ):
        self._model, self._config, self._prompts = model, config, prompts_ids
        self._candidates = candidates_C  # their numbers
        repeated = lambda ids_nT: [np.asarray(ids_nT, np.int32)] * config.num_candidates
        # What each candidate has seen and drawn, [N][C][n, T].
        self._histories = [repeated(ids_nT) for ids_nT in prompts_ids]

    def parts(self, now: int, seeds: Sequence[int]) -> Iterator[decode_loop.Part]:
        """All new images; `now` of them with one cache, the others each with its own window."""
        tokens_per_image = self._prompts[0].shape[1]
        windows = [self._window(ids_nT, now) for ids_nT in self._prompts]
        stream = decode_loop.stream_prompts(
            self._model,
            windows,
            [tokens_per_image] * now,
            self._config,
            candidates=np.tile(self._candidates, (len(windows), 1)),
            seeds=seeds,
        )
        for part in stream:
            self._remember(part)
            yield part
        for index in range(now, self._config.num_new_images):
            part = self._next(index, seeds)
            self._remember(part)
            yield part

    def _next(self, index: int, seeds: Sequence[int]) -> decode_loop.Part:
        """A new image of every row, from the images before it that leave it room."""
        num_candidates, tokens_per_image = self._config.num_candidates, self._prompts[0].shape[1]
        windows = [self._window(ids, 1) for history in self._histories for ids in history]
        stream = decode_loop.stream_prompts(
            self._model,
            windows,
            [tokens_per_image],
            self._config,
            first_position=index * tokens_per_image,
            candidates=np.tile(self._candidates, len(self._prompts))[:, None],
            seeds=np.repeat(seeds, num_candidates).tolist(),
        )
        ids_RT = np.empty((len(windows), tokens_per_image), np.int32)
        for part in stream:
            ids_RT[list(part.prompts)] = part.ids[:, 0]
        ids_NCT = ids_RT.reshape(len(self._prompts), num_candidates, tokens_per_image)
        return decode_loop.Part(prompts=range(len(self._prompts)), index=index, ids=ids_NCT)

    def _window(self, ids_nT: np.ndarray, num_new_images: int) -> np.ndarray:
        return prompts.sequential(
            ids_nT,
            vocabulary=self._model.vocabulary,
            framing=self._model.framing,
            context=self._model.config.context,
            num_new_images=num_new_images,
            images_per_example=self._config.images_per_example,
        )

    def _remember(self, part: decode_loop.Part) -> None:
        for number, ids_CT in zip(part.prompts, part.ids):
            for candidate, ids_T in enumerate(ids_CT):
                seen = self._histories[number][candidate]
                self._histories[number][candidate] = np.concatenate([seen, ids_T[None]])
