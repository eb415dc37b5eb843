"""Devices in the order of a mesh, so that its inner axes have the fastest links.

A TPU slice is a torus of chips, whose links every axis of a mesh shares; slices are joined by a
network that is slower by two orders of magnitude, and so are the hosts of GPUs.
"""

import math
from collections.abc import Sequence

import jax
import numpy as np
from absl import logging
from jax.experimental import mesh_utils


def slices(devices: Sequence[jax.Device]) -> list[list[jax.Device]]:
    """TPU devices by slice, in the order of their indices; others are one.

    GPUs have hosts in place of slices, but their network is one that fsdp may cross.
    """
    if devices[0].platform != "tpu":
        return [list(devices)]
    indices = sorted({_slice_index(device) for device in devices})
    return [[device for device in devices if _slice_index(device) == index] for index in indices]


def arrange(sizes: Sequence[int], devices: Sequence[jax.Device]) -> np.ndarray:
    """Devices as an array of such a shape, the first axis over slices.

    Args:
        sizes: of the axes, from the one that talks least to the one that talks most. The first is a
            multiple of the number of slices.
        devices: as many as the product of the sizes, as many of every slice.

    Returns:
        Array of devices. In a slice an axis has whole sides of the torus where it can, else parts
        of sides; GPUs lie by host.
    """
    platform = devices[0].platform
    if platform == "tpu":
        parts = slices(devices)
        of_slice = (sizes[0] // len(parts), *sizes[1:])
        return np.concatenate([_on_torus(of_slice, part) for part in parts])
    if platform in ("gpu", "cuda", "rocm"):
        place = lambda device: (_slice_index(device), device.process_index, device.id)
        devices = sorted(devices, key=place)
    return _in_order(sizes, devices)


def _slice_index(device: jax.Device) -> int:
    # Some backends have no slices.
    return getattr(device, "slice_index", 0)


def _on_torus(sizes: Sequence[int], devices: Sequence[jax.Device]) -> np.ndarray:
    assert math.prod(sizes) == len(devices), (sizes, len(devices))
    try:
        return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    # What jax raises is not one kind of error: for devices that are no whole block of a torus, for
    # two devices a chip where it expects one, and for sides such as 10 a TypeError of its own.
    except (AssertionError, NotImplementedError, TypeError, ValueError) as error:
        logging.warning(
            "mesh: the devices of a TPU slice lie in the order of their ids, not of their links: "
            "jax finds no place on the torus for %s (%s)",
            " x ".join(map(str, sizes)),
            str(error).partition("\n")[0][:200] or type(error).__name__,
        )
        return _in_order(sizes, sorted(devices, key=lambda device: device.id))


def _in_order(sizes: Sequence[int], devices: Sequence[jax.Device]) -> np.ndarray:
    grid = np.empty(len(devices), dtype=object)
    grid[:] = devices
    return grid.reshape(sizes)
