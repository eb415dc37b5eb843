"""JAX's splash attention for TPU v4 and newer: one kernel forward and one backward.

Blocks that the causal mask hides are skipped; scores never leave the chip's vector memory. Devices
that share rows gather their keys and values, as in `context`.

Shapes: B rows, L length, H query heads, G key/value heads, K head dim.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import NamedSharding

from lvm_jax.model.attention.context import whole_row
from lvm_jax.model.attention.context_order import natural_positions
from lvm_jax.model.attention.needs import Needs
from lvm_jax.model.attention.placement import Placement
from lvm_jax.model.attention.saved_names import ATTENTION, PROJECTION

# Positions of a block. 512 is what JAX and MaxText take for rows of some thousand; the least is the
# width of a TPU's vector registers.
BLOCKS = (512, 256, 128)
# The fused backward kernel writes the queries' gradients once for every block of keys: in rows of
# more blocks than this, that would be more than the rest of a layer.
FUSED_BLOCKS = 8
# Of a row in so many blocks or more the causal mask hides enough whole ones.
MIN_BLOCKS = 4

NEEDS = Needs(
    platform="tpu",
    interpreted=True,
    # Their compiler refuses the kernel's bfloat16 products.
    old_kinds=("TPU v2", "TPU v3"),
    length_multiple=BLOCKS[-1],
)


def attend(
    q_BLHK: Array, k_BLGK: Array, v_BLGK: Array, segments_BL: Array | None, placement: Placement
) -> Array:
    """See `backends.attend`."""
    H = q_BLHK.shape[2]
    keep = lambda x: checkpoint_name(x, PROJECTION)
    # Scaled first, since the kernel does not.
    q_BLHK = keep(q_BLHK * q_BLHK.shape[-1] ** -0.5)
    k_BLGK, kv_heads = placement.beside_queries(keep(k_BLGK), H)
    v_BLGK, _ = placement.beside_queries(keep(v_BLGK), H)
    kernel = _kernel(H, q_BLHK.shape[1], placement)

    def share(kernel, q_BHLK, k_BLGK, v_BLGK, segments_BL):
        def row(q_HLK, k_GLK, v_GLK, segments_L, key_segments_L):
            of_both = None if segments_L is None else kernels.SegmentIds(segments_L, key_segments_L)
            return kernel(q_HLK, k_GLK, v_GLK, of_both)

        k_BGLK, v_BGLK = (jnp.moveaxis(whole_row(x, placement), 1, 2) for x in (k_BLGK, v_BLGK))
        key_segments_BL = None if segments_BL is None else whole_row(segments_BL, placement)
        return jax.vmap(row)(q_BHLK, k_BGLK, v_BGLK, segments_BL, key_segments_BL)

    q_spec = placement.spec("batch act_heads length -")
    kv_spec, rows = placement.spec(f"batch length {kv_heads} -"), placement.spec("batch length")
    in_specs = (_spec(kernel, placement), q_spec, kv_spec, kv_spec, rows)
    run = placement.per_device(share, in_specs, q_spec)
    q_BHLK = jnp.moveaxis(q_BLHK, 1, 2)
    return jnp.moveaxis(run(kernel, q_BHLK, k_BLGK, v_BLGK, segments_BL), 2, 1)


def block_size(length: int, parts: int = 1) -> int:
    """Positions of a block of queries and of keys.

    Args:
        length: ids of a row.
        parts: devices that share it, two chunks each; chunks (or else the row) are multiples of the
            least block.
    """
    chunk = length if parts == 1 else length // (2 * parts)
    fits = lambda block: chunk % block == 0 and length >= MIN_BLOCKS * block
    return next((block for block in BLOCKS if fits(block)), BLOCKS[-1])


def _kernel(num_heads: int, length: int, placement: Placement) -> kernels.SplashAttentionKernel:
    parts = placement.parts("length")
    size = block_size(length, parts)
    fused = length // size <= FUSED_BLOCKS
    blocks = kernels.BlockSizes(
        block_q=size,
        block_kv=size,
        block_kv_compute=size,
        block_q_dkv=size,
        block_kv_dkv=size,
        block_kv_dkv_compute=size,
        block_q_dq=None if fused else size,
        block_kv_dq=None if fused else size,
        use_fused_bwd_kernel=fused,
    )
    mask = masks.CausalMask((length, length))
    mask.q_sequence = natural_positions(length, parts)
    return kernels.make_splash_mha(
        mask=masks.MultiHeadMask([mask] * num_heads),
        block_sizes=blocks,
        head_shards=placement.parts("act_heads"),
        q_seq_shards=parts,
        # The output and the softmax's sums.
        residual_checkpoint_name=ATTENTION,
        interpret=placement.interpret,
    )


def _spec(kernel: kernels.SplashAttentionKernel, placement: Placement):
    """How the kernel's tables of blocks are split: as the queries."""
    if placement.mesh is None:
        return None
    return kernel.manual_sharding_spec(
        NamedSharding(placement.mesh, placement.spec("act_heads length"))
    )
