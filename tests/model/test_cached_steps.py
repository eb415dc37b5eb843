"""Prefill and decode steps against full recomputation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.model import cache, cached_steps, transformer
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


def greedy(config, params, prompt_NL, room=STEPS):
    """Ids chosen by the largest logit, and the logits they were chosen from, under one jit."""
    num_codes = config.vocabulary.num_codes

    def run(params, prompt_NL):
        N, L = prompt_NL.shape
        logits_NV, prompts = cached_steps.prefill(config, params, prompt_NL, jnp.full(N, L))
        weights = cached_steps.decode_weights(config, params, N)

        def step(carry, _):
            logits_NV, own = carry
            ids_N = jnp.argmax(logits_NV, -1)
            logits_N1V, own = cached_steps.decode_step(
                config, weights, ids_N[:, None], prompts, own
            )
            return (logits_N1V[:, 0], own), (ids_N, logits_NV)

        own = cache.with_room(cache.empty(config, N, config.dtype), room)
        _, (ids_SN, logits_SNV) = jax.lax.scan(step, (logits_NV[:, :num_codes], own), length=STEPS)
        return ids_SN.T, jnp.swapaxes(logits_SNV, 0, 1)

    return jax.jit(run)(params, prompt_NL)


def prompts(batch, seed=1):
    return jax.random.randint(jax.random.key(seed), (batch, PROMPT), 0, DEBUG.vocabulary.size)


@pytest.mark.parametrize("changes", [{}, {"num_kv_heads": 0}, {"scan": False}])
def test_cached_equals_full_recomputation(params, changes):
    config = dataclasses.replace(DEBUG, **changes)
    if "num_kv_heads" in changes:
        init = jax.jit(lambda: transformer.init_params(config, 0))
        params = jax.tree.map(lambda p: p * 5, init())
    ids, logits = greedy(config, params, prompts(3))
    whole = jnp.concatenate([prompts(3), ids], axis=1)
    expected = jax.jit(lambda p, i: transformer.apply(config, p, i))(params, whole)
    expected = expected[:, PROMPT - 1 : -1, : config.vocabulary.num_codes]
    assert_close(logits, expected)
    np.testing.assert_array_equal(ids, jnp.argmax(expected, -1))


def test_spare_capacity_changes_nothing(params):
    ids, logits = greedy(DEBUG, params, prompts(2))
    roomy_ids, roomy_logits = greedy(DEBUG, params, prompts(2), 3 * STEPS)
    np.testing.assert_array_equal(ids, roomy_ids)
    assert_close(logits, roomy_logits)


def test_a_row_does_not_depend_on_its_batch_mates(params):
    batch = prompts(4)
    ids, logits = greedy(DEBUG, params, batch)
    for row in range(4):
        alone_ids, alone_logits = greedy(DEBUG, params, batch[row : row + 1])
        np.testing.assert_array_equal(ids[row], alone_ids[0])
        assert_close(logits[row], alone_logits[0])
    # And exactly so while the batch keeps its size: only the first row stays.
    others = prompts(4, seed=2).at[0].set(batch[0])
    np.testing.assert_array_equal(greedy(DEBUG, params, others)[1][0], logits[0])


def test_the_cache_has_its_shapes_and_counts_positions(params):
    _, prompt = cached_steps.prefill(DEBUG, params, prompts(2), jnp.array([PROMPT, PROMPT - 2]))
    rows, dim = (2, DEBUG.kv_heads), DEBUG.head_dim
    assert len(prompt.keys) == DEBUG.num_layers
    assert prompt.keys[0].shape == (*rows, dim, PROMPT)
    assert prompt.values[0].shape == (*rows, PROMPT, dim)
    own = cache.with_room(cache.empty(DEBUG, 2, "float32"), 3)
    assert own.room == 3 and own.keys[0].shape == (*rows, dim, 3)
    assert own.values[0].shape == (*rows, 3, dim)
    weights = cached_steps.decode_weights(DEBUG, params, 2)
    _, own = cached_steps.decode_step(DEBUG, weights, jnp.zeros((2, 1), jnp.int32), prompt, own)
    assert int(own.length) == 1
    for written in (own.keys[0], jnp.swapaxes(own.values[0], 2, 3)):
        assert np.abs(written[..., 0]).max() > 0
        assert np.abs(written[..., 1:]).max() == 0


def test_bfloat16_caches_are_bfloat16(params):
    half = dataclasses.replace(DEBUG, dtype="bfloat16")
    _, prompt = jax.eval_shape(
        lambda ids: cached_steps.prefill(half, params, ids, jnp.full(2, PROMPT)), prompts(2)
    )
    assert prompt.keys[0].dtype == jnp.bfloat16
    _, logits = greedy(half, params, prompts(2))
    assert logits.dtype == jnp.float32 and bool(jnp.isfinite(logits).all())
