"""Keeping a codebook alive and measuring how much of it is used, step by step.

Letters: K codes, D code dimension, N vectors of a batch.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lvm_jax.measures import codes
from lvm_jax.tokenizer import quantizer
from lvm_jax.tokenizer.vqgan_config import VQGANConfig
from lvm_jax.training.vqgan.adversarial_config import AdversarialConfig

State = dict[str, Any]
"""idle: int32 [K], steps since each code was last chosen, counted from the second step on; recent:
float32 [K], how often it was lately chosen; moving: {"counts", "sums"} of an EMA codebook."""


def init(model: VQGANConfig, training: AdversarialConfig) -> State:
    """The bookkeeping before the first step."""
    state: State = {
        "idle": jnp.zeros(model.num_codes, jnp.int32),
        "recent": jnp.zeros(model.num_codes),
    }
    if training.codebook == "ema":
        state["moving"] = {
            "counts": jnp.zeros(model.num_codes),
            "sums": jnp.zeros((model.num_codes, model.code_dim)),
        }
    return state


def update(
    training: AdversarialConfig,
    state: State,
    codebook_KD: Array,
    z_ND: Array,
    ids_N: Array,
    *,
    step: Array,
    key: Array,
) -> tuple[State, Array, Array]:
    """The bookkeeping and the codes after a step.

    Args:
        training: how codes move.
        state: see `State`.
        codebook_KD: codes, already moved by the optimizer if it moves them.
        z_ND, ids_N: encoder outputs of the batch and the codes they chose.
        step: int32, updates made before this one.
        key: random, of this step.

    Returns:
        (new state, codes, bool [K]: which of them jumped onto an encoder output).
    """
    num_codes = codebook_KD.shape[0]
    counts_K = codes.histogram(ids_N, num_codes)
    # What the first step chose says nothing: all codes lay close together.
    idle_K = jnp.where((counts_K > 0) | (step == 0), 0, state["idle"] + 1)
    decay = 1.0 - 1.0 / training.usage_window
    recent_K = jnp.where(step == 0, 0.0, decay * state["recent"] + counts_K)
    new: State = {"idle": idle_K, "recent": recent_K}
    if training.codebook == "ema":
        moving_K, sums_KD = quantizer.moving_average(
            state["moving"]["counts"],
            state["moving"]["sums"],
            z_ND,
            ids_N,
            training.codebook_decay,
        )
        codebook_KD = quantizer.centroids(moving_K, sums_KD, codebook_KD)
    dead_K = jnp.zeros(num_codes, bool)
    if training.first_codes == "outputs":
        dead_K = jnp.full(num_codes, step == 0)
    if training.restart_after:
        dead_K = dead_K | ((idle_K > 0) & (idle_K % training.restart_after == 0))
    codebook_KD = quantizer.restart_dead(key, codebook_KD, dead_K, z_ND)
    if training.codebook == "ema":
        # A moved code starts with the weight of one vector, soon outweighed by those it attracts.
        share = 1.0 - training.codebook_decay
        new["moving"] = {
            "counts": jnp.where(dead_K, share, moving_K),
            "sums": jnp.where(dead_K[:, None], share * codebook_KD, sums_KD),
        }
    return new, codebook_KD, dead_K


def window_metrics(training: AdversarialConfig, state: State, step: Array) -> dict[str, Array]:
    """How much of the codebook the last steps used.

    Args:
        training: its usage_window is the length of the window, or less at the start.
        state: after the step.
        step: updates made before this one.

    Returns:
        codebook_usage_window: share of codes chosen within the window; codebook_perplexity_window:
        of choices that weigh less the longer ago they were made, the window being the time in which
        they fall to 1/e.
    """
    window = jnp.minimum(training.usage_window, step)
    return {
        "codebook_usage_window": jnp.mean(state["idle"] < window),
        "codebook_perplexity_window": codes.perplexity(state["recent"]),
    }


def batch_metrics(ids: Array, num_codes: int) -> dict[str, Array]:
    """How much of the codebook a batch uses."""
    counts_K = codes.histogram(ids, num_codes)
    return {
        "codebook_usage": codes.usage(counts_K),
        "codebook_perplexity": codes.perplexity(counts_K),
    }


def step_key(seed: int, step: Array) -> Array:
    """The random key of a step."""
    return jax.random.fold_in(jax.random.key(seed), step)
