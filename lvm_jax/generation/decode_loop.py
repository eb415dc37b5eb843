"""Prompts of ids -> new ids: one jitted program of prefill and decode loop per shape.

Prompts of different lengths share a device batch: each is padded to the length of its bucket, which
its own length alone decides. The candidates of a prompt share its prefill and its cache.

What an answer depends on: the model, the prompt, the sampling, the seed and the number of the
candidate. Padding, other prompts in the batch and their order do not enter: among device batches of
one shape the same row is the same bit for bit. The shape (bucket, prompts, candidates, ids asked
for), the platform and the mesh decide in which order floating-point sums are taken, so that logits
differ there in their last bits; ids then differ only where two were tied to within that.

Legend: N prompts of a device batch, M groups of C candidates that are decoded at a time, L prompt
ids with padding, G generated ids, V ids that may be drawn (the codes).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lvm_jax.generation import device_batches
from lvm_jax.generation import sampling as sampling_lib
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.device_batches import Segment
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.model import cache, cached_steps, row_places, transformer
from lvm_jax.model.few_rows import WeightPrecision
from lvm_jax.model.row_places import ONE_DEVICE, RowPlaces
from lvm_jax.model.transformer_config import TransformerConfig


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


def continue_prompts(
    model: LanguageModel,
    prompts: Sequence[np.ndarray],
    num_ids: int,
    config: AnswerConfig,
    *,
    first_position: int = 0,
    candidates: np.ndarray | None = None,
    seeds: Sequence[int] | None = None,
    progress: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """Continues prompts of any lengths by exactly `num_ids` code ids each.

    Args:
        model, prompts, config, first_position, candidates, seeds: as for `stream_prompts`.
        num_ids: ids to generate per row: new images times tokens per image.
        progress: called with the number of rows (prompt x candidate) finished since the last call.

    Returns:
        int32 [number of prompts, number of candidates, num_ids].

    Raises:
        ValueError: as `stream_prompts`.
    """
    stream = stream_prompts(
        model,
        prompts,
        [num_ids],
        config,
        first_position=first_position,
        candidates=candidates,
        seeds=seeds,
    )
    num_candidates = config.num_candidates if candidates is None else np.shape(candidates)[1]
    ids = np.empty((len(prompts), num_candidates, num_ids), np.int32)
    for part in stream:
        ids[list(part.prompts)] = part.ids
        if progress is not None:
            progress(len(part.prompts) * num_candidates)
    return ids


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
        model: the model; it is computed with on its mesh.
        prompts: int [P] ids of each, BOS first if the model is framed with it.
        parts: ids of each part of an answer.
        config: gives sampling, batch size, precision, and by default candidates and seed.
        first_position: place of the first new id in a longer answer that is made in parts.
        candidates: int [number of prompts, C], their numbers: rows of one prompt with different
            numbers draw different answers; by default 0..num_candidates-1 for each prompt.
        seeds: of each prompt; by default the config's.

    Yields:
        Parts: those of one prompt in order, those of different prompts in any.

    Raises:
        ValueError: prompt and answer do not fit the model's context, or an id is out of range.
    """
    prompts = [np.asarray(prompt) for prompt in prompts]
    for prompt in prompts:
        _check(model, prompt, sum(parts))
    if candidates is None:
        candidates = np.tile(np.arange(config.num_candidates), (len(prompts), 1))
    seeds = [config.seed] * len(prompts) if seeds is None else seeds
    longest = model.config.context + 1 - sum(parts)
    for length, numbers in device_batches.by_bucket(prompts, model.vocabulary.bos, longest).items():
        shape = device_batches.shape(
            len(numbers),
            candidates.shape[1],
            config.batch_size,
            row_places.num_row_parts(model.mesh),
        )
        how = _How.of(
            model.config, config, RowPlaces(model.mesh, split_candidates=shape.splits_candidates)
        )
        for start in range(0, len(numbers), shape.prompts):
            taken = numbers[start : start + shape.prompts]
            batch = device_batches.fill(
                shape,
                length,
                [prompts[number] for number in taken],
                candidates[taken],
                [seeds[number] for number in taken],
            )
            for index, ids in enumerate(_streamed(model, how, batch, first_position, parts)):
                yield Part(prompts=taken, index=index, ids=shape.rows(ids, len(taken)))


