"""Meshes of devices that are not here: tori, several slices, hosts of GPUs."""

import math

import numpy as np
import pytest
from jax.experimental import mesh_utils

from lvm_jax import device_grid
from tests import fake_devices

TORI = {
    "v3": ("TPU v3", (16, 16, 1), 2),
    "v4": ("TPU v4", (4, 4, 4), 1),
    "v5p-128": ("TPU v5", (4, 4, 8), 1),
    "v5p-256": ("TPU v5", (8, 8, 4), 1),
    "v5p-96": ("TPU v5", (4, 4, 6), 1),
    "v5e": ("TPU v5 lite", (16, 16, 1), 1),
    "v6e": ("TPU v6 lite", (16, 16, 1), 1),
    "7x": ("TPU7x", (4, 4, 4), 2),
}


def make(name, num_slices=1):
    kind, sides, cores = TORI[name]
    return fake_devices.tpus(kind, sides, num_slices=num_slices, cores=cores)


def assert_groups_are_boxes(grid):
    """Devices that talk along an axis are a block of the torus, whole or every nth of its sides."""
    for axis in range(grid.ndim):
        for group in np.moveaxis(grid, axis, -1).reshape(-1, grid.shape[axis]):
            places = [(*device.coords, device.core_on_chip) for device in group]
            spans = [len(set(side)) for side in zip(*places)]
            assert math.prod(spans) == len(set(places)) == len(group)


@pytest.mark.parametrize(
    "name, sizes",
    [
        # No product of whole sides of the torus: jax.make_mesh has no answer to these.
        ("v5p-128", (2, 64, 1, 1)),
        ("v5p-128", (1, 64, 1, 2)),
        ("v5p-256", (2, 128, 1, 1)),
        ("v5p-256", (1, 128, 1, 2)),
        ("v6e", (8, 32, 1, 1)),
        ("v5p-96", (2, 48, 1, 1)),
        ("v4", (2, 8, 2, 2)),
        ("7x", (2, 64, 1, 1)),
        # And to these it has.
        ("v5p-128", (8, 16, 1, 1)),
        ("v5e", (16, 16, 1, 1)),
        ("v6e", (1, 256, 1, 1)),
    ],
)
def test_a_torus_is_cut_into_blocks(name, sizes, caplog):
    devices = make(name)
    grid = device_grid.arrange(sizes, devices)
    assert grid.shape == sizes
    assert {device.id for device in grid.flat} == {device.id for device in devices}
    assert_groups_are_boxes(grid)
    assert not caplog.records


def test_whole_sides_are_as_jax_lays_them():
    devices = make("v5p-128")
    whole = mesh_utils.create_device_mesh((8, 16, 1, 1), devices)
    assert (device_grid.arrange((8, 16, 1, 1), devices) == whole).all()


@pytest.mark.parametrize("name, sizes", [("v5p-128", (8, 64, 1, 1)), ("v5e", (4, 64, 2, 2))])
def test_only_data_crosses_the_network_between_slices(name, sizes):
    devices = make(name, num_slices=4)
    grid = device_grid.arrange(sizes, devices)
    of_slice, of_network = (sizes[0] // 4, *sizes[1:]), (4, 1, 1, 1)
    hybrid = mesh_utils.create_hybrid_device_mesh(
        of_slice, of_network, devices, allow_split_physical_axes=True
    )
    assert (grid == hybrid).all()
    for data in grid:
        assert len({device.slice_index for device in data.flat}) == 1


@pytest.mark.parametrize(
    "sizes, devices",
    [
        # A block with a hole, two devices a chip where v4 has one.
        ((2, 5, 1, 1), fake_devices.tpus("TPU v4", (2, 2, 3))[1:11]),
        ((2, 4, 1, 1), fake_devices.tpus("TPU v4", (2, 2, 1), cores=2)),
    ],
    ids=["hole", "cores"],
)
def test_devices_that_are_no_torus_lie_in_the_order_of_their_ids(sizes, devices, caplog):
    grid = device_grid.arrange(sizes, devices[::-1])
    assert [device.id for device in grid.flat] == sorted(device.id for device in devices)
    assert "lie in the order of their ids" in caplog.text and "\n" not in caplog.messages[0]


def test_a_side_that_some_jax_cannot_factor_is_no_error():
    devices = fake_devices.tpus("TPU v5", (4, 2, 10))
    grid = device_grid.arrange((5, 16, 1, 1), devices)
    assert {device.id for device in grid.flat} == {device.id for device in devices}


def test_gpus_lie_by_host():
    devices = fake_devices.gpus(num_hosts=4)
    grid = device_grid.arrange((4, 4, 1, 2), devices[::-1])
    assert [len({device.process_index for device in data.flat}) for data in grid] == [1] * 4
    # Their network is one that fsdp may cross.
    assert device_grid.arrange((1, 32, 1, 1), devices).shape == (1, 32, 1, 1)
    assert device_grid.slices(devices) == [devices]
