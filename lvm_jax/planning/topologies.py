"""Names of hardware -> what is in it: chips, hosts, slices, and how they are wired.

TPU: v5p:4x4x8 names the chips along each side of a slice; v5p-256 is Google's name of the same
slice, which counts tensor cores where a chip has two (v2, v3, v4, v5p, tpu7x) and chips otherwise
(v5e, v6e). GPU: h100:64 are 8 nodes of 8. Several slices: 2x v5e:16x16. cpu:8 is for tests.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Literal

Platform = Literal["tpu", "gpu", "cpu"]
GPUS_PER_NODE = 8
_FORM = re.compile(
    r"(?:(?P<slices>\d+)\s*x\s*)?(?P<kind>[a-z][a-z0-9]*)(?:-(?P<count>\d+)|:(?P<shape>\d+(x\d+)*))"
)
_EXAMPLES = "v3:16x16, v4-256, v5p:4x4x8, 2x v5e:16x16, v6e-256, tpu7x:4x4x4, h100:8, h200:64"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
    """A generation of TPUs.

    Attributes:
        device_kind: as `jax.Device.device_kind` has it.
        sides: dimensions of the network, 2 or 3.
        rings: 3 dimensions: all sides are rings if each is a multiple of this. 2 dimensions: a side
            is one if it is as long as this.
        cores: tensor cores of a chip.
        chip_config: what the compiler calls the way that these cores are used: "megacore" makes
            one device of them.
    """

    device_kind: str
    sides: int
    rings: int
    cores: int = 1
    chip_config: str = "default"

    @property
    def devices_per_chip(self) -> int:
        """JAX devices of a chip."""
        return 1 if self.chip_config == "megacore" else self.cores

    def wrap(self, shape: Sequence[int]) -> tuple[bool, ...]:
        """Whether each of three dimensions is a ring; without it a compiler plans other moves."""
        if self.sides == 3:
            return (all(side % self.rings == 0 for side in shape),) * 3
        return (*(side == self.rings for side in shape), False)

    def shape(self, num_chips: int) -> tuple[int, ...] | None:
        """The sides of a slice of so many chips, as square as it gets; None where there is none."""
        if self.sides == 2:
            exponent = num_chips.bit_length() - 1
            if num_chips != 2**exponent or num_chips == 2:
                return None
            return 2 ** (exponent // 2), 2 ** (exponent - exponent // 2)
        if num_chips < 64:
            return {4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4)}.get(num_chips)
        cubes, left = divmod(num_chips, 64)
        if left:
            return None
        sides = [
            (a, b, cubes // (a * b))
            for a in range(1, cubes + 1)
            for b in range(a, cubes + 1)
            if cubes % (a * b) == 0 and cubes // (a * b) >= b
        ]
        a, b, c = min(sides, key=sum)
        return 4 * a, 4 * b, 4 * c


# Three-dimensional slices are tori if they are made of whole cubes of 4 x 4 x 4 chips; a side of a
# two-dimensional one is a ring if it spans the pod. For v4, v5e, v5p and v6e that and the chip's
# configuration are what MaxText hands libtpu for its slices (accelerator_to_spec_map.py). For v2,
# v3 and tpu7x no source was read: they are taken to follow the same rules, pods of v2 and v3 being
# 16 and 32 chips wide.
GENERATIONS: dict[str, Generation] = {
    "v2": Generation(device_kind="TPU v2", sides=2, rings=16, cores=2),
    "v3": Generation(device_kind="TPU v3", sides=2, rings=32, cores=2),
    "v4": Generation(device_kind="TPU v4", sides=3, rings=4, cores=2, chip_config="megacore"),
    "v5e": Generation(device_kind="TPU v5 lite", sides=2, rings=16),
    "v5p": Generation(device_kind="TPU v5", sides=3, rings=4, cores=2, chip_config="megacore"),
    "v6e": Generation(device_kind="TPU v6 lite", sides=2, rings=16),
    "tpu7x": Generation(device_kind="TPU7x", sides=3, rings=4, cores=2),
}
ALIASES = {"v5litepod": "v5e", "v5lite": "v5e", "v5": "v5p", "v7x": "tpu7x"}
GPUS = {"h100": "NVIDIA H100 80GB HBM3", "h200": "NVIDIA H200"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
    """Hardware that a plan is for.

    Attributes:
        kind: a key of `GENERATIONS` or of `GPUS`, or "cpu".
        shape: chips along each side of a slice; nodes and GPUs of a node; CPU devices.
        num_slices: slices that are joined by the data centre's network alone.
    """

    kind: str
    shape: tuple[int, ...]
    num_slices: int = 1

    @property
    def platform(self) -> Platform:
        """What JAX calls the backend."""
        return "tpu" if self.kind in GENERATIONS else "gpu" if self.kind in GPUS else "cpu"

    @property
    def generation(self) -> Generation:
        """Of a TPU."""
        return GENERATIONS[self.kind]

    @property
    def device_kind(self) -> str:
        """As `jax.Device.device_kind` has it; a key of `devices.DEVICE_PEAKS`, but for CPUs."""
        if self.platform == "tpu":
            return self.generation.device_kind
        return GPUS.get(self.kind, "cpu")

    @property
    def devices_per_chip(self) -> int:
        """JAX devices of a chip."""
        return self.generation.devices_per_chip if self.platform == "tpu" else 1

    @property
    def num_chips(self) -> int:
        """Of all slices."""
        return self.num_slices * math.prod(self.shape)

    @property
    def num_devices(self) -> int:
        """JAX devices of all slices."""
        return self.num_chips * self.devices_per_chip

    @property
    def chips_per_host(self) -> tuple[int, ...]:
        """Chips of a TPU's host along each of three dimensions."""
        sides = (*self.shape, 1, 1)
        return (min(2, sides[0]), min(2, sides[1]), 1)

    @property
    def name(self) -> str:
        """As `parse` reads it."""
        usual = self.platform == "gpu" and (self.shape[0] == 1 or self.shape[1] == GPUS_PER_NODE)
        shape = math.prod(self.shape) if usual else "x".join(map(str, self.shape))
        slices = f"{self.num_slices}x " if self.num_slices > 1 else ""
        return f"{slices}{self.kind}:{shape}"

    def describe(self) -> str:
        """A line that says what is counted and how it is joined."""
        if self.platform == "cpu":
            return f"{self.name}: {self.num_devices} CPU devices"
        if self.platform == "gpu":
            nodes, gpus = self.shape
            return f"{self.name}: {self.num_chips} {self.device_kind}, {nodes} x {gpus} by node"
        generation, slice_ = self.generation, "slice" if self.num_slices == 1 else "slices"
        cores = self.num_chips * generation.cores
        named = f"{self.kind}-{cores // self.num_slices}"
        if generation.devices_per_chip > 1:
            devices = f"{self.num_devices} devices (cores)"
        else:
            devices = f"{self.num_devices} devices (chips)"
        rings = generation.wrap(self.shape)[: len(self.shape)]
        wires = "a torus" if all(rings) else "partly rings" if any(rings) else "no rings"
        return (
            f"{self.name}: {self.num_slices} {slice_} {named} of {generation.device_kind}, "
            f"{self.num_chips} chips, {devices}, {wires}"
        )


