"""Keys and values of the positions already seen.

Shapes: B batch, G key/value heads, T positions the cache has room for, K head dim.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from lvm_jax.model.config import TransformerConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """One array per layer, not one for all: a loop can then update each in place.

    Attributes:
        keys: per layer [B, G, T, K] after RoPE, in the model's compute dtype.
        values: per layer [B, G, T, K].
        length: int32 scalar, positions filled; every row of the batch has as many.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    length: Array

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]


def init_cache(config: TransformerConfig, batch: int, length: int) -> Cache:
    """An empty cache with room for `length` positions in each of `batch` rows."""
    shape = (batch, config.kv_heads, length, config.head_dim)
    empty = lambda: tuple(jnp.zeros(shape, config.dtype) for _ in range(config.num_layers))
    return Cache(keys=empty(), values=empty(), length=jnp.zeros((), jnp.int32))
