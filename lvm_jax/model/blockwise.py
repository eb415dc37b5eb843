"""Causal attention in blocks that never leave the cache; skips what the causal mask hides.

FlashAttention's algebra (Dao et al. 2022) in plain JAX: the forward pass keeps the softmax's
log-sum-exp instead of its weights, the backward pass recomputes them. Blocks of queries meet all
their earlier keys at once, so no running maximum is needed, and a row of L positions takes
L * (L + BLOCK) / 2 scores rather than L * L.

Shapes: leading dims "..." (rows and key/value heads), P query heads per key/value head, L length,
K head dim, C queries in a block, S keys in a block.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array

# Positions per block: scores of one head (BLOCK x L float32) fit a CPU core's L2 cache to L = 1024.
BLOCK = 128
# Finite, so that a fully masked row (which nothing reads) gives no NaN.
MASKED = -1e30


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend(q_PLK: Array, k_LK: Array, v_LK: Array, segments_L: Array | None, per_head: bool):
    """Softmax attention of positions to earlier ones of the same segment.

    Args:
        q_PLK: queries [..., P, L, K].
        k_LK: keys [..., L, K].
        v_LK: values [..., L, K].
        segments_L: int32 [..., L], or None when each row is one sentence.
        per_head: run the leading dims one after another (for one CPU: blocks stay in its cache)
            rather than at once (for accelerators and for sharded arrays).

    Returns:
        [..., P, L, K] in the queries' dtype.
    """
    return _forward(q_PLK, k_LK, v_LK, segments_L, per_head)[0]


def _forward(q_PLK, k_LK, v_LK, segments_L, per_head):
    run = _one_by_one(_forward_blocks) if per_head else _forward_blocks
    o_PLK, lse_PL = run(q_PLK, k_LK, v_LK, segments_L)
    return o_PLK, (q_PLK, k_LK, v_LK, segments_L, o_PLK, lse_PL)


def _backward(per_head, residuals, do_PLK):
    q_PLK, k_LK, v_LK, segments_L, o_PLK, lse_PL = residuals
    delta_PL = jnp.sum(o_PLK.astype(jnp.float32) * do_PLK.astype(jnp.float32), axis=-1)
    run = _one_by_one(_backward_blocks) if per_head else _backward_blocks
    gradients = run(q_PLK, k_LK, v_LK, segments_L, lse_PL, delta_PL, do_PLK)
    return *gradients, None


attend.defvjp(_forward, _backward)


def _one_by_one(function):
    """`function` over the leading dims in a loop; None arguments pass through."""

    def looped(*arguments):
        leading = arguments[1].shape[:-2]
        flatten = lambda x: x.reshape(-1, *x.shape[len(leading) :])
        results = jax.lax.map(
            lambda given: function(*given), jax.tree.map(flatten, tuple(arguments))
        )
        return jax.tree.map(lambda x: x.reshape(*leading, *x.shape[1:]), results)

    return looped


def _visible(segments_L: Array | None, queries: slice, keys: slice) -> Array:
    """bool [..., 1, C, S]: which keys of the block each query of the block sees."""
    ramp = lambda block: jnp.arange(block.start, block.stop)
    causal_CS = ramp(queries)[:, None] >= ramp(keys)[None, :]
    if segments_L is None:
        return causal_CS
    same = segments_L[..., queries, None] == segments_L[..., None, keys]
    return (causal_CS & same)[..., None, :, :]


def _blocks(length: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


def _products(spec: str, a: Array, b: Array) -> Array:
    """An einsum accumulated in float32."""
    return jnp.einsum(spec, a, b, preferred_element_type=jnp.float32)


def _forward_blocks(q_PLK, k_LK, v_LK, segments_L):
    length, scale = q_PLK.shape[-2], q_PLK.shape[-1] ** -0.5
    outputs, log_sums = [], []
    for queries in _blocks(length):
        keys = slice(0, queries.stop)
        s_PCS = _products("...pck,...sk->...pcs", q_PLK[..., queries, :], k_LK[..., keys, :])
        s_PCS = jnp.where(_visible(segments_L, queries, keys), s_PCS * scale, MASKED)
        top_PC1 = jnp.max(s_PCS, axis=-1, keepdims=True)
        e_PCS = jnp.exp(s_PCS - top_PC1)
        sum_PC1 = jnp.sum(e_PCS, axis=-1, keepdims=True)
        o_PCK = _products("...pcs,...sk->...pck", e_PCS.astype(v_LK.dtype), v_LK[..., keys, :])
        outputs.append((o_PCK / sum_PC1).astype(q_PLK.dtype))
        log_sums.append((top_PC1 + jnp.log(sum_PC1))[..., 0])
    return jnp.concatenate(outputs, axis=-2), jnp.concatenate(log_sums, axis=-1)


def _backward_blocks(q_PLK, k_LK, v_LK, segments_L, lse_PL, delta_PL, do_PLK):
    """By blocks of keys, scores transposed: every product then has its long side contiguous."""
    length, scale = q_PLK.shape[-2], q_PLK.shape[-1] ** -0.5
    dtype = q_PLK.dtype
    dk, dv, dq_PKL = [], [], None
    for keys in _blocks(length):
        queries = slice(keys.start, length)
        k_SK, v_SK = k_LK[..., keys, :], v_LK[..., keys, :]
        q_PCK, do_PCK = q_PLK[..., queries, :], do_PLK[..., queries, :]
        s_PSC = _products("...sk,...pck->...psc", k_SK, q_PCK) * scale
        visible = jnp.swapaxes(_visible(segments_L, queries, keys), -1, -2)
        p_PSC = jnp.where(visible, jnp.exp(s_PSC - lse_PL[..., None, queries]), 0.0)
        dp_PSC = _products("...sk,...pck->...psc", v_SK, do_PCK)
        ds_PSC = (p_PSC * (dp_PSC - delta_PL[..., None, queries]) * scale).astype(dtype)
        dv.append(_products("...psc,...pck->...sk", p_PSC.astype(dtype), do_PCK))
        dk.append(_products("...psc,...pck->...sk", ds_PSC, q_PCK))
        part_PKC = _products("...sk,...psc->...pkc", k_SK, ds_PSC)
        if dq_PKL is None:
            dq_PKL = part_PKC
        else:
            done, rest = dq_PKL[..., : keys.start], dq_PKL[..., keys.start :]
            dq_PKL = jnp.concatenate([done, rest + part_PKC], axis=-1)
    together = lambda parts: jnp.concatenate(parts, axis=-2).astype(dtype)
    return jnp.swapaxes(dq_PKL, -1, -2).astype(dtype), together(dk), together(dv)
