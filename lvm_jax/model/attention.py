"""Causal attention inside segments, one interface over several backends.

A position sees itself and the earlier positions of its own segment. Segment 0 is padding: it
sees padding only, so its rows stay finite and reach nothing that counts.

Shapes: B batch, L query length, S key length, G key/value heads, P query heads per key/value head,
H = G * P query heads, K head dim, T cached positions.
"""

import jax
import jax.numpy as jnp
from jax import Array

# Finite, so that a fully masked row (which nothing reads) gives no NaN.
MASKED = -1e30


def attend(
    q_BLHK: Array, k_BLGK: Array, v_BLGK: Array, segments_BL: Array | None, backend: str
) -> Array:
    """Softmax attention over the same row.

    Args:
        q_BLHK: queries after RoPE.
        k_BLGK: keys after RoPE; G divides H.
        v_BLGK: values.
        segments_BL: int32 segment of each position, or None when each row is one sentence.
        backend: "auto", "xla" or "blockwise"; they agree up to rounding.

    Returns:
        [B, L, H, K] in the queries' dtype; scores and softmax are float32.
    """
    return _whole(q_BLHK, k_BLGK, v_BLGK, segments_BL)


def _whole(q_BLHK: Array, k_BSGK: Array, v_BSGK: Array, segments_BL: Array | None) -> Array:
    """The reference: all scores at once."""
    B, L, H, K = q_BLHK.shape
    G = k_BSGK.shape[2]
    q_BLGPK = q_BLHK.reshape(B, L, G, H // G, K)
    scores_BGPLS = jnp.einsum(
        "BLGPK,BSGK->BGPLS", q_BLGPK, k_BSGK, preferred_element_type=jnp.float32
    )
    mask_BLS = jnp.tril(jnp.ones((L, L), bool))[None]
    if segments_BL is not None:
        mask_BLS = mask_BLS & (segments_BL[:, :, None] == segments_BL[:, None, :])
    scores_BGPLS = jnp.where(mask_BLS[:, None, None], scores_BGPLS * K**-0.5, MASKED)
    weights_BGPLS = jax.nn.softmax(scores_BGPLS, axis=-1).astype(v_BSGK.dtype)
    return jnp.einsum("BGPLS,BSGK->BLGPK", weights_BGPLS, v_BSGK).reshape(B, L, H, K)


def attend_cached(q_BHK: Array, k_BGTK: Array, v_BGTK: Array, length: Array) -> Array:
    """One new position per row against the cache.

    Args:
        q_BHK: the new position's queries after RoPE.
        k_BGTK: cached keys, the new position's included.
        v_BGTK: cached values.
        length: int32 scalar; positions 0..length-1 of the cache are filled.

    Returns:
        [B, H, K] in the queries' dtype.
    """
    B, H, K = q_BHK.shape
    G, T = k_BGTK.shape[1:3]
    q_BGPK = q_BHK.reshape(B, G, H // G, K)
    scores_BGPT = jnp.einsum("BGPK,BGTK->BGPT", q_BGPK, k_BGTK, preferred_element_type=jnp.float32)
    scores_BGPT = jnp.where(jnp.arange(T) < length, scores_BGPT * K**-0.5, MASKED)
    weights_BGPT = jax.nn.softmax(scores_BGPT, axis=-1).astype(v_BGTK.dtype)
    return jnp.einsum("BGPT,BGTK->BGPK", weights_BGPT, v_BGTK).reshape(B, H, K)
