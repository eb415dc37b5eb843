"""Prompts of ids -> new ids, one prefill and one loop of cached steps under a single jit.

Legend: B rows of one device batch, N rows asked for, P prompt ids, G generated ids, V ids that may
be drawn (the codes).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lvm_jax.generation import sampling as sampling_lib
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.model import cache as cache_lib
from lvm_jax.model import cached_steps
from lvm_jax.model.transformer_config import TransformerConfig


def generate_ids(
    model: LanguageModel,
    prompt_ids: np.ndarray,
    num_ids: int,
    sampling: SamplingConfig | None = None,
    seed: int = 0,
    *,
    candidates: np.ndarray | None = None,
    first_position: int = 0,
    batch_size: int = 8,
    progress: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """Continues prompts by exactly `num_ids` code ids each.

    Rows are decoded in groups of exactly `batch_size`, the last one filled up, and each row draws
    from its own random stream; so a row's answer depends on its prompt, the sampling, the seed and
    its candidate number, and not on what else was asked.

    Args:
        model: the model.
        prompt_ids: int [N, P], all of one length; BOS first.
        num_ids: ids to generate per row: new images times tokens per image.
        sampling: how ids are drawn; None is plain sampling at temperature 1.
        seed: of the random streams.
        candidates: int [N]; rows of one prompt with different numbers draw different answers;
            None is all 0.
        first_position: place of the first new id in a longer answer that is made in parts.
        batch_size: rows decoded at a time.
        progress: called with the number of rows finished since the last call.

    Returns:
        int32 [N, num_ids], code ids.

    Raises:
        ValueError: prompt and answer do not fit the model's context, or an id is out of range.
    """
    sampling = sampling or SamplingConfig()
    prompt_NP = np.asarray(prompt_ids, np.int32)
    candidates_N = np.zeros(len(prompt_NP), np.int32) if candidates is None else candidates
    candidates_N = np.asarray(candidates_N, np.int32)
    _check(model, prompt_NP, candidates_N, num_ids, batch_size)

    def decode(rows_B: np.ndarray) -> jax.Array:
        return _decode(
            model.params,
            prompt_NP[rows_B],
            candidates_N[rows_B],
            jnp.uint32(seed),
            jnp.int32(first_position),
            config=model.config,
            num_codes=model.vocabulary.num_codes,
            num_ids=num_ids,
            sampling=sampling,
        )

    return in_batches(decode, len(prompt_NP), batch_size, progress)


def in_batches(
    compute: Callable[[np.ndarray], jax.Array],
    num_rows: int,
    batch_size: int,
    progress: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """Computes rows in batches of one size: one compilation, and rows that ignore the others.

    Args:
        compute: int [batch_size] numbers of rows -> array [batch_size, ...]; the last batch repeats
            its own rows.
        num_rows: at least 1.
        batch_size: rows at a time.
        progress: called with the number of rows finished since the last call.

    Returns:
        [num_rows, ...], in order.
    """
    found = []
    for start in range(0, num_rows, batch_size):
        rows = np.arange(start, min(start + batch_size, num_rows))
        found.append(np.asarray(compute(np.resize(rows, batch_size)))[: len(rows)])
        if progress is not None:
            progress(len(rows))
    return np.concatenate(found)


def _check(
    model: LanguageModel,
    prompt_NP: np.ndarray,
    candidates_N: np.ndarray,
    num_ids: int,
    batch_size: int,
) -> None:
    if prompt_NP.ndim != 2 or 0 in prompt_NP.shape:
        raise ValueError(f"prompts must be ids [N, P] with at least one id, not {prompt_NP.shape}")
    if candidates_N.shape != prompt_NP.shape[:1]:
        raise ValueError(f"{len(prompt_NP)} prompts need as many candidate numbers")
    if num_ids < 1 or batch_size < 1:
        raise ValueError(f"num_ids={num_ids} and batch_size={batch_size} must be positive")
    # The last id is drawn and never goes through the model.
    length = prompt_NP.shape[1] + num_ids - 1
    if length > model.config.context:
        raise ValueError(
            f"a prompt of {prompt_NP.shape[1]} ids and an answer of {num_ids} do not fit the "
            f"model's context of {model.config.context}; use fewer prompt images or new images"
        )
    if prompt_NP.min() < 0 or prompt_NP.max() >= model.vocabulary.size:
        raise ValueError(
            f"prompt ids {prompt_NP.min()}..{prompt_NP.max()} must lie in "
            f"0..{model.vocabulary.size - 1}"
        )


@functools.partial(jax.jit, static_argnames=("config", "num_codes", "num_ids", "sampling"))
def _decode(
    params: Any,
    prompt_BP: jax.Array,
    candidates_B: jax.Array,
    seed: jax.Array,
    first_position: jax.Array,
    *,
    config: TransformerConfig,
    num_codes: int,
    num_ids: int,
    sampling: SamplingConfig,
) -> jax.Array:
    """Prefill, then num_ids - 1 cached steps; int32 [B, num_ids]."""
    batch, prompt_length = prompt_BP.shape
    keys_B = sampling_lib.row_keys(seed, candidates_B)

    def draw(logits_BV, position):
        # Cutting the special and padded ids off is what keeps them from ever being drawn.
        codes_BV = logits_BV[:, :num_codes].astype(jnp.float32)
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