def _check(model: LanguageModel, prompt: np.ndarray, num_ids: int) -> None:
    if prompt.ndim != 1 or not len(prompt):
        raise ValueError(f"a prompt must be ids [P], at least one, not {prompt.shape}")
    # The last id is drawn and never goes through the model.
    if len(prompt) + num_ids - 1 > model.config.context:
        raise ValueError(
            f"a prompt of {len(prompt)} ids and an answer of {num_ids} do not fit the "
            f"model's context of {model.config.context}; use fewer prompt images or new images"
        )
    if prompt.min() < 0 or prompt.max() >= model.vocabulary.size:
        raise ValueError(
            f"prompt ids {prompt.min()}..{prompt.max()} must lie in 0..{model.vocabulary.size - 1}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _How:
    """All that a program is compiled for, beside shapes.

    Attributes:
        config: of the model.
        sampling: how ids are drawn.
        weights: precision of the matrices in the loop.
        cache: dtype of the cache.
        places: where everything lies.
    """

    config: TransformerConfig
    sampling: SamplingConfig
    weights: WeightPrecision
    cache: str
    places: RowPlaces

    @classmethod
    def of(cls, model: TransformerConfig, asked: AnswerConfig, places: RowPlaces) -> "_How":
        """For a model of these sizes and what is asked of it."""
        return cls(
            config=model,
            sampling=asked.sampling,
            weights=asked.weights,
            cache=model.dtype if asked.cache == "compute" else asked.cache,
            places=places,
        )


def memory_needed(
    model: TransformerConfig,
    config: AnswerConfig,
    prompt_length: int,
    num_ids: int,
    num_prompts: int = 1,
) -> int:
    """Bytes that a device batch takes, parameters included, as its program is compiled.

    Args:
        model: sizes of the model, whose parameters are float32 on one device.
        config: gives candidates, batch size and precision.
        prompt_length: ids of each prompt.
        num_ids: ids to generate per row.
        num_prompts: of the batch.
    """
    shape = device_batches.shape(num_prompts, config.num_candidates, config.batch_size, 1)
    numbers = np.arange(config.num_candidates)[None]
    prompt = np.zeros(prompt_length, np.int32)
    batch = device_batches.fill(shape, prompt_length, [prompt], numbers, [0])
    program = _begin.lower(
        transformer.abstract_params(model),
        batch,
        jnp.int32(0),
        how=_How.of(model, config, ONE_DEVICE),
        segments=device_batches.segments(0, num_ids - 1, num_ids - 1),
        goes_on=False,
    )
    memory = program.compile().memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes


def _streamed(
    model: LanguageModel,
    how: _How,
    batch: device_batches.Batch,
    first_position: int,
    parts: Sequence[int],
) -> Iterator[np.ndarray]:
    """Yields int32 [M, N, C, G] for each part."""
    # The last id of all is drawn and never goes through the model.
    total, made = sum(parts) - 1, parts[0]
    going, ids = _begin(
        model.params,
        batch,
        jnp.int32(first_position),
        how=how,
        segments=device_batches.segments(0, made - 1, total),
        goes_on=len(parts) > 1,
    )
    yield np.asarray(ids)
    for num_ids in parts[1:]:
        weights, prompts, states = going
        states, ids = _go_on(
            weights,
            prompts,
            states,
            batch,
            jnp.int32(first_position + made),
            how=how,
            segments=device_batches.segments(made - 1, made - 1 + num_ids, total),
        )
        going, made = (weights, prompts, states), made + num_ids
        yield np.asarray(ids)


@functools.partial(jax.jit, static_argnames=("how", "segments", "goes_on"))
def _begin(
    params: Any,
    batch: device_batches.Batch,
    position: jax.Array,
    *,
    how: _How,
    segments: tuple[Segment, ...],
    goes_on: bool,
) -> tuple[Any, jax.Array]:
    """Prefill and the first ids, [M, N, C, G]; and what goes on, where something does."""
    N, C = batch.candidates.shape[1:]
    logits_NV, prompts = cached_steps.prefill(
        how.config,
        params,
        batch.ids,
        batch.lengths,
        dtype=how.cache,
        places=how.places,
    )
    weights = cached_steps.decode_weights(
        how.config, params, N * C, precision=how.weights, places=how.places
    )

    def group(candidates_NC: jax.Array) -> tuple[Any, jax.Array]:
        draw = _draw(how, batch, candidates_NC)
        first_NC = draw(jnp.repeat(logits_NV[:, None], C, axis=1), position)
        own = cache.empty(how.config, N * C, how.cache)
        state = first_NC, own
        state, rest_NCG = _steps(how, weights, prompts, state, draw, position + 1, segments)
        return state, jnp.concatenate([first_NC[..., None], rest_NCG], axis=-1)

    states, ids_MNCG = jax.lax.map(group, batch.candidates)
    return (weights, prompts, states) if goes_on else None, ids_MNCG


@functools.partial(jax.jit, static_argnames=("how", "segments"))
def _go_on(
    weights: cached_steps.Weights,
    prompts: cache.Prompts,
    states: Any,
    batch: device_batches.Batch,
    position: jax.Array,
    *,
    how: _How,
    segments: tuple[Segment, ...],
) -> tuple[Any, jax.Array]:
    """More ids, [M, N, C, G], and the states that go on."""

    def group(given: Any) -> tuple[Any, jax.Array]:
        candidates_NC, state = given
        draw = _draw(how, batch, candidates_NC)
        return _steps(how, weights, prompts, state, draw, position, segments)

    return jax.lax.map(group, (batch.candidates, states))


Draw = Callable[[jax.Array, jax.Array], jax.Array]
"""Logits [N, C, V or more] and the new id's place in the answer -> ids [N, C]."""


def _draw(how: _How, batch: device_batches.Batch, candidates_NC: jax.Array) -> Draw:
    keys_R = jax.vmap(sampling_lib.row_keys)(batch.seeds, candidates_NC).reshape(-1)

    def draw(logits_NCV: jax.Array, position: jax.Array) -> jax.Array:
        # Cutting the special and padded ids off is what keeps them from ever being drawn.
        codes_NCV = logits_NCV[..., : how.config.vocabulary.num_codes].astype(jnp.float32)
        codes_RV = codes_NCV.reshape(math.prod(candidates_NC.shape), -1)
        ids_R = sampling_lib.sample(codes_RV, keys_R, position, how.sampling)
        return ids_R.reshape(candidates_NC.shape)

    return draw


def _steps(
    how: _How,
    weights: cached_steps.Weights,
    prompts: cache.Prompts,
    state: tuple[jax.Array, cache.Own],
    draw: Draw,
    position: jax.Array,
    segments: tuple[Segment, ...],
) -> tuple[Any, jax.Array]:
    """One id after another; a loop for every segment, which reads what it has room for."""
    last_NC, own = state
    made = [jnp.zeros((*last_NC.shape, 0), jnp.int32)]

    def step(state: tuple[jax.Array, cache.Own], position: jax.Array) -> Any:
        last_NC, own = state
        logits_NCV, own = cached_steps.decode_step(
            how.config, weights, last_NC, prompts, own, places=how.places
        )
        last_NC = draw(logits_NCV, position)
        return (last_NC, own), last_NC

    for segment in segments:
        state = last_NC, cache.with_room(own, segment.room)
        positions = position + jnp.arange(segment.num_steps)
        (last_NC, own), ids_SNC = jax.lax.scan(step, state, positions)
        made.append(jnp.moveaxis(ids_SNC, 0, -1))
        position += segment.num_steps
    return (last_NC, own), jnp.concatenate(made, axis=-1)
