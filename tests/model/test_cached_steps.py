"""Prefill and decode steps against full recomputation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.model import cached_steps, transformer
from lvm_jax.model.cache import init_cache
from lvm_jax.model.transformer_config import PRESETS

DEBUG = PRESETS["debug"]
PROMPT, STEPS = 9, 7


def assert_close(actual, expected):
    """Equal up to the order of float32 sums, whose error grows with the terms, not with the sum.

    Against float64 either side is wrong by up to 2e-6 of the largest logit (measured on Zen 4), so
    the two may differ by twice that; 1e-5 leaves room for other processors. A wrong mask, position
    or cache entry moves logits by more than a tenth. A logit near zero is a sum of terms that
    cancel, so it has no relative precision of its own.
    """
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


@pytest.fixture(scope="module")
def params():
    init = jax.jit(lambda: transformer.init_params(DEBUG, 0))
    return jax.tree.map(lambda p: p * 5, init())


def greedy(config, params, prompt_BL, capacity):
    """Ids chosen by the largest logit, and the logits they were chosen from, under one jit."""

    def run(params, prompt_BL):
        cache = init_cache(config, prompt_BL.shape[0], capacity)
        logits_BV, cache = cached_steps.prefill(config, params, prompt_BL, cache)
        weights = cached_steps.decode_weights(config, params)

        def step(carry, _):
            logits_BV, cache = carry
            ids_B = jnp.argmax(logits_BV, -1)
            return cached_steps.decode_step(config, weights, ids_B, cache), (ids_B, logits_BV)

        _, (ids_SB, logits_SBV) = jax.lax.scan(step, (logits_BV, cache), length=STEPS)
        return ids_SB.T, jnp.swapaxes(logits_SBV, 0, 1)

    return jax.jit(run)(params, prompt_BL)


def prompts(batch, seed=1):
    return jax.random.randint(jax.random.key(seed), (batch, PROMPT), 0, DEBUG.vocabulary.size)


@pytest.mark.parametrize("changes", [{}, {"num_kv_heads": 0}, {"scan": False}])
def test_cached_equals_full_recomputation(params, changes):
    config = dataclasses.replace(DEBUG, **changes)
    if "num_kv_heads" in changes:
        init = jax.jit(lambda: transformer.init_params(config, 0))
        params = jax.tree.map(lambda p: p * 5, init())
    ids, logits = greedy(config, params, prompts(3), PROMPT + STEPS)
    whole = jnp.concatenate([prompts(3), ids], axis=1)
    expected = jax.jit(lambda p, i: transformer.apply(config, p, i))(params, whole)
    expected = expected[:, PROMPT - 1 : -1]
    assert_close(logits, expected)
    np.testing.assert_array_equal(ids, jnp.argmax(expected, -1))


def test_spare_capacity_changes_nothing(params):
    ids, logits = greedy(DEBUG, params, prompts(2), PROMPT + STEPS)
    roomy_ids, roomy_logits = greedy(DEBUG, params, prompts(2), 3 * (PROMPT + STEPS))
    np.testing.assert_array_equal(ids, roomy_ids)
    assert_close(logits, roomy_logits)


def test_a_row_does_not_depend_on_its_batch_mates(params):
    batch = prompts(4)
    ids, logits = greedy(DEBUG, params, batch, PROMPT + STEPS)
    for row in range(4):
        alone_ids, alone_logits = greedy(DEBUG, params, batch[row : row + 1], PROMPT + STEPS)
        np.testing.assert_array_equal(ids[row], alone_ids[0])
        assert_close(logits[row], alone_logits[0])
    # And exactly so while the batch keeps its size: only the first row stays.
    others = prompts(4, seed=2).at[0].set(batch[0])
    np.testing.assert_array_equal(greedy(DEBUG, params, others, PROMPT + STEPS)[1][0], logits[0])


def test_the_cache_has_its_shapes_and_counts_positions(params):
    cache = init_cache(DEBUG, 2, 16)
    assert cache.capacity == 16 and len(cache.keys) == DEBUG.num_layers
    assert cache.keys[0].shape == cache.values[0].shape == (2, DEBUG.kv_heads, DEBUG.head_dim, 16)
    _, cache = cached_steps.prefill(DEBUG, params, prompts(2), cache)
    assert int(cache.length) == PROMPT
    weights = cached_steps.decode_weights(DEBUG, params)
    _, cache = cached_steps.decode_step(DEBUG, weights, jnp.zeros(2, jnp.int32), cache)
    assert int(cache.length) == PROMPT + 1
    assert np.abs(cache.keys[0][..., PROMPT]).max() > 0
    assert np.abs(cache.keys[0][..., PROMPT + 1 :]).max() == 0


def test_bfloat16_caches_are_bfloat16(params):
    half = dataclasses.replace(DEBUG, dtype="bfloat16")
    assert init_cache(half, 1, 4).keys[0].dtype == jnp.bfloat16
    _, logits = greedy(half, params, prompts(2), PROMPT + STEPS)
    assert logits.dtype == jnp.float32 and bool(jnp.isfinite(logits).all())


def test_a_prompt_longer_than_the_cache_is_refused(params):
    with pytest.raises(ValueError, match="prompt of 9 ids does not fit a cache of 8 positions"):
        cached_steps.prefill(DEBUG, params, prompts(1), init_cache(DEBUG, 1, 8))
