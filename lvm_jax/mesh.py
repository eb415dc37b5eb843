"""The device mesh, axes data x fsdp x context x tensor.

data repeats the parameters and splits the batch; fsdp splits both; context splits the ids of a row;
tensor splits matrices.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import jax
from jax.sharding import AxisType, Mesh

from lvm_jax.configs import ConfigError, Field

AXES = ("data", "fsdp", "context", "tensor")
Sizes = tuple[int, int, int, int]
"""Of a mesh, in the order of `AXES`."""
Condition = Callable[[Sequence[int]], bool]
"""Whether something fits a mesh of these sizes, in the order of `AXES`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Sizes of the mesh axes; at most one is -1, which takes what the others leave.

    Attributes:
        data: parts of the batch whose devices have all parameters each.
        fsdp: parts of the batch and of the parameters.
        context: parts of each row's ids.
        tensor: parts of the matrices.
    """

    data: int = 1
    fsdp: int = -1
    context: int = 1
    tensor: int = 1

    def __post_init__(self) -> None:
        for name, size in zip(AXES, self.sizes):
            if size < 1 and size != -1:
                raise ConfigError(Field(name), f"={size} must be positive, or -1 for what is left")
        if self.sizes.count(-1) > 1:
            raise ValueError(f"mesh {self} has more than one -1; say all axes but one")

    @property
    def sizes(self) -> Sizes:
        """In the order of `AXES`, -1 not yet filled in; see `resolve`."""
        return (self.data, self.fsdp, self.context, self.tensor)

    def __str__(self) -> str:
        return describe(self.sizes)


def describe(sizes: Sequence[int]) -> str:
    """(2, 2, 1, 1) -> "mesh.data=2 mesh.fsdp=2 mesh.context=1 mesh.tensor=1"."""
    return " ".join(f"mesh.{name}={size}" for name, size in zip(AXES, sizes))


def factorizations(num_devices: int) -> list[Sizes]:
    """All sizes of axes whose product is num_devices."""
    divisors = [n for n in range(1, num_devices + 1) if num_devices % n == 0]
    return [
        (data, fsdp, context, num_devices // (data * fsdp * context))
        for data, fsdp, context in itertools.product(divisors, repeat=3)
        if num_devices % (data * fsdp * context) == 0
    ]


def distance(sizes: Sequence[int], others: Sequence[int]) -> float:
    """How far one mesh is from another; a factor of two on any axis counts the same."""
    return sum(abs(math.log2(a / b)) for a, b in zip(sizes, others))


def nearest(wanted: Sequence[int], num_devices: int, conditions: Sequence[Condition] = ()) -> Sizes:
    """The mesh of so many devices that is closest to some sizes.

    Of equally close ones that with the larger data axis, then fsdp: splitting matrices costs most.

    Args:
        wanted: sizes in the order of `AXES`.
        num_devices: of the mesh.
        conditions: what must fit. One that no mesh fulfils, beside those before it, is given up.
    """
    meshes = factorizations(num_devices)
    for condition in conditions:
        meshes = [sizes for sizes in meshes if condition(sizes)] or meshes
    return min(meshes, key=lambda sizes: (distance(sizes, wanted), [-size for size in sizes]))


def resolve(config: MeshConfig, num_devices: int, conditions: Sequence[Condition] = ()) -> Sizes:
    """Axis sizes with -1 filled in.

    Args:
        config: the sizes.
        num_devices: of the mesh.
        conditions: what the advice of the error must fulfil; see `nearest`.

    Raises:
        ValueError: the product is not the number of devices; names the nearest mesh that is.
    """
    known = math.prod(size for size in config.sizes if size != -1)
    data, fsdp, context, tensor = (num_devices // known if s == -1 else s for s in config.sizes)
    sizes = data, fsdp, context, tensor
    if math.prod(sizes) != num_devices or 0 in sizes:
        near = nearest([max(size, 1) for size in sizes], num_devices, conditions)
        raise ValueError(
            f"{config} does not make up {num_devices} devices; "
            f"nearest mesh that does: {describe(near)}"
        )
    return sizes


def make_mesh(
    config: MeshConfig,
    devices: Sequence[jax.Device] | None = None,
    conditions: Sequence[Condition] = (),
) -> Mesh:
    """The mesh over `devices` (default: all of the run), with compiler-chosen (Auto) axes.

    `conditions` are for the advice of the error, see `resolve`; they are not checked otherwise.

    Raises:
        ValueError: the sizes do not multiply to the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = resolve(config, len(devices), conditions)
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def summary(mesh: Mesh) -> str:
    """A line for the log: "mesh: data 2 x fsdp 2 x context 1 x tensor 1"."""
    return "mesh: " + " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
