"""Keys and values of prompts, which candidates share, and of what each candidate adds.

Shapes: N prompts, C candidates of each, R = N * C rows, G key/value heads, K head dim, L positions
of a prompt, S positions that a row has room for.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lvm_jax.model.transformer_config import TransformerConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prompts:
    """What every candidate of a prompt sees; written once.

    One array per layer, not one for all. Positions come last, so that one query's products with
    all of them run over contiguous memory.

    Attributes:
        keys: per layer [N, G, K, L] after RoPE.
        values: per layer [N, G, K, L].
        lengths: int32 [N], ids of each prompt; what is behind them is padding.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    lengths: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Own:
    """What each row has added to its prompt; the candidates of a prompt are neighbours.

    One array per layer: a loop can then update each in place.

    Attributes:
        keys: per layer [R, G, K, S] after RoPE.
        values: per layer [R, G, K, S].
        length: int32 scalar, positions filled, as many in every row.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    length: Array

    @property
    def room(self) -> int:
        """S: positions there is room for, filled or not."""
        return self.keys[0].shape[-1]


def empty(config: TransformerConfig, num_rows: int, dtype: DTypeLike) -> Own:
    """Nothing added yet, and no room for it: see `with_room`."""
    shape = (num_rows, config.kv_heads, config.head_dim, 0)
    nothing = (jnp.zeros(shape, dtype),) * config.num_layers
    return Own(keys=nothing, values=nothing, length=jnp.zeros((), jnp.int32))


def with_room(own: Own, room: int) -> Own:
    """The same with room for so many positions, at least as many as before."""
    widths = ((0, 0),) * 3 + ((0, room - own.room),)
    pad = lambda arrays: tuple(jnp.pad(array, widths) for array in arrays)
    return Own(keys=pad(own.keys), values=pad(own.values), length=own.length)


def write(cached_RGKS: Array, new_RGK: Array, position: Array) -> Array:
    """One layer's keys or values with one position replaced."""
    new_RGK1 = new_RGK[..., None].astype(cached_RGKS.dtype)
    return jax.lax.dynamic_update_slice_in_dim(cached_RGKS, new_RGK1, position, axis=3)
