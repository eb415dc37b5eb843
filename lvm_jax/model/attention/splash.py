"""JAX's splash attention for TPU v4 and newer: one kernel forward and one backward.

Blocks that the causal mask hides are skipped; scores never leave the chip's vector memory.

Shapes: B rows, L length, H query heads, G key/value heads, K head dim.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lvm_jax.model.attention.needs import Needs
from lvm_jax.model.attention.placement import Placement
from lvm_jax.model.attention.saved_names import ATTENTION, PROJECTION

# Positions of a block, the greatest first that divides a row. 512 is JAX's and MaxText's choice for
# training at some thousand positions; the least is the width of a TPU's vector registers.
BLOCKS = (512, 256, 128)

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
    q_BHLK, k_BGLK, v_BGLK = (jnp.moveaxis(x, 1, 2) for x in (q_BLHK, k_BLGK, v_BLGK))
    kernel = _kernel(H, q_BLHK.shape[1], placement)

    def share(kernel, q_BHLK, k_BGLK, v_BGLK, segments_BL):
        def row(q_HLK, k_GLK, v_GLK, segments_L):
            of_both = None if segments_L is None else kernels.SegmentIds(segments_L, segments_L)
            return kernel(q_HLK, k_GLK, v_GLK, of_both)

        return jax.vmap(row)(q_BHLK, k_BGLK, v_BGLK, segments_BL)

    q_spec, kv_spec = (placement.spec(f"batch {n} - -") for n in ("act_heads", kv_heads))
    in_specs = (_spec(kernel, placement), q_spec, kv_spec, kv_spec, placement.spec("batch -"))
    run = placement.per_device(share, in_specs, q_spec)
    return jnp.moveaxis(run(kernel, q_BHLK, k_BGLK, v_BGLK, segments_BL), 2, 1)


def block_size(length: int) -> int:
    """Positions of a block of queries and of keys, for rows of `length` (a multiple of 128)."""
    return next(block for block in BLOCKS if length % block == 0)


def _kernel(num_heads: int, length: int, placement: Placement) -> kernels.SplashAttentionKernel:
    size = block_size(length)
    blocks = kernels.BlockSizes(
        block_q=size,
        block_kv=size,
        block_kv_compute=size,
        block_q_dkv=size,
        block_kv_dkv=size,
        block_kv_dkv_compute=size,
        use_fused_bwd_kernel=True,
    )
    return kernels.make_splash_mha(
        mask=masks.MultiHeadMask([masks.CausalMask((length, length))] * num_heads),
        block_sizes=blocks,
        head_shards=placement.parts("act_heads"),
        q_seq_shards=1,
        # The output and the softmax's sums.
        residual_checkpoint_name=ATTENTION,
        interpret=placement.interpret,
    )


def _spec(kernel: kernels.SplashAttentionKernel, placement: Placement):
    """How the kernel's tables of blocks are split: as the query heads."""
    if placement.mesh is None:
        return None
    heads = placement.spec("act_heads")[0]
    return kernel.manual_sharding_spec(NamedSharding(placement.mesh, P(heads, None)))
