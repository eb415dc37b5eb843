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

from lvm_jax import device_grid
from lvm_jax.configs import ConfigError, Field

AXES = ("data", "fsdp", "context", "tensor")
Sizes = tuple[int, int, int, int]
"""Of a mesh, in the order of `AXES`."""
# Up to so many devices XLA reduce-scatters gradients over a whole TPU slice. Over a larger one it
# all-reduces them, over half of it not (compiled for v3, v4, v5e, v5p, v6e; several slices, too).
SMALL_SLICE = 8
Condition = Callable[[Sequence[int]], bool]
"""Whether something fits a mesh of these sizes, in the order of `AXES`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Sizes of the mesh axes; one that is -1 takes what the others leave.

    Where data and fsdp are both -1, fsdp takes what it can and data the rest. That is everything,
    but of TPUs no more than one slice, and half of a slice of more than 8 devices that context and
    tensor do not split: over all of it gradients would be all-reduced, not reduce-scattered.

    Attributes:
        data: parts of the batch whose devices have all parameters each; the only axis that crosses
            the network between TPU slices.
        fsdp: parts of the batch and of the parameters.
        context: parts of each row's ids.
        tensor: parts of the matrices.
    """

    data: int = -1
    fsdp: int = -1
    context: int = 1
    tensor: int = 1

    def __post_init__(self) -> None:
        for name, size in zip(AXES, self.sizes):
            if size < 1 and size != -1:
                raise ConfigError(Field(name), f"={size} must be positive, or -1 for what is left")
        if self.sizes.count(-1) > (2 if self.shares else 1):
            raise ValueError(
                f"{self} has more than one -1; say all axes but one, or all but data and fsdp"
            )

    @property
    def shares(self) -> bool:
        """Whether data and fsdp share what the others leave."""
        return self.data == self.fsdp == -1

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

    Context and tensor grow only where nothing else fits: they add traffic to every layer. Of
    equally close meshes that with the larger data axis, then fsdp.

    Args:
        wanted: sizes in the order of `AXES`.
        num_devices: of the mesh.
        conditions: what must fit. One that no mesh fulfils, beside those before it, is given up.
    """
    meshes = factorizations(num_devices)
    for condition in conditions:
        meshes = [sizes for sizes in meshes if condition(sizes)] or meshes

    def rank(sizes: Sizes) -> tuple[float, float, list[int]]:
        grown = sum(max(0.0, math.log2(a / b)) for a, b in zip(sizes[2:], wanted[2:]))
        return grown, distance(sizes, wanted), [-size for size in sizes]

    return min(meshes, key=rank)


def fits_slices(devices: Sequence[jax.Device]) -> Condition:
    """Whether data is a multiple of the number of TPU slices: it alone crosses their network."""
    num_slices = len(device_grid.slices(devices))
    return lambda sizes: sizes[0] % num_slices == 0


def resolve(
    config: MeshConfig,
    num_devices: int,
    conditions: Sequence[Condition] = (),
    *,
    slice_size: int | None = None,
) -> Sizes:
    """Axis sizes with -1 filled in.

    Args:
        config: the sizes.
        num_devices: of the mesh.
        conditions: what the advice of the error must fulfil; see `nearest`.
        slice_size: devices of each TPU slice; None for other devices.

    Raises:
        ValueError: the product is not the number of devices; names the nearest mesh that is.
    """
    left = num_devices // math.prod(size for size in config.sizes if size != -1)
    data, fsdp, context, tensor = (left if size == -1 else size for size in config.sizes)
    if config.shares:
        fsdp = max((slice_size or num_devices) // (context * tensor), 1)
        if _all_reduces(fsdp, slice_size) and fsdp % 2 == 0:
            fsdp //= 2
        data = left // fsdp
    sizes = data, fsdp, context, tensor
    if math.prod(sizes) != num_devices or 0 in sizes:
        near = nearest([max(size, 1) for size in sizes], num_devices, conditions)
        raise ValueError(
            f"{config} does not make up {num_devices} devices; "
            f"nearest mesh that does: {describe(near)}"
        )
    return sizes


def _all_reduces(fsdp: int, slice_size: int | None) -> bool:
    """Whether XLA makes all-reduces of the gradients' reduce-scatters over fsdp."""
    return slice_size is not None and fsdp == slice_size > SMALL_SLICE


def make_mesh(
    config: MeshConfig,
    devices: Sequence[jax.Device] | None = None,
    conditions: Sequence[Condition] = (),
) -> Mesh:
    """The mesh over `devices` (default: all of the run), with compiler-chosen (Auto) axes.

    `conditions` are for the advice of the error, see `resolve`; they are not checked otherwise.

    Raises:
        ValueError: the sizes do not multiply to the number of devices, or data is no multiple of
            the number of TPU slices; names the nearest mesh that fits.
    """
    devices = list(jax.devices() if devices is None else devices)
    in_slices = fits_slices(devices)
    conditions = (in_slices, *conditions)
    sizes = resolve(config, len(devices), conditions, slice_size=_slice_size(devices))
    if not in_slices(sizes):
        near = nearest(sizes, len(devices), conditions)
        raise ConfigError(
            Field("data"),
            f"={sizes[0]} must be a multiple of the number of TPU slices, "
            f"{len(device_grid.slices(devices))}: it alone crosses the network between them; "
            f"nearest mesh that works: {describe(near)}",
        )
    grid = device_grid.arrange(sizes, devices)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _slice_size(devices: Sequence[jax.Device]) -> int | None:
    """Devices of each TPU slice, or None for other devices.

    Raises:
        ValueError: slices of different sizes.
    """
    if devices[0].platform != "tpu":
        return None
    sizes = {len(part) for part in device_grid.slices(devices)}
    if len(sizes) > 1:
        raise ValueError(f"TPU slices of {sorted(sizes)} devices; a mesh needs slices of one size")
    return sizes.pop()


def summary(mesh: Mesh, config: MeshConfig | None = None) -> str:
    """A line for the log: "mesh: data 2 x fsdp 2 x context 1 x tensor 1".

    Args:
        mesh: what was made.
        config: of what; the line says how fsdp was chosen, or what a choice costs.
    """
    line = "mesh: " + " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
    slice_size, fsdp = _slice_size([*mesh.devices.flat]), mesh.shape["fsdp"]
    if _all_reduces(fsdp, slice_size):
        return (
            f"{line}; over a whole TPU slice gradients are all-reduced, over half of it "
            "reduce-scattered, with twice the parameters on each device: "
            f"mesh.fsdp={fsdp // 2} mesh.data={2 * mesh.shape['data']}"
        )
    if config is not None and config.shares and _all_reduces(2 * fsdp, slice_size):
        return f"{line}; fsdp takes half of a TPU slice: over all of it gradients are all-reduced"
    return line
