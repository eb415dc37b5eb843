"""Prompts of ids -> new ids, one prefill and one loop of cached steps under a single jit.

Legend: B rows of one device batch, R rows asked for, N prompts, C candidates, P prompt ids, G
generated ids, V ids that may be drawn (the codes).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lvm_jax.generation import rows
from lvm_jax.generation import sampling as sampling_lib
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.model import cache as cache_lib
from lvm_jax.model import cached_steps
from lvm_jax.model.transformer_config import TransformerConfig


def continue_rows(
    model: LanguageModel,
    prompt_RP: np.ndarray,
    num_ids: int,
    config: AnswerConfig,
    *,
    candidates_R: np.ndarray | None = None,
    first_position: int = 0,
    progress: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """Continues prompts of one length by exactly `num_ids` code ids each.

    Rows are decoded in groups of exactly `config.batch_size`, the last one filled up, and each row
    draws from its own random stream; so a row's answer depends on its prompt, the sampling, the
    seed and its candidate number, and not on what else was asked.

    Args:
        model: the model.
        prompt_RP: int [R, P], BOS first.
        num_ids: ids to generate per row: new images times tokens per image.
        config: gives sampling, seed and batch size.
        candidates_R: int [R]; rows of one prompt with different numbers draw different answers;
            None is all 0.
        first_position: place of the first new id in a longer answer that is made in parts.
        progress: called with the number of rows finished since the last call.

    Returns:
        int32 [R, num_ids], code ids.

    Raises:
        ValueError: prompt and answer do not fit the model's context, or an id is out of range.
    """
    prompt_RP = np.asarray(prompt_RP, np.int32)
    _check(model, prompt_RP, num_ids)
    if candidates_R is None:
        candidates_R = np.zeros(len(prompt_RP))
    candidates_R = np.asarray(candidates_R, np.int32)
    assert candidates_R.shape == prompt_RP.shape[:1], (candidates_R.shape, prompt_RP.shape)

    def decode(rows_B: np.ndarray) -> jax.Array:
        return _decode(
            model.params,
            prompt_RP[rows_B],
            candidates_R[rows_B],
            jnp.uint32(config.seed),
            jnp.int32(first_position),
            config=model.config,
            num_ids=num_ids,
            sampling=config.sampling,
        )

    return rows.in_batches_of_one_size(decode, len(prompt_RP), config.batch_size, progress)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """New ids of some prompts, of all their candidates.

    Attributes:
        prompts: numbers of the prompts, n of them.
        index: which part of the answer.
        ids: int32 [n, C, parts[index]].
    """

    prompts: Sequence[int]
    index: int
    ids: np.ndarray


def stream_prompts(
    model: LanguageModel,
    prompts: Sequence[np.ndarray],
    parts: Sequence[int],
    config: AnswerConfig,
    *,
    first_position: int = 0,
    candidates: np.ndarray | None = None,
    seeds: Sequence[int] | None = None,
) -> Iterator[Part]:
    """Continues prompts of any lengths; their new ids come part by part, as they are made.

    A prompt is prefilled once for all its parts, which go on with one cache: the same ids as in one
    go. Whoever closes the iterator stops the computing.

    Args:
        model: the model.
        prompts: int [P] ids of each, BOS first if the model is framed with it.
        parts: ids of each part of an answer.
        config: gives sampling, batch size, and by default candidates and seed.
        first_position: place of the first new id in a longer answer that is made in parts.
        candidates: int [N, C], their numbers; by default 0..num_candidates-1 for each prompt.
        seeds: of each prompt; by default the config's.

    Yields:
        Parts: those of one prompt in order, those of different prompts in any.

    Raises:
        ValueError: prompt and answer do not fit the model's context, or an id is out of range.
    """
    if candidates is None:
        candidates = np.tile(np.arange(config.num_candidates), (len(prompts), 1))
    seeds = [config.seed] * len(prompts) if seeds is None else seeds
    per_batch = max(1, config.batch_size // candidates.shape[1])
    by_length: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(number)
    for members in by_length.values():
        _check(model, np.stack([prompts[number] for number in members]), sum(parts))
    for members in by_length.values():
        for start in range(0, len(members), per_batch):
            numbers = members[start : start + per_batch]
            streams = _batch_streams(
                model, prompts, numbers, candidates, seeds, parts, config, first_position
            )
            *done, last = streams
            earlier = [list(stream) for stream in done]
            for index, ids in enumerate(last):
                made = np.concatenate([*(batch[index] for batch in earlier), ids])
                made = made.reshape(len(numbers), -1, parts[index])
                yield Part(prompts=numbers, index=index, ids=made)


def _batch_streams(
    model: LanguageModel,
    prompts: Sequence[np.ndarray],
    numbers: Sequence[int],
    candidates: np.ndarray,
    seeds: Sequence[int],
    parts: Sequence[int],
    config: AnswerConfig,
    first_position: int,
) -> list[Iterator[np.ndarray]]:
    """Rows of some prompts in batches of one size; each yields int32 [rows, G] for each part."""
    prompt_RP = np.repeat(
        np.stack([prompts[n] for n in numbers]).astype(np.int32), candidates.shape[1], axis=0
    )
    seeds_R = np.repeat(np.array([seeds[n] for n in numbers], np.uint32), candidates.shape[1])
    candidates_R = np.concatenate([candidates[n] for n in numbers]).astype(np.int32)

    def stream(rows: np.ndarray) -> Iterator[np.ndarray]:
        rows_B = np.resize(rows, config.batch_size)
        length = prompt_RP.shape[1] + sum(parts) - 1
        state, weights = _begin(model.params, prompt_RP[rows_B], config=model.config, length=length)
        position = first_position
        for num_ids in parts:
            state, ids_BG = _go_on(
                weights,
                state,
                (seeds_R[rows_B], candidates_R[rows_B], jnp.int32(position)),
                config=model.config,
                num_ids=num_ids,
                sampling=config.sampling,
            )
            position += num_ids
            yield np.asarray(ids_BG)[: len(rows)]

    every = np.arange(len(prompt_RP))
    return [
        stream(every[start : start + config.batch_size])
        for start in range(0, len(every), config.batch_size)
    ]


@functools.partial(jax.jit, static_argnames=("config", "length"))
def _begin(params: Any, prompt_BP: jax.Array, *, config: TransformerConfig, length: int) -> Any:
    cache = cache_lib.init_cache(config, len(prompt_BP), length)
    state = cached_steps.prefill(config, params, prompt_BP, cache)
    return state, cached_steps.decode_weights(config, params)


@functools.partial(
    jax.jit, static_argnames=("config", "num_ids", "sampling"), donate_argnames="state"
)
def _go_on(
    weights: Any,
    state: Any,
    stream: tuple[jax.Array, jax.Array, jax.Array],
    *,
    config: TransformerConfig,
    num_ids: int,
    sampling: SamplingConfig,
) -> Any:
    seeds_B, candidates_B, first_position = stream
    keys_B = jax.vmap(lambda seed, c: sampling_lib.row_keys(seed, c[None])[0])(
        seeds_B, candidates_B
    )

    def step(carry, position):
        logits_BV, cache = carry
        codes_BV = logits_BV[:, : config.vocabulary.num_codes].astype(jnp.float32)
        ids_B = sampling_lib.sample(codes_BV, keys_B, first_position + position, sampling)
        # What follows the last id of all is not wanted, and what it writes is not read.
        return cached_steps.decode_step(config, weights, ids_B, cache), ids_B

    state, ids_GB = jax.lax.scan(step, state, jnp.arange(num_ids))
    return state, ids_GB.T


def _check(model: LanguageModel, prompt_RP: np.ndarray, num_ids: int) -> None:
    if prompt_RP.ndim != 2 or 0 in prompt_RP.shape:
        raise ValueError(f"prompts must be ids [R, P] with at least one id, not {prompt_RP.shape}")
    # The last id is drawn and never goes through the model.
    length = prompt_RP.shape[1] + num_ids - 1
    if length > model.config.context:
        raise ValueError(
            f"a prompt of {prompt_RP.shape[1]} ids and an answer of {num_ids} do not fit the "
            f"model's context of {model.config.context}; use fewer prompt images or new images"
        )
    if prompt_RP.min() < 0 or prompt_RP.max() >= model.vocabulary.size:
        raise ValueError(
            f"prompt ids {prompt_RP.min()}..{prompt_RP.max()} must lie in "
            f"0..{model.vocabulary.size - 1}"
        )


@functools.partial(jax.jit, static_argnames=("config", "num_ids", "sampling"))
def _decode(
    params: Any,
    prompt_BP: jax.Array,
    candidates_B: jax.Array,
    seed: jax.Array,
    first_position: jax.Array,
    *,
    config: TransformerConfig,
    num_ids: int,
    sampling: SamplingConfig,
) -> jax.Array:
    """Prefill, then num_ids - 1 cached steps; int32 [B, num_ids]."""
    batch, prompt_length = prompt_BP.shape
    keys_B = sampling_lib.row_keys(seed, candidates_B)

    def draw(logits_BV: jax.Array, position: jax.Array | int) -> jax.Array:
        # Cutting the special and padded ids off is what keeps them from ever being drawn.
        codes_BV = logits_BV[:, : config.vocabulary.num_codes].astype(jnp.float32)
        return sampling_lib.sample(codes_BV, keys_B, first_position + position, sampling)

    def step(carry, position):
        ids_B, cache = carry
        logits_BV, cache = cached_steps.decode_step(config, weights, ids_B, cache)
        ids_B = draw(logits_BV, position)
        return (ids_B, cache), ids_B

    cache = cache_lib.init_cache(config, batch, prompt_length + num_ids - 1)
    logits_BV, cache = cached_steps.prefill(config, params, prompt_BP, cache)
    weights = cached_steps.decode_weights(config, params)
    first_B = draw(logits_BV, 0)
    _, rest_GB = jax.lax.scan(step, (first_B, cache), jnp.arange(1, num_ids))
    return jnp.concatenate([first_B[:, None], rest_GB.T], axis=1)
