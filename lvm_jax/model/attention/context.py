"""Causal attention of rows that several devices share (context parallelism).

Each device holds two chunks of a row's queries (`context_order`), gathers the keys and values of
the whole row and lets its queries meet what they may see, as Llama 3 was trained (Grattafiori et
al. 2024, section 3.3.2): any kernel and any mask serve, and keys and values are the smaller part
where heads are grouped. Everything else of a row stays in parts; the gradients of keys and values
go back by a reduce-scatter.

The part of one device is plain JAX here, with FlashAttention's algebra (Dao et al. 2022). Of the
row's M blocks of positions, blocks b and M - 1 - b of queries together meet M + 1 blocks of keys,
whatever b is: so one loop of that many steps serves any device, and no step is masked whole.

Shapes: B rows, L length, C parts of a row, G key/value heads, P query heads per key/value head,
H = G * P query heads, K head dim, M blocks of a row, S positions of a block (of queries: Q),
N = M / 2C pairs of blocks of a device's queries, T = 2 blocks of a pair.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from lvm_jax.model.attention.blockwise import MASKED
from lvm_jax.model.attention.placement import Placement
from lvm_jax.model.attention.saved_names import ATTENTION, PROJECTION

# Positions of a block: at most so many, where the chunks of a row divide into them.
MAX_BLOCK = 512


def attend(
    q_BLHK: Array, k_BLGK: Array, v_BLGK: Array, segments_BL: Array | None, placement: Placement
) -> Array:
    """See `backends.attend`; arrays and result are in the balanced order of `context_order`."""
    keep = lambda x: checkpoint_name(x, PROJECTION)
    k_BLGK, kv_heads = placement.beside_queries(keep(k_BLGK), q_BLHK.shape[2])
    v_BLGK, _ = placement.beside_queries(keep(v_BLGK), q_BLHK.shape[2])
    index_axes = placement.rules.mesh_axes("length")

    def share(q_BLHK: Array, k_BLGK: Array, v_BLGK: Array, segments_BL: Array | None) -> Array:
        """What one device computes; arrays are its own."""
        B, L, H, K = q_BLHK.shape
        size = block_size(L // 2)
        gather = lambda x_BL: blocks(whole_row(x_BL, placement), size)
        q_BLGPK = q_BLHK.reshape(B, L, k_BLGK.shape[2], -1, K)
        q_NTBGPQK = _paired(jnp.moveaxis(blocks(q_BLGPK, size), 2, 4))
        k_MBGSK, v_MBGSK = (jnp.moveaxis(gather(x), 2, 3) for x in (k_BLGK, v_BLGK))
        segments = None
        if segments_BL is not None:
            segments = _paired(blocks(segments_BL, size)), gather(segments_BL)
        o_NTBGPQK = _meet(q_NTBGPQK, k_MBGSK, v_MBGSK, segments, jax.lax.axis_index(index_axes))
        o_BNQGPK = jnp.moveaxis(_unpaired(o_NTBGPQK), (0, 4), (1, 2))
        return o_BNQGPK.reshape(B, L, H, K)

    heads = placement.spec("batch length act_heads -")
    kv_spec, rows = placement.spec(f"batch length {kv_heads} -"), placement.spec("batch length")
    run = placement.per_device(share, (heads, kv_spec, kv_spec, rows), heads)
    return run(keep(q_BLHK), k_BLGK, v_BLGK, segments_BL)


def whole_row(x_BL: Array, placement: Placement) -> Array:
    """A device's part of rows, [B, L / C, ...] in balanced order -> rows, [B, L, ...] in natural.

    Runs on each device, see `Placement.per_device`; nothing to do where rows are whole.
    """
    parts = placement.parts("length")
    if parts == 1:
        return x_BL
    axes = placement.rules.mesh_axes("length")
    x_BL = jax.lax.all_gather(x_BL, axes, axis=1, tiled=True)
    B, L = x_BL.shape[:2]
    x_BCTS = x_BL.reshape(B, parts, 2, L // (2 * parts), *x_BL.shape[2:])
    return jnp.concatenate([x_BCTS[:, :, 0], x_BCTS[:, ::-1, 1]], axis=1).reshape(x_BL.shape)


def block_size(chunk: int) -> int:
    """The largest divisor of a chunk's length up to MAX_BLOCK.

    One that is tiny beside it (the length is prime, say) would make thousands of steps: then the
    chunk is one block.
    """
    size = next(size for size in range(min(chunk, MAX_BLOCK), 0, -1) if chunk % size == 0)
    return size if 4 * size >= min(chunk, MAX_BLOCK) else chunk


def blocks(x_BL: Array, size: int) -> Array:
    """[B, L, ...] -> [L / size, B, size, ...]."""
    return jnp.moveaxis(x_BL.reshape(x_BL.shape[0], -1, size, *x_BL.shape[2:]), 1, 0)


def _paired(x_N: Array) -> Array:
    """Blocks of a device, [2 * N, ...], in pairs: [N, 2, ...].

    Each block of the first chunk, from its start, beside one of the second, from its end.
    """
    num_pairs = x_N.shape[0] // 2
    return jnp.stack([x_N[:num_pairs], x_N[num_pairs:][::-1]], axis=1)


def _unpaired(x_NT: Array) -> Array:
    """Undoes `_paired`."""
    return jnp.concatenate([x_NT[:, 0], x_NT[::-1, 1]])


@jax.custom_vjp
def _meet(
    q_NTBGPQK: Array,
    k_MBGSK: Array,
    v_MBGSK: Array,
    segments: tuple[Array, Array] | None,
    index: Array,
) -> Array:
    """Attention of a device's queries to the row's keys and values.

    Args:
        q_NTBGPQK: `_paired` blocks of queries.
        k_MBGSK: blocks of keys, natural order.
        v_MBGSK: blocks of values, natural order.
        segments: int32 [N, T, B, Q] of the queries and [M, B, S] of the keys, or None.
        index: int32, which of the devices that share the row this one is.

    Returns:
        Like the queries.
    """
    return _forward(q_NTBGPQK, k_MBGSK, v_MBGSK, segments, index)[0]


def _forward(q_NTBGPQK, k_MBGSK, v_MBGSK, segments, index):
    def pair(_, given):
        first, q_TBGPQK, segments_TBQ = given
        step = functools.partial(_seen, first, k_MBGSK, segments_TBQ, segments)

        def meet(sums, number):
            block, keys, scores = step(number, q_TBGPQK)
            old_top, old_sum, old_o = (_pick(x, block) for x in sums)
            top_BGPQ = jnp.maximum(old_top, jnp.max(scores, axis=-1))
            e_BGPQS = jnp.exp(scores - top_BGPQ[..., None])
            shrink_BGPQ = jnp.exp(old_top - top_BGPQ)
            sum_BGPQ = old_sum * shrink_BGPQ + jnp.sum(e_BGPQS, axis=-1)
            v_BGSK = _pick(v_MBGSK, keys)
            part = _einsum("BGPQS,BGSK->BGPQK", e_BGPQS.astype(v_BGSK.dtype), v_BGSK)
            o_BGPQK = old_o * shrink_BGPQ[..., None] + part
            new = top_BGPQ, sum_BGPQ, o_BGPQK
            return tuple(_put(x, value, block) for x, value in zip(sums, new)), None

        zeros_TBGPQ = jnp.zeros(q_TBGPQK.shape[:-1], jnp.float32)
        zeros = zeros_TBGPQ + MASKED, zeros_TBGPQ, jnp.zeros(q_TBGPQK.shape, jnp.float32)
        (top, total, o), _ = jax.lax.scan(meet, zeros, jnp.arange(k_MBGSK.shape[0] + 1))
        return None, ((o / total[..., None]).astype(q_TBGPQK.dtype), top + jnp.log(total))

    _, results = jax.lax.scan(pair, None, _pairs(q_NTBGPQK, segments, index))
    o_NTBGPQK, lse_NTBGPQ = (checkpoint_name(result, ATTENTION) for result in results)
    residuals = q_NTBGPQK, k_MBGSK, v_MBGSK, segments, index, o_NTBGPQK, lse_NTBGPQ
    return o_NTBGPQK, residuals


def _backward(residuals, do_NTBGPQK):
    q_NTBGPQK, k_MBGSK, v_MBGSK, segments, index, o_NTBGPQK, lse_NTBGPQ = residuals
    scale = q_NTBGPQK.shape[-1] ** -0.5
    delta_NTBGPQ = jnp.sum(o_NTBGPQK.astype(jnp.float32) * do_NTBGPQK.astype(jnp.float32), axis=-1)

    def pair(totals, given):
        (first, q_TBGPQK, segments_TBQ), do_TBGPQK, lse_TBGPQ, delta_TBGPQ = given
        step = functools.partial(_seen, first, k_MBGSK, segments_TBQ, segments)

        def meet(totals, number):
            dq_TBGPQK, dk_MBGSK, dv_MBGSK = totals
            block, keys, scores = step(number, q_TBGPQK)
            pick = lambda x: _pick(x, block)
            q_BGPQK, do_BGPQK = pick(q_TBGPQK), pick(do_TBGPQK)
            p_BGPQS = jnp.exp(scores - pick(lse_TBGPQ)[..., None])
            dp_BGPQS = _einsum("BGPQK,BGSK->BGPQS", do_BGPQK, _pick(v_MBGSK, keys))
            ds_BGPQS = p_BGPQS * (dp_BGPQS - pick(delta_TBGPQ)[..., None])
            p_BGPQS, ds_BGPQS = (x.astype(q_BGPQK.dtype) for x in (p_BGPQS, ds_BGPQS))
            dv = _einsum("BGPQS,BGPQK->BGSK", p_BGPQS, do_BGPQK)
            dk = _einsum("BGPQS,BGPQK->BGSK", ds_BGPQS, q_BGPQK)
            dq = _einsum("BGPQS,BGSK->BGPQK", ds_BGPQS, _pick(k_MBGSK, keys))
            dk_MBGSK = _put(dk_MBGSK, _pick(dk_MBGSK, keys) + dk, keys)
            dv_MBGSK = _put(dv_MBGSK, _pick(dv_MBGSK, keys) + dv, keys)
            dq_TBGPQK = _put(dq_TBGPQK, pick(dq_TBGPQK) + dq, block)
            return (dq_TBGPQK, dk_MBGSK, dv_MBGSK), None

        start = jnp.zeros(q_TBGPQK.shape, jnp.float32), *totals
        (dq_TBGPQK, *totals), _ = jax.lax.scan(meet, start, jnp.arange(k_MBGSK.shape[0] + 1))
        return tuple(totals), (dq_TBGPQK * scale).astype(q_TBGPQK.dtype)

    zeros = tuple(jnp.zeros(x.shape, jnp.float32) for x in (k_MBGSK, v_MBGSK))
    given = _pairs(q_NTBGPQK, segments, index), do_NTBGPQK, lse_NTBGPQ, delta_NTBGPQ
    (dk_MBGSK, dv_MBGSK), dq_NTBGPQK = jax.lax.scan(pair, zeros, given)
    dk_MBGSK, dv_MBGSK = (dk_MBGSK * scale).astype(k_MBGSK.dtype), dv_MBGSK.astype(v_MBGSK.dtype)
    return dq_NTBGPQK, dk_MBGSK, dv_MBGSK, None, None


_meet.defvjp(_forward, _backward)


def _pairs(q_NTBGPQK: Array, segments: tuple[Array, Array] | None, index: Array):
    """Of each pair of blocks of queries: the first one's place in the row, both, their segments."""
    num_pairs = q_NTBGPQK.shape[0]
    first_N = index * num_pairs + jnp.arange(num_pairs)
    return first_N, q_NTBGPQK, None if segments is None else segments[0]


