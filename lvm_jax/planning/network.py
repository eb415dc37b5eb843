"""Seconds of a collective: which links its group can use, and what travels over them.

A ring of n devices passes every byte but the own share once: a gather whose result has V bytes
takes

    V (n - 1) / n / bandwidth,

a reduction twice as long (a scatter and a gather). In a torus the bandwidth is that of the links
along the dimensions that the group spans, both directions of a dimension where the group closes a
ring, one where it is a line. Devices at distance s in a row have s - 1 groups between them, all of
which use the same links. Latency and the compiler's choices are left out: these are bounds.

Letters: N devices of the mesh.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from lvm_jax.planning.chips import Chip
from lvm_jax.planning.collectives import Collective


@dataclasses.dataclass(frozen=True)
class Network:
    """The links between the devices of a mesh.

    Attributes:
        chip: what is joined.
        islands: int [N], in the mesh's order: slice (TPU) or node (GPU) of each device.
        coords: int [N, dims]: its chip inside the slice.
        shape: chips along each side of a slice.
        wrap: whether each side is a ring.
    """

    chip: Chip
    islands: np.ndarray
    coords: np.ndarray
    shape: tuple[int, ...]
    wrap: tuple[bool, ...]

    def bandwidth(self, members: Sequence[int]) -> float:
        """Bytes/s into each device of a group, while all groups like it talk at the same time.

        Args:
            members: of the group, as positions in the mesh.
        """
        group = np.asarray(members)
        islands = self.islands[group]
        inside = self._inside(group[islands == islands[0]])
        if (islands == islands[0]).all():
            return inside
        # Each device carries its share of what leaves the island.
        of_island = int((islands == islands[0]).sum())
        return min(inside, of_island * self.chip.beyond / self.chip.devices)

    def _inside(self, group: np.ndarray) -> float:
        if self.chip.wiring == "switch":
            return self.chip.link if len(group) > 1 else float("inf")
        links = 0.0
        places = self.coords[group]
        for side in range(places.shape[1]):
            places_here = np.unique(places[:, side])
            if len(places_here) > 1:
                apart = int(np.diff(places_here).min())
                is_ring = self.wrap[side] and apart * len(places_here) == self.shape[side]
                links += (2 if is_ring else 1) / apart
        if not links:
            # Cores of one chip: no link is published; the memory is the limit.
            return self.chip.peak.bandwidth
        chips = len(np.unique(places, axis=0))
        return links * self.chip.link * (len(group) / chips) / self.chip.devices

    def seconds(self, collective: Collective) -> float:
        """Of all executions of a collective in a step, one after another."""
        n = collective.group_size
        if n < 2:
            return 0.0
        rate = self.bandwidth(collective.members)
        passed = collective.bytes * (n - 1) / n
        if collective.kind == "all-reduce":
            return 2 * passed / rate
        if collective.kind == "all-to-all" and self.chip.wiring == "torus":
            # Bytes travel a quarter of the ring on average, and occupy every link on the way.
            return collective.bytes * n / 4 / rate
        if collective.kind == "collective-permute":
            return collective.bytes / rate
        return passed / rate


def of_devices(
    chip: Chip, devices: Sequence[Any], shape: Sequence[int], wrap: Sequence[bool]
) -> Network:
    """The network of a mesh.

    Args:
        chip: of the devices.
        devices: in the mesh's order, `mesh.devices.flat`: of JAX or of a topology; TPUs say
            `coords` and `slice_index`, GPUs `process_index`, a process for each node.
        shape: chips along each side of a slice; of no use for GPUs.
        wrap: whether each side is a ring.
    """
    if chip.wiring == "switch":
        nodes = np.asarray([device.process_index for device in devices])
        return Network(chip, nodes, np.zeros((len(nodes), 0), int), (), ())
    slices = np.asarray([getattr(device, "slice_index", 0) or 0 for device in devices])
    coords = np.asarray([device.coords for device in devices])
    missing = coords.shape[1] - len(shape)
    return Network(
        chip,
        slices,
        coords,
        (*shape, *(1,) * missing),
        (*wrap, *(False,) * max(coords.shape[1] - len(wrap), 0)),
    )
