"""Attention of one new position per row to what the row's prompt, and the row itself, left.

Shapes: N prompts, C candidates of each, R = N * C rows, G key/value heads, Q query heads per
key/value head, P = C * Q, K head dim, L positions of a prompt, S positions that a row has room for.
"""

import jax.numpy as jnp
from jax import Array

from lvm_jax.model.attention.blockwise import MASKED


def attend(
    q_RGQK: Array,
    prompt: tuple[Array, Array],
    lengths_N: Array,
    own: tuple[Array, Array],
    num_own: Array,
) -> Array:
    """One new position per row; a prompt's keys and values are read once for all its candidates.

    One softmax over both parts: numerators and sums are taken part by part, from one maximum.

    Args:
        q_RGQK: the new position's queries after RoPE; the candidates of a prompt are neighbours.
        prompt: keys [N, G, K, L] and values [N, G, L, K] of the prompts.
        lengths_N: int32; positions 0..length-1 of a prompt are ids, those behind are padding.
        own: keys [R, G, K, S] and values [R, G, S, K] that rows added, the new position's included.
        num_own: int32 scalar; positions 0..num_own-1 of those are filled.

    Returns:
        [R, G, Q, K] in the queries' dtype.
    """
    R, G, Q, K = q_RGQK.shape
    (k_NGKL, v_NGLK), (k_RGKS, v_RGSK) = prompt, own
    N, L, S = k_NGKL.shape[0], k_NGKL.shape[-1], k_RGKS.shape[-1]

    def product(form: str, a: Array, b: Array) -> Array:
        return jnp.einsum(form, a.astype(b.dtype), b, preferred_element_type=jnp.float32)

    def together(x_RGQ: Array) -> Array:
        """Candidates and query heads as the rows of one product: [N, G, C * Q, ...]."""
        x_NGCQ = jnp.moveaxis(x_RGQ.reshape(N, R // N, *x_RGQ.shape[1:]), 1, 2)
        return x_NGCQ.reshape(N, G, R // N * Q, *x_RGQ.shape[3:])

    def apart(x_NGP: Array) -> Array:
        """Back again."""
        x_NGCQ = x_NGP.reshape(N, G, R // N, Q, *x_NGP.shape[3:])
        return jnp.moveaxis(x_NGCQ, 2, 1).reshape(R, G, Q, *x_NGP.shape[3:])

    s_NGPL = product("NGPK,NGKL->NGPL", together(q_RGQK), k_NGKL) * K**-0.5
    is_id_NL = jnp.arange(L)[None] < lengths_N[:, None]
    s_NGPL = jnp.where(is_id_NL[:, None, None], s_NGPL, MASKED)
    s_RGQS = product("RGQK,RGKS->RGQS", q_RGQK, k_RGKS) * K**-0.5
    is_filled_S = jnp.arange(S) < num_own
    s_RGQS = jnp.where(is_filled_S[None, None, None], s_RGQS, MASKED)
    top_RGQ = jnp.maximum(apart(jnp.max(s_NGPL, axis=-1)), jnp.max(s_RGQS, axis=-1))
    e_NGPL = jnp.exp(s_NGPL - together(top_RGQ)[..., None])
    e_RGQS = jnp.exp(s_RGQS - top_RGQ[..., None])
    sum_RGQ = apart(jnp.sum(e_NGPL, axis=-1)) + jnp.sum(e_RGQS, axis=-1)
    o_RGQK = apart(product("NGPL,NGLK->NGPK", e_NGPL, v_NGLK))
    o_RGQK += product("RGQS,RGSK->RGQK", e_RGQS, v_RGSK)
    return (o_RGQK / sum_RGQ[..., None]).astype(q_RGQK.dtype)
