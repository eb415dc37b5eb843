"""Rotary embedding against its definition in complex numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from lvm_jax.model import rope


def test_rotation_is_a_complex_product():
    positions = np.array([[0, 1, 7, 4095]])
    x = np.asarray(jax.random.normal(jax.random.key(0), (1, 4, 2, 16)))
    cos, sin = rope.tables(jnp.asarray(positions), 16, 1e4)
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
    cos, sin = rope.tables(jnp.arange(4)[None], 8, 1e4)
    assert cos.dtype == sin.dtype == jnp.float32
    x = jnp.ones((1, 4, 2, 8), jnp.bfloat16)
    assert rope.rotate(x, cos, sin).dtype == jnp.bfloat16


def test_rotation_keeps_lengths():
    x = jax.random.normal(jax.random.key(0), (2, 16, 3, 8))
    rotated = rope.rotate(x, *rope.tables(jnp.arange(32).reshape(2, 16), 8, 1e4))
    norms = [np.linalg.norm(a, axis=-1) for a in (x, rotated)]
    np.testing.assert_allclose(*norms, rtol=1e-5)
