"""Causal attention inside segments, one interface over several backends.

A position sees itself and the earlier positions of its own segment. Segment 0 is padding: it
sees padding only, so its rows stay finite and reach nothing that counts.

Shapes: B batch, L query length, S key length, G key/value heads, P query heads per key/value head,
H = G * P query heads, K head dim, T cached positions.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh

from lvm_jax.model.attention import blockwise
from lvm_jax.model.attention.blockwise import MASKED

# Names of what a remat policy may keep: products with weights, and what attention makes of them.
PROJECTION, ATTENTION = "projection", blockwise.ATTENTION


def choose(backend: str, length: int, mesh: Mesh | None) -> str:
    """Resolves "auto" by platform, row length and mesh.

    One CPU device runs heads one after another, so that scores stay in its cache; several devices
    must not, since a loop over heads would gather what the mesh has split. Short rows have little
    to skip.
    """
    if backend != "auto":
        return backend
    if length <= 2 * blockwise.BLOCK:
        return "xla"
    platform = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform
    alone = mesh is None or mesh.size == 1
    return "per_head" if platform == "cpu" and alone else "blockwise"


def attend(
    q_BLHK: Array, k_BLGK: Array, v_BLGK: Array, segments_BL: Array | None, backend: str
) -> Array:
    """Softmax attention over the same row.

    Args:
        q_BLHK: queries after RoPE.
        k_BLGK: keys after RoPE; G divides H.
        v_BLGK: values.
        segments_BL: int32 segment of each position, or None when each row is one sentence.
        backend: "xla" (the reference: all scores at once), "blockwise" (see there, heads
            together) or "per_head" (heads in a loop); they agree up to rounding.

    Returns:
        [B, L, H, K] in the queries' dtype; scores and softmax are float32.
    """
    B, L, H, K = q_BLHK.shape
    G = k_BLGK.shape[2]
    q_BLGPK = q_BLHK.reshape(B, L, G, H // G, K)
    keep = lambda x: checkpoint_name(x, PROJECTION)
    if backend == "xla":
        o_BLGPK = _whole(keep(q_BLGPK), keep(k_BLGK), keep(v_BLGK), segments_BL)
    else:
        o_BGPLK = blockwise.attend(
            keep(jnp.moveaxis(q_BLGPK, 1, 3)),
            keep(jnp.moveaxis(k_BLGK, 1, 2)),
            keep(jnp.moveaxis(v_BLGK, 1, 2)),
            segments_BL,
            backend == "per_head",
        )
        o_BLGPK = jnp.moveaxis(o_BGPLK, 3, 1)
    return o_BLGPK.reshape(B, L, H, K)


def _whole(q_BLGPK: Array, k_BSGK: Array, v_BSGK: Array, segments_BL: Array | None) -> Array:
    L, K = q_BLGPK.shape[1], q_BLGPK.shape[-1]
    scores_BGPLS = jnp.einsum(
        "BLGPK,BSGK->BGPLS", q_BLGPK, k_BSGK, preferred_element_type=jnp.float32
    )
    mask_BLS = jnp.tril(jnp.ones((L, L), bool))[None]
    if segments_BL is not None:
        mask_BLS = mask_BLS & (segments_BL[:, :, None] == segments_BL[:, None, :])
    scores_BGPLS = jnp.where(mask_BLS[:, None, None], scores_BGPLS * K**-0.5, MASKED)
    weights_BGPLS = jax.nn.softmax(scores_BGPLS, axis=-1).astype(v_BSGK.dtype)
    weights_BGPLS = checkpoint_name(weights_BGPLS, ATTENTION)
    return checkpoint_name(jnp.einsum("BGPLS,BSGK->BLGPK", weights_BGPLS, v_BSGK), ATTENTION)


def attend_cached(q_BHK: Array, k_BGKT: Array, v_BGKT: Array, length: Array) -> Array:
    """One new position per row against the cache.

    Args:
        q_BHK: the new position's queries after RoPE.
        k_BGKT: cached keys, the new position's included.
        v_BGKT: cached values.
        length: int32 scalar; positions 0..length-1 of the cache are filled.

    Returns:
        [B, H, K] in the queries' dtype.
    """
    B, H, K = q_BHK.shape
    G, T = k_BGKT.shape[1], k_BGKT.shape[3]
    q_BGPK = q_BHK.reshape(B, G, H // G, K)
    scores_BGPT = jnp.einsum("BGPK,BGKT->BGPT", q_BGPK, k_BGKT, preferred_element_type=jnp.float32)
    is_filled_T = jnp.arange(T) < length
    scores_BGPT = jnp.where(is_filled_T[None, None, None], scores_BGPT * K**-0.5, MASKED)
    weights_BGPT = jax.nn.softmax(scores_BGPT, axis=-1).astype(v_BGKT.dtype)
    return jnp.einsum("BGPT,BGKT->BGPK", weights_BGPT, v_BGKT).reshape(B, H, K)
