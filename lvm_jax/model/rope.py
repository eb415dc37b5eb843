"""Rotary position embedding (Su et al. 2021), half-split: pair (i, i + K/2), as in Hugging Face.

LVM's EasyLM weights pair neighbours (2i, 2i + 1) instead; converting q and k between the two is a
fixed permutation of each head's columns. Tables are float32 whatever the compute type: bfloat16
cannot tell position 4095 from 4096. LVM's own training made them in its compute type, bfloat16, so
weights that learned with such a table may need it (`rope_table`).

Shapes: B batch, L length, H heads, K head dim, R = K/2 rotated pairs, P positions of a table.
"""

import functools

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import Array

from lvm_jax.model.transformer_config import TransformerConfig


def tables(positions_BL: Array, config: TransformerConfig) -> tuple[Array, Array]:
    """Cosine and sine of every position's angles.

    Args:
        positions_BL: int32 positions; in bfloat16 below twice the context, beyond which angles
            are NaN.
        config: gives K, the base of the frequencies theta**(-2r/K), r = 0..R-1, and the precision.

    Returns:
        Two float32 arrays [B, L, 1, R], ready to broadcast over heads.
    """
    head_dim, theta = config.head_dim, config.rope_theta
    if config.rope_table == "bfloat16":
        cos_PR, sin_PR = _bfloat16_tables(2 * config.context, head_dim, theta)
        look_up = lambda table_PR: (
            jnp.asarray(table_PR).at[positions_BL].get(mode="fill", fill_value=jnp.nan)
        )
        return look_up(cos_PR)[:, :, None], look_up(sin_PR)[:, :, None]
    exponents_R = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
    frequencies_R = 1.0 / (theta**exponents_R)
    positions_BL11 = positions_BL[:, :, None, None].astype(jnp.float32)
    angles_BL1R = positions_BL11 * frequencies_R[None, None, None]
    return jnp.cos(angles_BL1R), jnp.sin(angles_BL1R)


@functools.cache
def _bfloat16_tables(num: int, head_dim: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """The tables of a training in bfloat16, for positions 0..num-1: two float32 arrays [P, R].

    Made in NumPy as LVM's are, with every rounding where it was: exponents, angles, cosines and
    sines in bfloat16, frequencies in float32, the products of both with positions in float64.
    """
    bfloat16 = ml_dtypes.bfloat16
    exponents_R = np.arange(0, head_dim, 2).astype(bfloat16) / bfloat16(head_dim)
    frequencies_R = np.float32(1) / np.float32(theta) ** exponents_R.astype(np.float32)
    angles_PR = np.outer(np.arange(num, dtype=np.float64), frequencies_R).astype(bfloat16)
    return np.cos(angles_PR).astype(np.float32), np.sin(angles_PR).astype(np.float32)


def rotate(x_BLHK: Array, cos_BL1R: Array, sin_BL1R: Array) -> Array:
    """Rotates queries or keys; computed in float32, returned in x's dtype."""
    first, second = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
    rotated = (first * cos_BL1R - second * sin_BL1R, second * cos_BL1R + first * sin_BL1R)
    return jnp.concatenate(rotated, axis=-1).astype(x_BLHK.dtype)
