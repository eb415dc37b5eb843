"""The reference: all scores at once, in float32.

Shapes: B batch, L query length, S key length, G key/value heads, P query heads per key/value head,
H = G * P query heads, K head dim.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from lvm_jax.model.attention.blockwise import MASKED
from lvm_jax.model.attention.needs import Needs
from lvm_jax.model.attention.placement import Placement
from lvm_jax.model.attention.saved_names import ATTENTION, PROJECTION

NEEDS = Needs()


def attend(
    q_BLHK: Array, k_BLGK: Array, v_BLGK: Array, segments_BL: Array | None, placement: Placement
) -> Array:
    """See `backends.attend`."""
    del placement  # the compiler splits it
    B, L, H, K = q_BLHK.shape
    G = k_BLGK.shape[2]
    keep = lambda x: checkpoint_name(x, PROJECTION)
    q_BLGPK = keep(q_BLHK.reshape(B, L, G, H // G, K))
    return _whole(q_BLGPK, keep(k_BLGK), keep(v_BLGK), segments_BL).reshape(B, L, H, K)


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
