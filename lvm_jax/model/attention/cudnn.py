"""cuDNN's fused attention on Hopper and newer GPUs, packed rows included.

cuDNN takes no segment ids but where segments begin and how long they are. JAX's public call does
not hand those on, so this uses the function behind it. Only when asked for: it has not been timed
against the other kernels here, and it lets no remat policy keep the softmax's sums, so that
remat="dots" runs the kernel's forward pass again.

Shapes: B rows, L length, M segments of a row at most, H query heads, G key/value heads, K head dim.
"""

import jax
import jax.numpy as jnp
from jax import Array

from lvm_jax.model.attention.needs import Needs
from lvm_jax.model.attention.placement import Placement

# Head dims are padded to a multiple of this.
HEAD_DIM_MULTIPLE = 8

NEEDS = Needs(
    module="jax._src.cudnn.fused_attention_stablehlo",
    platform="gpu",
    here=True,
    capability=(9, 0),
    dtypes=("bfloat16",),
    max_head_dim=256,
    # Before, offsets of keys were counted in query heads.
    grouped_from=(0, 12),
)


def attend(
    q_BLHK: Array, k_BLGK: Array, v_BLGK: Array, segments_BL: Array | None, placement: Placement
) -> Array:
    """See `backends.attend`; rows of more than `max_segments` segments give NaN, not nonsense."""
    return placement.run_whole(_share, q_BLHK, k_BLGK, v_BLGK, segments_BL)


def _share(q_BLHK: Array, k_BLGK: Array, v_BLGK: Array, segments_BL: Array | None) -> Array:
    from jax._src.cudnn import fused_attention_stablehlo as kernels

    K = q_BLHK.shape[-1]
    wider = ((0, 0), (0, 0), (0, 0), (0, -K % HEAD_DIM_MULTIPLE))
    q, k, v = (jnp.pad(x, wider) for x in (q_BLHK, k_BLGK, v_BLGK))
    if segments_BL is None:
        mask = kernels.MaskType.CAUSAL
        o_BLHK = kernels.dot_product_attention(q, k, v, scale=K**-0.5, mask_type=mask)
        return o_BLHK[..., :K]
    starts_BM, lengths_BM, fits_B = offsets(segments_BL, max_segments(segments_BL.shape[1]))
    o_BLHK = kernels.dot_product_attention(
        q,
        k,
        v,
        q_seqlen=lengths_BM,
        kv_seqlen=lengths_BM,
        q_offsets=starts_BM,
        kv_offsets=starts_BM,
        scale=K**-0.5,
        mask_type=kernels.MaskType.PADDING_CAUSAL,
    )
    return jnp.where(fits_B[:, None, None, None], o_BLHK[..., :K], jnp.nan)


def max_segments(length: int) -> int:
    """Of a row, its padding counted as one: room for segments of 128 ids on average, 16 at least.

    cuDNN keeps so many float32 sums per head and position, so it must not be more than is needed.
    """
    return max(16, length // 128)


def offsets(segments_BL: Array, max_segments: int) -> tuple[Array, Array, Array]:
    """Where the segments of each row begin, in the form of JAX's cuDNN attention.

    Args:
        segments_BL: int32; equal neighbours are one segment, the padding at the end is another.
        max_segments: M.

    Returns:
        (int32 [B, M + 1] first positions, int32 [B, M] lengths, both -1 beyond the last segment;
        bool [B], False for rows with more than M segments).
    """
    L = segments_BL.shape[1]
    begins_BL = segments_BL != jnp.pad(segments_BL[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    find = lambda begins_L: jnp.nonzero(begins_L, size=max_segments + 1, fill_value=L)[0]
    starts_BM = jax.vmap(find)(begins_BL).astype(jnp.int32)
    lengths_BM = jnp.diff(starts_BM, axis=1)
    absent = lambda x_BM, is_absent: jnp.where(is_absent, -1, x_BM)
    fits_B = starts_BM[:, -1] == L
    return absent(starts_BM, starts_BM == L), absent(lengths_BM, lengths_BM == 0), fits_B
