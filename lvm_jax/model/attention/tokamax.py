"""tokamax's Mosaic-GPU attention for Hopper and Blackwell: an extra, `lvm_jax[tokamax]`.

It needs Python 3.12 and a newer JAX than the oldest that this package takes, and brings some fifty
packages; so it is imported only where it is asked for. Its public call takes no segments: the
function behind it takes the first key that each query sees. It lets no remat policy keep the
softmax's sums, so that remat="dots" runs the kernel's forward pass again. Not timed here yet.

Shapes: B rows, L length, H query heads, G key/value heads, K head dim.
"""

import jax
import jax.numpy as jnp
from jax import Array

from lvm_jax.model.attention.needs import Needs
from lvm_jax.model.attention.placement import Placement

NEEDS = Needs(
    module="tokamax",
    extra="tokamax",
    platform="gpu",
    interpreted=True,
    here=True,
    capability=(9, 0),
    # float32 has no backward kernel.
    dtypes=("bfloat16",),
    max_head_dim=256,
)


def attend(
    q_BLHK: Array, k_BLGK: Array, v_BLGK: Array, segments_BL: Array | None, placement: Placement
) -> Array:
    """See `backends.attend`; on CPU tokamax's plain form of the same stands in for the kernel."""
    from tokamax._src.ops.attention import api, base

    run = api.IMPLEMENTATIONS["xla" if placement.interpret else "mosaic_gpu"]

    def share(q_BLHK, k_BLGK, v_BLGK, segments_BL):
        first = None if segments_BL is None else first_keys(segments_BL)[:, None]
        mask = base.Mask(k_start=first, is_causal=True)
        return run(q_BLHK, k_BLGK, v_BLGK, mask=mask, logits_scale=q_BLHK.shape[-1] ** -0.5)

    return placement.run_whole(share, q_BLHK, k_BLGK, v_BLGK, segments_BL)


def first_keys(segments_BL: Array) -> Array:
    """int32 [B, L]: where the segment of each position begins; equal neighbours are one segment."""
    begins_BL = segments_BL[:, 1:] != segments_BL[:, :-1]
    begins_BL = jnp.pad(begins_BL, ((0, 0), (1, 0)), constant_values=True)
    places_BL = jnp.where(begins_BL, jnp.arange(segments_BL.shape[1])[None], 0)
    return jax.lax.cummax(places_BL, axis=1)
