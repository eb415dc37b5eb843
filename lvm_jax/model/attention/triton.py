"""JAX's Pallas-Triton attention for GPUs: one kernel forward and one backward.

Blocks that the causal mask hides are skipped. It knows no grouped heads: keys and values are
repeated for each query head. JAX 0.12 still has it, but means to take it and the compiler behind it
away for `tokamax`; "auto" then says so and takes "blockwise".

Shapes: B rows, L length, H query heads, G key/value heads, K head dim.
"""

import functools
import types
import warnings

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from lvm_jax.model.attention.needs import Needs
from lvm_jax.model.attention.placement import Placement
from lvm_jax.model.attention.saved_names import ATTENTION, PROJECTION

# Positions of a block forward and backward.
FORWARD_BLOCK, BACKWARD_BLOCK = 128, 64

NEEDS = Needs(
    module="jax.experimental.pallas.ops.gpu.attention",
    platform="gpu",
    interpreted=True,
    capability=(8, 0),
    length_multiple=FORWARD_BLOCK,
    max_head_dim=128,
)


def attend(
    q_BLHK: Array, k_BLGK: Array, v_BLGK: Array, segments_BL: Array | None, placement: Placement
) -> Array:
    """See `backends.attend`."""
    keep = lambda x: checkpoint_name(x, PROJECTION)
    k_BLGK, kv_heads = placement.beside_queries(keep(k_BLGK), q_BLHK.shape[2])
    v_BLGK, _ = placement.beside_queries(keep(v_BLGK), q_BLHK.shape[2])

    def share(q_BLHK, k_BLGK, v_BLGK, segments_BL):
        repeat = lambda x_BLGK: jnp.repeat(x_BLGK, q_BLHK.shape[2] // x_BLGK.shape[2], axis=2)
        return _attend(q_BLHK, repeat(k_BLGK), repeat(v_BLGK), segments_BL, placement.interpret)

    q_spec, kv_spec = (placement.spec(f"batch - {n} -") for n in ("act_heads", kv_heads))
    in_specs = (q_spec, kv_spec, kv_spec, placement.spec("batch -"))
    run = placement.per_device(share, in_specs, q_spec)
    return run(keep(q_BLHK), k_BLGK, v_BLGK, segments_BL)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(q_BLHK, k_BLHK, v_BLHK, segments_BL, interpret):
    return _forward(q_BLHK, k_BLHK, v_BLHK, segments_BL, interpret)[0]


def _forward(q_BLHK, k_BLHK, v_BLHK, segments_BL, interpret):
    kernels = _kernels()
    results = kernels.mha(
        *(q_BLHK, k_BLHK, v_BLHK, segments_BL),
        sm_scale=q_BLHK.shape[-1] ** -0.5,
        causal=True,
        block_sizes=_block_sizes(kernels),
        interpret=interpret,
        return_residuals=True,
    )
    # JAX's own rule for gradients names nothing, so that a policy could not keep the sums.
    o_BLHK, lse_BHL = (checkpoint_name(result, ATTENTION) for result in results)
    return o_BLHK, (q_BLHK, k_BLHK, v_BLHK, segments_BL, o_BLHK, lse_BHL)


def _backward(interpret, residuals, do_BLHK):
    kernels = _kernels()
    scale = do_BLHK.shape[-1] ** -0.5
    # In their order: scale, causal, blocks, implementation, warps, stages, grid, interpret, debug,
    # return_residuals.
    options = (scale, True, _block_sizes(kernels), "triton", None, 2, None, interpret, False, False)
    return kernels._mha_backward(*options, residuals, do_BLHK)


_attend.defvjp(_forward, _backward)


def _kernels() -> types.ModuleType:
    with warnings.catch_warnings():
        # Said in this file's docstring.
        warnings.simplefilter("ignore", DeprecationWarning)
        from jax.experimental.pallas.ops.gpu import attention
    return attention


def _block_sizes(kernels: types.ModuleType):
    return kernels.BlockSizes(
        block_q=FORWARD_BLOCK,
        block_k=FORWARD_BLOCK,
        block_q_dkv=BACKWARD_BLOCK,
        block_kv_dkv=BACKWARD_BLOCK,
        block_q_dq=BACKWARD_BLOCK,
        block_kv_dq=BACKWARD_BLOCK,
    )
