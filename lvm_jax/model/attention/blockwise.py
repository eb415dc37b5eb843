"""Causal attention in blocks that never leave the cache; skips what the causal mask hides.

FlashAttention's algebra (Dao et al. 2022) in plain JAX: the forward pass keeps the softmax's
log-sum-exp instead of its weights, the backward pass recomputes them. Blocks of queries meet all
their earlier keys at once, so no running maximum is needed, and a row of L positions takes
L * (L + BLOCK) / 2 scores rather than L * L.

Shapes: B rows, G key/value heads, P query heads per key/value head, H = G * P query heads,
L length, K head dim, C queries in a block, S keys in a block, R = P * C queries of a block that
share keys.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from lvm_jax.model.attention.needs import Needs
from lvm_jax.model.attention.placement import Placement
from lvm_jax.model.attention.saved_names import ATTENTION, PROJECTION

# Positions per block at least: the scores of one head and block, BLOCK x L float32, then fit a CPU
# core's L2 cache up to L = 1024.
BLOCK = 128
# Each block has a shape of its own, so longer rows have longer blocks rather than more to compile.
MAX_BLOCKS = 8
# Finite, so that a fully masked row (which nothing reads) gives no NaN.
MASKED = -1e30
NEEDS = Needs()


def attend(
    q_BLHK: Array,
    k_BLGK: Array,
    v_BLGK: Array,
    segments_BL: Array | None,
    placement: Placement,
    *,
    per_head: bool,
) -> Array:
    """See `backends.attend`; for `per_head` see `attend_heads`."""
    del placement  # the compiler splits it
    B, L, H, K = q_BLHK.shape
    G = k_BLGK.shape[2]
    keep = lambda x, source, target: checkpoint_name(jnp.moveaxis(x, source, target), PROJECTION)
    q_BGPLK = keep(q_BLHK.reshape(B, L, G, H // G, K), 1, 3)
    k_BGLK, v_BGLK = keep(k_BLGK, 1, 2), keep(v_BLGK, 1, 2)
    o_BGPLK = attend_heads(q_BGPLK, k_BGLK, v_BGLK, segments_BL, per_head)
    return jnp.moveaxis(o_BGPLK, 3, 1).reshape(B, L, H, K)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend_heads(
    q_BGPLK: Array, k_BGLK: Array, v_BGLK: Array, segments_BL: Array | None, per_head: bool
) -> Array:
    """Softmax attention of positions to earlier ones of the same segment.

    Args:
        q_BGPLK: queries.
        k_BGLK: keys.
        v_BGLK: values.
        segments_BL: int32, or None when each row is one sentence.
        per_head: run rows and heads one after another (for one CPU: blocks stay in its cache)
            rather than all at once (for accelerators and for sharded arrays).

    Returns:
        [B, G, P, L, K] in the queries' dtype.
    """
    return _forward(q_BGPLK, k_BGLK, v_BGLK, segments_BL, per_head)[0]


def _forward(q_BGPLK, k_BGLK, v_BGLK, segments_BL, per_head):
    def row(q_GPLK, k_GLK, v_GLK, segments_L):
        masks = _masks(segments_L, *q_GPLK.shape[1:3])
        return _each(per_head, functools.partial(_forward_head, masks))(q_GPLK, k_GLK, v_GLK)

    results = _each(per_head, row)(q_BGPLK, k_BGLK, v_BGLK, segments_BL)
    o_BGPLK, lse_BGPL = (checkpoint_name(result, ATTENTION) for result in results)
    return o_BGPLK, (q_BGPLK, k_BGLK, v_BGLK, segments_BL, o_BGPLK, lse_BGPL)


def _backward(per_head, residuals, do_BGPLK):
    q_BGPLK, k_BGLK, v_BGLK, segments_BL, o_BGPLK, lse_BGPL = residuals
    delta_BGPL = jnp.sum(o_BGPLK.astype(jnp.float32) * do_BGPLK.astype(jnp.float32), axis=-1)

    def row(segments_L, q_GPLK, *others):
        masks = _masks(segments_L, *q_GPLK.shape[1:3], transposed=True)
        return _each(per_head, functools.partial(_backward_head, masks))(q_GPLK, *others)

    # Turned round out here, once: inside, the compiler would fold it into a slower product.
    k_BGKL = jnp.swapaxes(k_BGLK, -1, -2)
    gradients = _each(per_head, row)(
        segments_BL, q_BGPLK, k_BGLK, k_BGKL, v_BGLK, lse_BGPL, delta_BGPL, do_BGPLK
    )
    return *gradients, None


attend_heads.defvjp(_forward, _backward)


def _each(one_by_one: bool, function: Callable) -> Callable:
    """`function` over the first axis of its arguments, in a loop or batched."""
    if not one_by_one:
        return jax.vmap(function)
    return lambda *arguments: jax.lax.map(lambda given: function(*given), arguments)


def _blocks(length: int) -> list[slice]:
    size = BLOCK * -(-length // (BLOCK * MAX_BLOCKS))
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _masks(segments_L, heads: int, length: int, transposed: bool = False) -> list[Array]:
    """Per block which keys which queries see: made once for all heads of a row.

    Returns:
        For each block of queries, bool [R, S] over all earlier keys; transposed: for each block of
        keys, bool [S, R] over all later queries.
    """
    masks = []
    for block in _blocks(length):
        if transposed:
            queries, keys = jnp.arange(block.start, length), jnp.arange(block.start, block.stop)
        else:
            queries, keys = jnp.arange(block.start, block.stop), jnp.arange(block.stop)
        mask_CS = queries[:, None] >= keys[None, :]
        if segments_L is not None:
            mask_CS &= segments_L[queries][:, None] == segments_L[keys][None, :]
        mask_RS = jnp.tile(mask_CS, (heads, 1))
        masks.append(mask_RS.T if transposed else mask_RS)
    return masks


def _rows(x_PLK: Array, block: slice) -> Array:
    """Positions of a block, query heads one after the other: [R, K], or [R] without K."""
    x_PCK = x_PLK[:, block]
    return x_PCK.reshape(-1, *x_PCK.shape[2:])


def _product(a: Array, b: Array, over: tuple[int, int]) -> Array:
    """Matrix product over dim over[0] of a and over[1] of b, accumulated in float32.

    Einsum would be free to compute the transpose and turn it round.
    """
    contracting = ((over[0],), (over[1],))
    return jax.lax.dot_general(a, b, (contracting, ((), ())), preferred_element_type=jnp.float32)


def _forward_head(masks, q_PLK, k_LK, v_LK):
    heads, length, dim = q_PLK.shape
    outputs, log_sums = [], []
    for mask_RS, block in zip(masks, _blocks(length)):
        s_RS = _product(_rows(q_PLK, block), k_LK[: block.stop], (1, 1))
        s_RS = jnp.where(mask_RS, s_RS * dim**-0.5, MASKED)
        top_R1 = jnp.max(s_RS, axis=-1, keepdims=True)
        e_RS = jnp.exp(s_RS - top_R1)
        sum_R1 = jnp.sum(e_RS, axis=-1, keepdims=True)
        o_RK = _product(e_RS.astype(v_LK.dtype), v_LK[: block.stop], (1, 0)) / sum_R1
        outputs.append(o_RK.astype(q_PLK.dtype).reshape(heads, -1, dim))
        log_sums.append((top_R1 + jnp.log(sum_R1)).reshape(heads, -1))
    return jnp.concatenate(outputs, axis=1), jnp.concatenate(log_sums, axis=1)


def _backward_head(masks, q_PLK, k_LK, k_KL, v_LK, lse_PL, delta_PL, do_PLK):
    """By blocks of keys, scores transposed: each product then has its long side contiguous."""
    heads, length, dim = q_PLK.shape
    dtype, scale = q_PLK.dtype, dim**-0.5
    dk, dv, dq_KPL = [], [], jnp.zeros((dim, heads, 0), jnp.float32)
    for mask_SR, block in reversed(list(zip(masks, _blocks(length)))):
        queries = slice(block.start, length)
        k_SK, v_SK = k_LK[block], v_LK[block]
        q_RK, do_RK = _rows(q_PLK, queries), _rows(do_PLK, queries)
        s_SR = jnp.where(mask_SR, _product(k_SK, q_RK, (1, 1)) * scale, MASKED)
        p_SR = jnp.exp(s_SR - _rows(lse_PL, queries)[None])
        dp_SR = _product(v_SK, do_RK, (1, 1))
        ds_SR = (p_SR * (dp_SR - _rows(delta_PL, queries)[None])).astype(dtype)
        dv.append(_product(p_SR.astype(dtype), do_RK, (1, 0)))
        dk.append(_product(ds_SR, q_RK, (1, 0)) * scale)
        part_KPC = _product(k_KL[:, block], ds_SR, (1, 0)).reshape(dim, heads, -1)
        # From the last block of keys to the first, the queries reached grow to the left.
        new = part_KPC.shape[-1] - dq_KPL.shape[-1]
        dq_KPL = jnp.concatenate([part_KPC[..., :new], part_KPC[..., new:] + dq_KPL], axis=-1)
    together = lambda parts: jnp.concatenate(parts[::-1]).astype(dtype)
    dq_PLK = (jnp.moveaxis(dq_KPL, 0, -1) * scale).astype(dtype)
    return dq_PLK, together(dk), together(dv)