def _seen(first, k_MBGSK, segments_TBQ, segments, number, q_TBGPQK):
    """One step of a pair: which block of queries meets which keys, and their masked scores.

    Blocks `first` and M - 1 - `first` of queries meet blocks 0..first and 0..M - 1 - first of keys.

    Returns:
        (0 or 1, block of keys, float32 [B, G, P, Q, S]).
    """
    num_blocks, size = k_MBGSK.shape[0], k_MBGSK.shape[3]
    block = (number > first).astype(jnp.int32)
    keys = jnp.where(block == 0, number, number - first - 1)
    queries = jnp.where(block == 0, first, num_blocks - 1 - first)
    places_S = jnp.arange(size)
    mask_BQS = (queries * size + places_S[:, None] >= keys * size + places_S[None])[None]
    if segments is not None:
        segments_BQ, segments_BS = _pick(segments_TBQ, block), _pick(segments[1], keys)
        mask_BQS = mask_BQS & (segments_BQ[:, :, None] == segments_BS[:, None])
    q_BGPQK, k_BGSK = _pick(q_TBGPQK, block), _pick(k_MBGSK, keys)
    scores_BGPQS = _einsum("BGPQK,BGSK->BGPQS", q_BGPQK, k_BGSK) * q_BGPQK.shape[-1] ** -0.5
    return block, keys, jnp.where(mask_BQS[:, None, None], scores_BGPQS, MASKED)


def _pick(x_M: Array, index: Array) -> Array:
    return jax.lax.dynamic_index_in_dim(x_M, index, keepdims=False)


def _put(x_M: Array, value: Array, index: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(x_M, value, index, 0)


def _einsum(spelled: str, a: Array, b: Array) -> Array:
    return jnp.einsum(spelled, a, b, preferred_element_type=jnp.float32)
