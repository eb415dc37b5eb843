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

    One array per layer, not one for all. Both products, of queries with keys and of their softmax
    with values, then sum over the axis before the last, as a matrix product on CPU reads fastest.

    Attributes:
        keys: per layer [N, G, K, L] after RoPE.
        values: per layer [N, G, L, K].
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
        values: per layer [R, G, S, K].
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
    R, G, K = num_rows, config.kv_heads, config.head_dim
    return Own(
        keys=(jnp.zeros((R, G, K, 0), dtype),) * config.num_layers,
        values=(jnp.zeros((R, G, 0, K), dtype),) * config.num_layers,
        length=jnp.zeros((), jnp.int32),
    )


def with_room(own: Own, room: int) -> Own:
    """The same with room for so many positions, at least as many as before."""
    none, more = (0, 0), (0, room - own.room)
    return Own(
        keys=tuple(jnp.pad(keys, (none, none, none, more)) for keys in own.keys),
        values=tuple(jnp.pad(values, (none, none, more, none)) for values in own.values),
        length=own.length,
    )


def write_keys(keys_RGKS: Array, new_RGK: Array, position: Array) -> Array:
    """One layer's keys with one position replaced."""
    new_RGK1 = new_RGK[..., None].astype(keys_RGKS.dtype)
    return jax.lax.dynamic_update_slice_in_dim(keys_RGKS, new_RGK1, position, axis=3)


def write_values(values_RGSK: Array, new_RGK: Array, position: Array) -> Array:
    """One layer's values with one position replaced."""
    new_RG1K = new_RGK[:, :, None].astype(values_RGSK.dtype)
    return jax.lax.dynamic_update_slice_in_dim(values_RGSK, new_RG1K, position, axis=2)
