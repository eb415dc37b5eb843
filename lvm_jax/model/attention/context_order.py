"""The order in which devices that share a row hold its positions.

Of a causal row in C equal parts the last has the most keys to look at. Cut into 2 * C chunks,
device i holding chunks i and 2 * C - 1 - i, every device meets 2 * C + 1 pairs of a chunk of
queries and a chunk of keys at or before it: the same number everywhere. Only arrays of numbers per
position (ids, segments, positions, weights) are brought into this order and, inside a step, never
back; rows keep their natural order everywhere else.

Shapes: B rows, L length, C parts of a row (devices that share it).
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from lvm_jax import partition
from lvm_jax.partition import Rules


def chunks(parts: int) -> np.ndarray:
    """int32 [C, 2]: which two of the 2 * C chunks of a row each device holds."""
    first_C = np.arange(parts, dtype=np.int32)
    return np.stack([first_C, 2 * parts - 1 - first_C], axis=1)


def natural_positions(length: int, parts: int) -> np.ndarray:
    """int32 [L]: which position of the row stands at each place of the balanced order."""
    if parts == 1:
        return np.arange(length, dtype=np.int32)
    return np.arange(length, dtype=np.int32).reshape(2 * parts, -1)[chunks(parts)].reshape(-1)


def balance(x_BL: Array, mesh: Mesh | None, rules: Rules | None) -> Array:
    """Numbers per position, [B, L], from their natural order to the balanced one.

    Gathers them over the devices that share a row: 4 bytes a position.
    """
    return _take(x_BL, natural_positions(*_sizes(x_BL, mesh, rules)), mesh, rules)


def restore(x_BL: Array, mesh: Mesh | None, rules: Rules | None) -> Array:
    """Arrays [B, L, ...] from the balanced order to the natural one; gathers them over a row."""
    order_L = natural_positions(*_sizes(x_BL, mesh, rules))
    return _take(x_BL, np.argsort(order_L), mesh, rules)


def _sizes(x_BL: Array, mesh: Mesh | None, rules: Rules | None) -> tuple[int, int]:
    """(L, C)."""
    return x_BL.shape[1], partition.num_parts("length", mesh, rules)


def _take(x_BL: Array, order_L: np.ndarray, mesh: Mesh | None, rules: Rules | None) -> Array:
    if partition.num_parts("length", mesh, rules) == 1:
        return x_BL
    axes = ("batch", "length", *(None,) * (x_BL.ndim - 2))
    return partition.constrain(jnp.take(x_BL, order_L, axis=1), axes, mesh, rules)
