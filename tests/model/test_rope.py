"""Rotary embedding against its definition in complex numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from lvm_jax.model import rope
from lvm_jax.model.transformer_config import TransformerConfig

BFLOAT16 = {"rope_table": "bfloat16"}


def config(head_dim, **changes):
    sizes = {"mlp_dim": 8, "num_heads": 1, "num_layers": 1}
    return TransformerConfig(hidden_dim=head_dim, **sizes, **changes)


def test_rotation_is_a_complex_product():
    positions = np.array([[0, 1, 7, 4095]])
    x = np.asarray(jax.random.normal(jax.random.key(0), (1, 4, 2, 16)))
    cos, sin = rope.tables(jnp.asarray(positions), config(16))
    rotated = rope.rotate(jnp.asarray(x), cos, sin)
    # In float64, pairs (i, i + K/2), frequencies 10000**(-2i/K).
    frequencies = 1e4 ** (-np.arange(0, 16, 2) / 16)
    turn = np.exp(1j * positions[:, :, None, None] * frequencies)
    expected = (x[..., :8] + 1j * x[..., 8:]) * turn
    expected = np.concatenate([expected.real, expected.imag], -1)
    # float32 angles up to 4095 are good to 4095 * 2**-24 = 2.4e-4 radians.
    np.testing.assert_allclose(rotated, expected, atol=1e-3)
    np.testing.assert_allclose(rotated[:, :3], expected[:, :3], atol=5e-6)


def test_tables_are_float32_and_rotation_keeps_the_dtype():
    cos, sin = rope.tables(jnp.arange(4)[None], config(8))
    assert cos.dtype == sin.dtype == jnp.float32
    x = jnp.ones((1, 4, 2, 8), jnp.bfloat16)
    assert rope.rotate(x, cos, sin).dtype == jnp.bfloat16


def test_rotation_keeps_lengths():
    x = jax.random.normal(jax.random.key(0), (2, 16, 3, 8))
    rotated = rope.rotate(x, *rope.tables(jnp.arange(32).reshape(2, 16), config(8)))
    norms = [np.linalg.norm(a, axis=-1) for a in (x, rotated)]
    np.testing.assert_allclose(*norms, rtol=1e-5)


def test_a_bfloat16_table_is_that_of_a_training_in_bfloat16():
    positions = jnp.arange(4096)[None]
    cos, sin = (np.asarray(t)[0, :, 0] for t in rope.tables(positions, config(128, **BFLOAT16)))
    # Every entry is a bfloat16 number, and the first frequency is 1: angles are rounded positions.
    for table, function in ((cos, np.cos), (sin, np.sin)):
        np.testing.assert_array_equal(table, table.astype(jnp.bfloat16).astype(np.float32))
        rounded = function(np.arange(4096).astype(jnp.bfloat16).astype(np.float64))
        np.testing.assert_allclose(table[:, 0], rounded, atol=2**-8)
    assert len(np.unique(np.stack([cos[:, 0], sin[:, 0]], -1), axis=0)) <= 769
    # Mean distance to the true turn, from a computation of LVM's table: a random one's is 1.27.
    wrong = abs(cos[:, 0] + 1j * sin[:, 0] - np.exp(1j * np.arange(4096)))
    assert wrong[:256].mean() < 0.002
    assert round(float(wrong[256:512].mean()), 2) == 0.48
    assert 1.1 < wrong[1024:2048].mean() < 1.4 and 1.1 < wrong[2048:].mean() < 1.4
    # The slowest frequencies lose nothing but digits.
    exact = np.arange(4096) * 1e4 ** (-126 / 128)
    np.testing.assert_allclose(cos[:, -1], np.cos(exact), atol=0.01)


def test_a_bfloat16_table_has_769_angles_for_4096_positions(monkeypatch):
    seen = []
    cos = np.cos
    monkeypatch.setattr(rope.np, "cos", lambda angles: seen.append(angles) or cos(angles))
    rope._bfloat16_tables.__wrapped__(4096, 128, 1e4)
    assert seen[0].dtype == jnp.bfloat16
    assert len(np.unique(seen[0][:, 0].astype(np.float32))) == 769


def test_a_bfloat16_table_ends_loudly_at_twice_the_context():
    positions = jnp.asarray([[15, 16]])
    cos, _ = rope.tables(positions, config(8, context=8, **BFLOAT16))
    assert np.isfinite(cos[0, 0]).all() and np.isnan(cos[0, 1]).all()
