"""Logical axes -> shardings of parameters, batches and activations, and the mesh they fit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lvm_jax import mesh as mesh_lib
from lvm_jax import trees
from lvm_jax.configs import ConfigError, Field
from lvm_jax.rules import Rules, as_tuple


def shardings(
    mesh: Mesh, rules: Rules, logical_axes: Mapping[str, Any], shapes: Mapping[str, Any]
) -> dict[str, Any]:
    """A sharding for every leaf of a parameter tree.

    Args:
        mesh: see `mesh.make_mesh`.
        rules: logical axis -> mesh axis.
        logical_axes: nested dict whose leaves are tuples of logical axes.
        shapes: the same nested dict with arrays or `jax.ShapeDtypeStruct` as leaves.

    Returns:
        The same nested dict with `NamedSharding` leaves.

    Raises:
        ValueError: a leaf without axes, a wrong number of axes, an axis without a rule, or a
            dimension that does not divide (names the nearest mesh on which everything does).
    """
    _check_params(mesh, rules, logical_axes, shapes)
    axes_of = trees.flatten(logical_axes)
    return trees.unflatten(
        {name: NamedSharding(mesh, rules.spec(axes_of[name])) for name in trees.flatten(shapes)}
    )


def make_mesh(
    config: mesh_lib.MeshConfig,
    rules: Rules,
    logical_axes: Mapping[str, Any],
    shapes: Mapping[str, Any],
    *,
    num_rows: int,
    row_length: int | None = None,
    accumulation: int = 1,
    loss_chunks: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """The mesh of a training, on which its parameters and its batch divide.

    Args:
        config: sizes of the axes.
        rules, logical_axes, shapes: as for `shardings`; empty where parameters fit any mesh.
        num_rows: rows of the global batch.
        row_length: ids of a row; None where rows have none.
        accumulation: micro-batches per update.
        loss_chunks: pieces of a row's loss; each is split like the row.
        devices: of the mesh, here or only described; None means all of the run.

    Raises:
        ValueError: something does not divide. The mesh that is named instead fits everything, where
            there is one.
    """

    def divides_rows(sizes: Sequence[int]) -> bool:
        named = dict(zip(mesh_lib.AXES, sizes))
        ways = math.prod(named[axis] for axis in rules.mesh_axes("batch"))
        return num_rows % (accumulation * ways) == 0

    def divides_length(sizes: Sequence[int]) -> bool:
        named = dict(zip(mesh_lib.AXES, sizes))
        return row_length is None or not _uneven_length(row_length, loss_chunks, rules, named)

    of_batch = (divides_rows, divides_length)
    conditions = (_divides_params(rules, logical_axes, shapes), *of_batch)
    mesh = mesh_lib.make_mesh(config, devices, conditions)
    check_batch(mesh, num_rows, rules=rules, accumulation=accumulation)
    if row_length is not None:
        check_length(mesh, row_length, loss_chunks=loss_chunks, rules=rules, conditions=conditions)
    _check_params(mesh, rules, logical_axes, shapes, of_batch)
    return mesh


def check_length(
    mesh: Mesh,
    row_length: int,
    name: str = "row_length",
    *,
    loss_chunks: int = 1,
    rules: Rules | None = None,
    conditions: Sequence[mesh_lib.Condition] = (),
) -> None:
    """Refuses rows that do not divide over the devices that share them.

    Args:
        mesh, rules: say how many devices share a row.
        row_length: ids of a row.
        name: of the field or argument that `row_length` is from, for the error.
        loss_chunks: pieces of a row's loss; each is split like the row.
        conditions: what else the mesh that is named instead should fulfil.

    Raises:
        ValueError: names the nearest mesh on which they divide.
    """
    rules = rules or Rules()
    problem = _uneven_length(row_length, loss_chunks, rules, dict(mesh.shape))
    if problem:
        fits = lambda sizes: (
            not _uneven_length(row_length, loss_chunks, rules, dict(zip(mesh_lib.AXES, sizes)))
        )
        advice = _advice(mesh, (*conditions, fits))
        raise ConfigError(Field(name), f"={row_length} must be a multiple of {problem}; {advice}")


def _uneven_length(
    row_length: int, loss_chunks: int, rules: Rules, sizes: Mapping[str, int]
) -> str:
    """Of what rows would have to be a multiple, or "" when they are."""
    for logical in ("length", "residual_length"):
        axes = [axis for axis in rules.mesh_axes(logical) if sizes[axis] > 1]
        # A device has two chunks of a row that it shares, of equal lengths.
        chunks = 2 if axes and logical == "length" else 1
        each = math.lcm(loss_chunks, chunks)
        ways = each * math.prod(sizes[axis] for axis in axes)
        if row_length % ways:
            factors = [str(each // loss_chunks)] if each > loss_chunks else []
            factors += ["loss_chunks"] if loss_chunks > 1 else []
            return f"{'*'.join(factors + [f'mesh.{axis}' for axis in axes])}={ways}"
    return ""


def _check_params(
    mesh: Mesh,
    rules: Rules,
    logical_axes: Mapping[str, Any],
    shapes: Mapping[str, Any],
    conditions: Sequence[mesh_lib.Condition] = (),
) -> None:
    """Raises as `shardings` does; the mesh that is named should fulfil more conditions."""
    axes_of = trees.flatten(logical_axes)
    for name, array in trees.flatten(shapes).items():
        if name not in axes_of:
            raise ValueError(f"parameter {name} has no logical axes; declare them beside it")
        if len(axes_of[name]) != len(array.shape):
            raise ValueError(
                f"parameter {name} of shape {tuple(array.shape)} has logical axes {axes_of[name]}"
            )
        problem = _indivisible(name, array.shape, axes_of[name], rules, dict(mesh.shape))
        if problem:
            conditions = (_divides_params(rules, logical_axes, shapes), *conditions)
            raise ValueError(f"{problem}; {_advice(mesh, conditions)}")


def _advice(mesh: Mesh, conditions: Sequence[mesh_lib.Condition]) -> str:
    """Names the nearest mesh of the same devices that fulfils conditions."""
    sizes = [mesh.shape[axis] for axis in mesh_lib.AXES]
    in_slices = mesh_lib.fits_slices([*mesh.devices.flat])
    near = mesh_lib.nearest(sizes, mesh.size, (in_slices, *conditions))
    return f"nearest mesh that works: {mesh_lib.describe(near)}"


def split_largest(
    mesh: Mesh, shapes: Mapping[str, Any], rules: Rules | None = None, min_elements: int = 1024
) -> dict[str, Any]:
    """A sharding for every leaf of a tree that is only stored split: convolutions have no one axis.

    The largest dimension that divides is split over the axes of `Rules.embed`, the last of equal
    ones; leaves without such a dimension and small ones are whole on every device.

    Args:
        mesh: see `mesh.make_mesh`.
        shapes: nested dict of arrays or `jax.ShapeDtypeStruct`.
        rules: say over which mesh axes parameters are split.
        min_elements: leaves with fewer are not worth the traffic.

    Returns:
        The same nested dict with `NamedSharding` leaves.
    """
    rules = rules or Rules()
    ways = num_parts("embed", mesh, rules)

    def sharding(shape: Sequence[int]) -> NamedSharding:
        """Of one leaf: its largest dimension that divides, or none, is split `ways` ways."""
        dims = [(length, dim) for dim, length in enumerate(shape) if length % ways == 0]
        if not dims or math.prod(shape) < min_elements:
            return replicated(mesh)
        axes: list[str | None] = [None] * len(shape)
        axes[max(dims)[1]] = "embed"
        return NamedSharding(mesh, rules.spec(axes))

    return jax.tree.map(lambda leaf: sharding(leaf.shape), dict(shapes))


def _indivisible(
    name: str,
    shape: Sequence[int],
    logical_axes: Sequence[str | None],
    rules: Rules,
    sizes: Mapping[str, int],
) -> str:
    """Says which dimension does not divide, or "" when all do."""
    for dim, (length, logical) in enumerate(zip(shape, logical_axes)):
        axes = rules.mesh_axes(logical)
        ways = math.prod(sizes[axis] for axis in axes)
        if length % ways:
            over = "*".join(f"mesh.{axis}={sizes[axis]}" for axis in axes)
            return f"{name} dim {dim} ({logical}={length}) does not divide over {over}"
    return ""


def _divides_params(
    rules: Rules, logical_axes: Mapping[str, Any], shapes: Mapping[str, Any]
) -> mesh_lib.Condition:
    axes_of, arrays = trees.flatten(logical_axes), trees.flatten(shapes)

    def divides(sizes: Sequence[int]) -> bool:
        named = dict(zip(mesh_lib.AXES, sizes))
        return not any(
            _indivisible(name, array.shape, axes_of[name], rules, named)
            for name, array in arrays.items()
        )

    return divides


def batch_sharding(mesh: Mesh, rules: Rules | None = None) -> NamedSharding:
    """The sharding of a batch of rows [B, L]: rows over data and fsdp, their ids over context."""
    return NamedSharding(mesh, (rules or Rules()).spec(("batch", "length")))


def image_sharding(mesh: Mesh, rules: Rules | None = None) -> NamedSharding:
    """The sharding of a batch of images [B, ...]: over data and fsdp, each of them whole."""
    return NamedSharding(mesh, (rules or Rules()).spec(("batch",)))


def check_batch(
    mesh: Mesh,
    num_rows: int,
    name: str = "num_rows",
    rules: Rules | None = None,
    accumulation: int = 1,
) -> None:
    """Refuses a batch that does not divide over micro-batches and devices.

    Args:
        mesh, rules: say how many devices share a micro-batch.
        num_rows: rows of the global batch.
        name: of the field or argument that `num_rows` is from, for the error.
        accumulation: micro-batches per update.

    Raises:
        ValueError: names the nearest sizes that fit.
    """
    parts = num_parts("batch", mesh, rules)
    ways = accumulation * parts
    if num_rows < 1 or num_rows % ways:
        axes = (rules or Rules()).mesh_axes("batch")
        factors = "*".join((("accumulation",) if accumulation > 1 else ()) + tuple(axes))
        below, above = num_rows // ways * ways, (max(num_rows, 0) // ways + 1) * ways
        fitting = f"{below} or {above}" if below > 0 else f"{above}"
        if num_rows > 0 and num_rows % parts == 0:
            fewer = max(n for n in range(1, accumulation) if num_rows // parts % n == 0)
            fitting += f", or accumulation={fewer}"
        raise ConfigError(
            Field(name), f"={num_rows} must be a multiple of {factors}={ways}; use {fitting}"
        )


def num_parts(logical: str, mesh: Mesh | None, rules: Rules | None = None) -> int:
    """In how many parts a logical axis is split: 1 without a mesh."""
    if mesh is None:
        return 1
    return math.prod(mesh.shape[axis] for axis in (rules or Rules()).mesh_axes(logical))


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def constrain(
    x: jax.Array, logical_axes: Sequence[str | None], mesh: Mesh | None, rules: Rules | None
) -> jax.Array:
    """Tells the compiler where an activation lives; does nothing without a mesh.

    Raises:
        ValueError: a dimension does not divide.
    """
    if mesh is None:
        return x
    rules = rules or Rules()
    problem = _indivisible("activation", x.shape, logical_axes, rules, dict(mesh.shape))
    if problem:
        raise ValueError(f"{problem}; choose a batch or model size that is a multiple")
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, rules.spec(logical_axes)))


def table(shapes: Mapping[str, Any], placed: Mapping[str, Any]) -> str:
    """Parameter, shape, dtype, spec and bytes per device, one a line, with totals.

    Args:
        shapes: nested dict of arrays or `jax.ShapeDtypeStruct`.
        placed: the same nested dict of `NamedSharding` (see `shardings`).
    """
    arrays, where = trees.flatten(shapes), trees.flatten(placed)
    rows, total, local = [("parameter", "shape", "dtype", "spec", "bytes/device")], 0, 0
    for name, array in arrays.items():
        num_bytes = math.prod(where[name].shard_shape(tuple(array.shape)))
        num_bytes *= np.dtype(array.dtype).itemsize
        total += math.prod(array.shape)
        local += num_bytes
        shape = "x".join(map(str, array.shape))
        rows.append(
            (name, shape, str(np.dtype(array.dtype)), spell(where[name].spec), f"{num_bytes:,}")
        )
    rows.append(("total", f"{total:,}", "", "", f"{local:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join(
            cell.rjust(width) if column == 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
    return "\n".join(lines)


def spell(spec: PartitionSpec) -> str:
    """P(("data", "fsdp"), None) -> "(data+fsdp, -)"."""
    return f"({', '.join('+'.join(as_tuple(entry)) or '-' for entry in spec)})"
