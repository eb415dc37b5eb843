"""Rotary position embedding (Su et al. 2021), half-split: pair (i, i + K/2), as in Hugging Face.

LVM's EasyLM weights pair neighbours (2i, 2i + 1) instead; converting q and k between the two is a
fixed permutation of each head's columns. Tables are float32 whatever the compute type: bfloat16
cannot tell position 4095 from 4096.

Shapes: B batch, L length, H heads, K head dim, R = K/2 rotated pairs.
"""

import jax.numpy as jnp
from jax import Array


def tables(positions_BL: Array, head_dim: int, theta: float) -> tuple[Array, Array]:
    """Cosine and sine of every position's angles.

    Args:
        positions_BL: int32 positions.
        head_dim: K, even.
        theta: base of the frequencies theta**(-2r/K), r = 0..R-1.

    Returns:
        Two float32 arrays [B, L, 1, R], ready to broadcast over heads.
    """
    exponents_R = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
    frequencies_R = 1.0 / (theta**exponents_R)
    positions_BL11 = positions_BL[:, :, None, None].astype(jnp.float32)
    angles_BL1R = positions_BL11 * frequencies_R[None, None, None]
    return jnp.cos(angles_BL1R), jnp.sin(angles_BL1R)


def rotate(x_BLHK: Array, cos_BL1R: Array, sin_BL1R: Array) -> Array:
    """Rotates queries or keys; computed in float32, returned in x's dtype."""
    first, second = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
    rotated = (first * cos_BL1R - second * sin_BL1R, second * cos_BL1R + first * sin_BL1R)
    return jnp.concatenate(rotated, axis=-1).astype(x_BLHK.dtype)
