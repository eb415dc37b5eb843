"""Prompts of ids -> new ids, one prefill and one loop of cached steps under a single jit.

Legend: B rows of one device batch, R rows asked for, P prompt ids, G generated ids, V ids that may
be drawn (the codes).
"""

import functools
from collections.abc import Callable
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
