"""Keys and values of the positions already seen.

Shapes: B batch, L new positions, G key/value heads, K head dim, T positions the cache has room for.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from lvm_jax.model.transformer_config import TransformerConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """One array per layer, not one for all: a loop can then update each in place.

    Positions come last, so that one query's products with all of them run over contiguous memory.

    Attributes:
        keys: per layer [B, G, K, T] after RoPE, in the model's compute dtype.
        values: per layer [B, G, K, T].
        length: int32 scalar, positions filled; every row of the batch has as many.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    length: Array

    @property
    def capacity(self) -> int:
        """T: positions there is room for, filled or not."""
        return self.keys[0].shape[-1]


def init_cache(config: TransformerConfig, batch: int, length: int) -> Cache:
    """An empty cache with room for `length` positions in each of `batch` rows."""
    shape = (batch, config.kv_heads, config.head_dim, length)
    empty = lambda: tuple(jnp.zeros(shape, config.dtype) for _ in range(config.num_layers))
    return Cache(keys=empty(), values=empty(), length=jnp.zeros((), jnp.int32))


def write(cached_BGKT: Array, new_BLGK: Array, start: Array | int) -> Array:
    """One layer's keys or values with positions start..start+L-1 replaced."""
    new_BGKL = jnp.transpose(new_BLGK, (0, 2, 3, 1)).astype(cached_BGKT.dtype)
    return jax.lax.dynamic_update_slice_in_dim(cached_BGKT, new_BGKL, start, axis=3)
