"""The decoder as a function: causality, segments, packing, remat, scan, presets.

Shapes: B batch, L length, V vocabulary.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax import trees
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS, TransformerConfig

DEBUG = PRESETS["debug"]
# Sharp weights give logits up to 8, sums of float32 terms of that size whose order differs between
# machines: a small logit has the absolute error of its terms, here 20 units in their last place.
CLOSE = {"rtol": 1e-5, "atol": 2e-5}


@pytest.fixture(scope="module")
def params():
    return sharp_params(DEBUG)


def sharp_params(config):
    """Weights five times larger than at initialisation: attention far from uniform."""
    return jax.tree.map(lambda p: p * 5, jax.jit(lambda: transformer.init_params(config, 0))())


@functools.partial(jax.jit, static_argnums=0)
def apply(config, *arguments):
    return transformer.apply(config, *arguments)


def random_ids(shape, seed=1):
    return jax.random.randint(jax.random.key(seed), shape, 0, DEBUG.vocabulary.size)


def packed_row(lengths, padding):
    """Segments 1.. of the given lengths, positions that restart, then padding of segment 0."""
    segments = np.concatenate([np.full(n, i + 1) for i, n in enumerate(lengths)])
    positions = np.concatenate([np.arange(n) for n in lengths])
    pad = lambda x: jnp.asarray(np.pad(x, (0, padding))[None], jnp.int32)
    return pad(segments), pad(positions)


def loss_of(config, params, ids, segments, positions):
    """Sum over positions of log p(next id), none across a seam, and the logits behind it."""
    logits = transformer.apply(config, params, ids, segments, positions)
    logp = jax.nn.log_softmax(logits[:, :-1])
    picked = jnp.take_along_axis(logp, ids[:, 1:, None], axis=-1)[..., 0]
    same = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
    return jnp.sum(picked * same), logits


@functools.partial(jax.jit, static_argnums=0)
def loss_and_grads(config, params, *arguments):
    return jax.value_and_grad(lambda p: loss_of(config, p, *arguments), has_aux=True)(params)


def test_packed_rows_equal_their_sentences_alone(params):
    """With the reference attention; `attention/test_backends.py` holds the others to it."""
    lengths, padding = (9, 9, 6), 8
    segments, positions = packed_row(lengths, padding)
    ids = random_ids((1, 32))
    (loss, logits), grads = loss_and_grads(DEBUG, params, ids, segments, positions)
    total, total_grads, start = 0.0, jax.tree.map(jnp.zeros_like, params), 0
    for length in lengths:
        alone = ids[:, start : start + length]
        one, ramp = jnp.ones_like(alone), jnp.arange(length)[None]
        (part, expected), part_grads = loss_and_grads(DEBUG, params, alone, one, ramp)
        np.testing.assert_allclose(logits[:, start : start + length], expected, **CLOSE)
        total, start = total + part, start + length
        total_grads = jax.tree.map(jnp.add, total_grads, part_grads)
    np.testing.assert_allclose(loss, total, rtol=1e-5)
    for name, grad in trees.flatten(grads).items():
        expected = trees.flatten(total_grads)[name]
        # Relative to the largest entry: the sums run over other orders.
        np.testing.assert_allclose(grad, expected, atol=1e-5 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("backend", ["xla", "per_head"])
def test_no_logit_depends_on_a_later_position_or_another_segment(params, backend):
    """The exact Jacobian of all logits in all input embeddings, position by position."""
    config = dataclasses.replace(DEBUG, attention=backend)
    segments, positions = packed_row((5, 6), 3)
    L = segments.shape[1]
    # One id per position, so that the embedding's rows stand for positions.
    ids = jnp.arange(L)[None]

    def logits_of(rows_LD):
        changed = {**params, "embedding": {"kernel": rows_LD}}
        return transformer.apply(config, changed, ids, segments, positions)[0].sum(-1)

    jacobian_LLD = jax.jit(jax.jacrev(logits_of))(params["embedding"]["kernel"][:L])
    reaches = np.abs(jacobian_LLD).max(-1) > 0
    row = np.asarray(segments[0])
    sees = np.tril(np.ones((L, L), bool)) & (row[:, None] == row[None, :])
    # Exactly zero where a position must not see, and not zero where it should.
    np.testing.assert_array_equal(reaches, sees)


@pytest.mark.parametrize(
    "remat, scan",
    [
        *(("projections", True), ("dots", True), ("offload", True), ("full", True)),
        *(("full", False), ("none", False)),
    ],
)
def test_remat_and_scan_change_no_gradient(params, remat, scan):
    ids = random_ids((2, 16))
    whole = jnp.ones_like(ids)
    ramp = jnp.broadcast_to(jnp.arange(16), ids.shape)
    changed = dataclasses.replace(DEBUG, remat=remat, scan=scan)
    (expected_loss, _), expected_grads = loss_and_grads(DEBUG, params, ids, whole, ramp)
    (loss, _), grads = loss_and_grads(changed, params, ids, whole, ramp)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    for name, grad in trees.flatten(grads).items():
        want = trees.flatten(expected_grads)[name]
        # Recomputed values are the same numbers, but XLA may fuse and so round them otherwise.
        np.testing.assert_allclose(grad, want, atol=1e-5 * np.abs(want).max(), err_msg=name)


def test_grouped_heads_equal_whole_heads_with_repeated_keys(params):
    whole = dataclasses.replace(DEBUG, num_kv_heads=0)
    repeat = lambda leaf: jnp.repeat(leaf, DEBUG.num_heads // DEBUG.num_kv_heads, axis=2)
    attention = params["layers"]["attention"]
    repeated = {
        **attention,
        **{name: {"kernel": repeat(attention[name]["kernel"])} for name in ("key", "value")},
    }
    same = {**params, "layers": {**params["layers"], "attention": repeated}}
    ids = random_ids((2, 16))
    np.testing.assert_allclose(apply(DEBUG, params, ids), apply(whole, same, ids), **CLOSE)


def test_only_relative_positions_matter(params):
    """RoPE: shifting every position of a sentence leaves its logits as they are."""
    ids = random_ids((1, 24))
    at = lambda start: apply(DEBUG, params, ids, None, jnp.arange(24)[None] + start)
    # Angles at position 3000 carry a float32 error of about 3000 * 2**-24 radians.
    np.testing.assert_allclose(at(0), at(3000), atol=2e-3)
    assert np.abs(at(0) - apply(DEBUG, params, ids, None, ids * 0)).max() > 1e-2


def test_bfloat16_stays_close_to_float32(params):
    half = dataclasses.replace(DEBUG, dtype="bfloat16")
    ids = random_ids((2, 16))
    logits = apply(half, params, ids)
    assert logits.dtype == jnp.float32
    expected = apply(DEBUG, params, ids)
    # Eight bits of mantissa through two layers.
    assert np.abs(logits - expected).max() < 0.05 * np.abs(expected).max()


def test_initialisation_follows_the_config():
    config = dataclasses.replace(DEBUG, hidden_dim=64, mlp_dim=128, init_scale=0.02)
    init = jax.jit(lambda seed: transformer.init_params(config, seed))
    params, other = trees.flatten(init(0)), trees.flatten(init(1))
    for name, leaf in params.items():
        assert leaf.dtype == jnp.float32
        if name.endswith("scale"):
            assert bool((leaf == 1).all())
        else:
            # A sample of n normals has standard deviation 0.02 * (1 +- 3 / sqrt(2n)).
            assert abs(float(leaf.std()) / 0.02 - 1) < 3 / np.sqrt(2 * leaf.size), name
    layers = params["layers/mlp/up/kernel"]
    assert not bool((layers == other["layers/mlp/up/kernel"]).any())
    assert not bool((layers[0] == layers[1]).any())


# Counts in millions as printed in the paper's table and its readings; vocabulary 8292, unpadded.
COUNTS = {
    "100m": "117M",
    "300m": "291M",
    "600m": "648M",
    "1b": "1.147B",
    "3b": "3.275B",
    "7b": "6.544B",
    "lvm_7b": "6.544B",
    "13b": "12.8B",
    "20b": "20.7B",
    "30b": "32.2B",
}


def rounded(count, like):
    """A count with the unit and the digits of `like`, such as "6.544B"."""
    unit = {"M": 1e6, "B": 1e9}[like[-1]]
    digits = len(like[:-1].partition(".")[2])
    return f"{count / unit:.{digits}f}{like[-1]}"


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_has_its_shapes_and_count(name):
    config = PRESETS[name]
    params = transformer.abstract_params(config)
    padding = 2 * config.hidden_dim * (config.vocabulary.padded_size - config.vocabulary.size)
    assert trees.count_parameters(params) == config.num_parameters + padding
    if name in COUNTS:
        assert config.vocabulary.size == 8292
        assert rounded(config.num_parameters, COUNTS[name]) == COUNTS[name]
    ids = jax.ShapeDtypeStruct((2, config.context), jnp.int32)
    logits = jax.eval_shape(lambda p, i: transformer.apply(config, p, i), params, ids)
    assert logits.shape == (2, config.context, config.vocabulary.padded_size)
    assert logits.dtype == jnp.float32


@pytest.mark.parametrize(
    "values, message",
    [
        ({"num_heads": 3}, "hidden_dim=32 must be a multiple of twice num_heads=3"),
        ({"num_heads": 32}, "num_heads=32"),
        ({"num_kv_heads": 3}, "num_kv_heads=3 must be 0 or divide num_heads=4"),
        ({"num_layers": 0}, "num_layers=0 must be at least 1"),
    ],
)
def test_impossible_sizes_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DEBUG, **values)


def test_configs_are_data():
    assert hash(DEBUG) == hash(dataclasses.replace(DEBUG))
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEBUG.hidden_dim = 64
    assert isinstance(DEBUG, TransformerConfig)
