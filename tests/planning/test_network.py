"""Links that a group can use, and seconds that follow."""

import dataclasses
import itertools

import numpy as np
import pytest

from lvm_jax.planning import chips, network
from lvm_jax.planning.collectives import Collective

V5E, V5P, V3 = chips.chip("TPU v5 lite"), chips.chip("TPU v5"), chips.chip("TPU v3")
H100 = chips.chip("NVIDIA H100 80GB HBM3")


@dataclasses.dataclass(frozen=True)
class Device:
    coords: tuple[int, ...] = (0, 0, 0)
    slice_index: int = 0
    process_index: int = 0


def torus(chip, *shape, wrap=True, slices=1):
    """Devices in the order of their coordinates, the last one fastest."""
    sides = (*shape, 1)[:3]
    places = itertools.product(range(slices), *(range(side) for side in sides))
    devices = [
        Device(coords=tuple(place), slice_index=number)
        for number, *place in places
        for _ in range(chip.devices)
    ]
    return network.of_devices(chip, devices, shape, (wrap,) * len(shape))


def gather(num_bytes, members, kind="all-gather"):
    return Collective(kind, 1, num_bytes, ("fsdp",), len(members), members=tuple(members))


def test_a_ring_uses_both_directions_and_a_line_one():
    ring, line = torus(V5E, 1, 16), torus(V5E, 1, 16, wrap=False)
    assert ring.bandwidth(range(16)) == 2 * V5E.link
    assert line.bandwidth(range(16)) == V5E.link
    # A quarter of a ring does not close.
    assert ring.bandwidth(range(4)) == V5E.link


def test_groups_that_lie_between_one_another_share_links():
    ring = torus(V5E, 1, 16)
    assert ring.bandwidth(range(0, 16, 4)) == 2 * V5E.link / 4


def test_a_group_of_several_dimensions_uses_the_links_of_all():
    assert torus(V5P, 4, 4, 4).bandwidth(range(64)) == 6 * V5P.link
    # Planes of 4 x 4.
    assert torus(V5P, 4, 4, 4).bandwidth(range(16)) == 4 * V5P.link


def test_cores_of_a_chip_share_its_links():
    """32 devices on 16 chips in a row."""
    pair = torus(V3, 1, 16)
    assert pair.bandwidth(range(0, 32, 2)) == pytest.approx(2 * V3.link / 2)
    assert pair.bandwidth(range(32)) == 2 * V3.link
    assert pair.bandwidth((0, 1)) == V3.peak.bandwidth


def test_between_slices_each_device_brings_its_own_share():
    two = torus(V5E, 1, 16, slices=2)
    assert two.bandwidth((0, 16)) == V5E.beyond
    assert two.bandwidth(range(32)) == min(16 * V5E.beyond, 2 * V5E.link)


def test_gpus_have_a_switch_inside_a_node_and_adapters_beyond():
    devices = [Device(process_index=number // 8) for number in range(16)]
    nodes = network.of_devices(H100, devices, (2, 8), ())
    assert nodes.bandwidth(range(8)) == H100.link
    assert nodes.bandwidth((0, 8)) == H100.beyond
    assert nodes.bandwidth(range(16)) == 8 * H100.beyond


def test_seconds_of_each_kind():
    """16 chips in a ring; 160 MB at 100 GB/s."""
    ring, members = torus(V5E, 1, 16), range(16)
    seconds = lambda kind: ring.seconds(gather(160_000_000, members, kind))
    assert seconds("all-gather") == pytest.approx(0.0015)
    assert seconds("reduce-scatter") == pytest.approx(0.0015)
    assert seconds("all-reduce") == pytest.approx(0.003)
    assert seconds("collective-permute") == pytest.approx(0.0016)
    assert seconds("all-to-all") == pytest.approx(0.0064)


def test_a_group_of_one_costs_nothing():
    assert torus(V5E, 1, 16).seconds(gather(10**9, (3,))) == 0


@pytest.mark.parametrize("kind", sorted(chips.CHIPS))
def test_every_chip_has_memory_faster_than_links_and_links_faster_than_what_is_beyond(kind):
    chip = chips.chip(kind)
    assert chip.peak.bandwidth > chip.link > chip.beyond > 0
    assert np.isfinite(chip.peak.flops)


def test_an_unknown_chip_is_refused():
    with pytest.raises(ValueError, match=r"'TPU v9' has no network figures; use one of TPU v3"):
        chips.chip("TPU v9")
