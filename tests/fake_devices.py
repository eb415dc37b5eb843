"""Devices that are not here: what meshes are made of, nothing more."""

import itertools
from collections.abc import Sequence

from lvm_jax.planning.hardware import FakeDevice


def tpus(
    device_kind: str, sides: Sequence[int], *, num_slices: int = 1, cores: int = 1
) -> list[FakeDevice]:
    """Slices of TPUs as jax lists them: x fastest, four chips a host.

    Args:
        device_kind: such as "TPU v5".
        sides: of each slice's torus, three of them.
        num_slices: how many of them.
        cores: devices of each chip.
    """
    places = [coords[::-1] for coords in itertools.product(*map(range, reversed(sides)))]
    every = itertools.product(range(num_slices), places, range(cores))
    return [
        FakeDevice(
            id=number,
            platform="tpu",
            device_kind=device_kind,
            process_index=number // (4 * cores),
            slice_index=index,
            coords=coords,
            core_on_chip=core,
        )
        for number, (index, coords, core) in enumerate(every)
    ]


def gpus(num_hosts: int, per_host: int = 8) -> list[FakeDevice]:
    """GPUs of several hosts."""
    return [
        FakeDevice(
            id=number,
            platform="gpu",
            device_kind="NVIDIA H100 80GB HBM3",
            process_index=number // per_host,
            slice_index=number // per_host,
            coords=(),
            core_on_chip=0,
        )
        for number in range(num_hosts * per_host)
    ]