def parse(name: str) -> Topology:
    """The hardware of a name.

    Args:
        name: see the top of this file.

    Raises:
        ValueError: no such form, generation or size.
    """
    match = _FORM.fullmatch(name.strip().lower())
    if match is None:
        raise ValueError(f"topology {name!r} is unknown; write it like {_EXAMPLES}")
    kind, slices = ALIASES.get(match["kind"], match["kind"]), int(match["slices"] or 1)
    if kind not in (*GENERATIONS, *GPUS, "cpu"):
        known = ", ".join((*GENERATIONS, *GPUS))
        raise ValueError(f"topology {name!r}: no kind {match['kind']!r}; use one of {known}")
    if slices > 1 and kind not in GENERATIONS:
        raise ValueError(
            f"topology {name!r}: only TPUs come in slices; write the number of devices"
        )
    counted = match["shape"] is None
    sides = tuple(map(int, (match["count"] or match["shape"]).split("x")))
    if 0 in (slices, *sides):
        raise ValueError(f"topology {name!r} has no devices; write it like {_EXAMPLES}")
    if kind in GENERATIONS:
        shape = _named_slice(name, kind, sides[0]) if counted else _slice(name, kind, sides)
    elif kind in GPUS:
        shape = _nodes(name, sides)
    else:
        shape = (math.prod(sides),)
    return Topology(kind=kind, shape=shape, num_slices=slices)


def _named_slice(name: str, kind: str, count: int) -> tuple[int, ...]:
    generation = GENERATIONS[kind]
    chips, left = divmod(count, generation.cores)
    shape = None if left else generation.shape(chips)
    if shape is None:
        counted = "tensor cores" if generation.cores > 1 else "chips"
        raise ValueError(
            f"topology {name!r}: no {kind} slice has {count} {counted}; write the chips along each "
            f"side, such as {kind}:{'x'.join(['4'] * generation.sides)}"
        )
    return shape


def _slice(name: str, kind: str, sides: tuple[int, ...]) -> tuple[int, ...]:
    generation = GENERATIONS[kind]
    if len(sides) != generation.sides:
        raise ValueError(
            f"topology {name!r}: {kind} slices have {generation.sides} sides, such as "
            f"{kind}:{'x'.join(['4'] * generation.sides)}"
        )
    if any(side % 2 and side > 1 for side in sides[:2]):
        raise ValueError(f"topology {name!r}: hosts have 2 x 2 chips; the first two sides are even")
    return sides


def _nodes(name: str, sides: tuple[int, ...]) -> tuple[int, int]:
    if len(sides) == 2:
        return sides[0], sides[1]
    nodes, left = divmod(sides[0], GPUS_PER_NODE)
    if len(sides) > 2 or (nodes and left):
        raise ValueError(
            f"topology {name!r}: GPUs come in nodes of {GPUS_PER_NODE}; use a multiple of it, or "
            f"NODESxGPUS"
        )
    return (nodes, GPUS_PER_NODE) if nodes else (1, left)
