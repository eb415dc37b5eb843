"""The order in which devices that share a row hold its positions.

A causal row cut into C equal parts gives the last device nearly all of the work. Cut into 2 * C
chunks, device i holding chunks i and 2 * C - 1 - i, every device meets 2 * C + 1 of the pairs (chunk
of queries, chunk of keys at or before it): the same number everywhere. Only arrays of numbers per
position (ids, segments, positions, weights) are brought into this order and, inside a step, never
brought back; rows keep their natural order everywhere else.

Shapes: B rows, L length, C parts of a row (devices that share it).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from lvm_jax import partition
from lvm_jax.configs import ConfigError, Field
from lvm_jax.partition import Rules


def mesh_axes(mesh: Mesh | None, rules: Rules | None) -> tuple[str, ...]:
    """The mesh axes that split rows, those of size one left out."""
    if mesh is None:
        return ()
    return tuple(axis for axis in (rules or Rules()).mesh_axes("length") if mesh.shape[axis] > 1)


def num_parts(mesh: Mesh | None, rules: Rules | None) -> int:
    """How many devices share a row; 1 without a mesh."""
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in mesh_axes(mesh, rules))


def chunks(parts: int) -> np.ndarray:
    """int32 [C, 2]: which two of the 2 * C chunks of a row each device holds."""
    first_C = np.arange(parts, dtype=np.int32)
    return np.stack([first_C, 2 * parts - 1 - first_C], axis=1)


def natural_positions(length: int, parts: int) -> np.ndarray:
    """int32 [L]: for each place of the balanced order the position of the row that stands there."""
    if parts == 1:
        return np.arange(length, dtype=np.int32)
    return np.arange(length, dtype=np.int32).reshape(2 * parts, -1)[chunks(parts)].reshape(-1)


def balance(x_BL: Array, mesh: Mesh | None, rules: Rules | None) -> Array:
    """Numbers per position, [B, L], from their natural order to the balanced one.

    Costs a gather of the row over the devices that share it, 4 bytes a position.
    """
    return _moved(x_BL, lambda length, parts: natural_positions(length, parts), mesh, rules)


def restore(x_BL: Array, mesh: Mesh | None, rules: Rules | None) -> Array:
    """Arrays [B, L, ...] from the balanced order to the natural one; gathers them over the row."""
    return _moved(
        x_BL, lambda length, parts: np.argsort(natural_positions(length, parts)), mesh, rules
    )


def _moved(
    x_BL: Array,
    order: Callable[[int, int], np.ndarray],
    mesh: Mesh | None,
    rules: Rules | None,
) -> Array:
    parts = num_parts(mesh, rules)
    if parts == 1:
        return x_BL
    moved_BL = jnp.take(x_BL, order(x_BL.shape[1], parts), axis=1)
    return partition.constrain(
        moved_BL, ("batch", "length") + (None,) * (x_BL.ndim - 2), mesh, rules
    )


def check(length: int, mesh: Mesh, rules: Rules, name: str = "data.context") -> None:
    """Refuses rows that do not divide into two chunks for each device that shares them.

    Args:
        length: L.
        mesh, rules: say how many devices share a row.
        name: of the field that `length` is from, for the error.

    Raises:
        ConfigError: names the nearest lengths that fit.
    """
    step = 2 * num_parts(mesh, rules)
    if step == 2 or length % step == 0:
        return
    axes = "*".join(f"mesh.{axis}={mesh.shape[axis]}" for axis in mesh_axes(mesh, rules))
    below, above = length // step * step, (length // step + 1) * step
    raise ConfigError(
        *(Field(name), f"={length} must be a multiple of 2*{axes}, which is {step}, "),
        f"so that devices share rows evenly; use {f'{below} or ' if below else ''}{above}",
    )
