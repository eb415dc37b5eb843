"""The mesh: what fits the devices, and what users read when it does not."""

import itertools
import math

import jax
import pytest
from jax.sharding import AxisType

from lvm_jax import mesh as mesh_lib
from lvm_jax.mesh import MeshConfig, make_mesh


@pytest.mark.parametrize(
    "sizes", [(2, 2, 1, 2), (1, -1, 1, 1), (-1, 2, 1, 1), (8, 1, 1, 1), (2, 1, 2, -1)]
)
def test_axes_cover_the_devices(sizes):
    mesh = make_mesh(MeshConfig(**dict(zip(mesh_lib.AXES, sizes))))
    assert mesh.axis_names == ("data", "fsdp", "context", "tensor")
    assert mesh.size == jax.device_count() == 8
    assert all(want in (-1, got) for want, got in zip(sizes, mesh.devices.shape))
    assert set(mesh.axis_types) == {AxisType.Auto}


def test_a_mesh_of_some_devices():
    mesh = make_mesh(MeshConfig(), jax.devices()[:2])
    assert dict(mesh.shape) == {"data": 1, "fsdp": 2, "context": 1, "tensor": 1}


@pytest.mark.parametrize(
    "config, nearest",
    [
        (MeshConfig(data=3), "mesh.data=4 mesh.fsdp=2 mesh.context=1 mesh.tensor=1"),
        (
            MeshConfig(data=2, fsdp=2, tensor=4),
            "mesh.data=2 mesh.fsdp=2 mesh.context=1 mesh.tensor=2",
        ),
        (MeshConfig(data=16, fsdp=1), "mesh.data=8 mesh.fsdp=1 mesh.context=1 mesh.tensor=1"),
        (MeshConfig(data=16), "mesh.data=8 mesh.fsdp=1 mesh.context=1 mesh.tensor=1"),
    ],
)
def test_a_mesh_that_does_not_fit_names_one_that_does(config, nearest):
    with pytest.raises(ValueError, match="does not make up 8 devices") as caught:
        make_mesh(config)
    message = str(caught.value)
    assert str(config) in message and nearest in message and "\n" not in message


@pytest.mark.parametrize("values", [{"data": 0}, {"fsdp": -2}, {"data": -1, "fsdp": -1}])
def test_impossible_sizes_are_refused(values):
    with pytest.raises(ValueError, match=r"must be positive|more than one"):
        MeshConfig(**values)


@pytest.mark.parametrize("num_devices", [1, 8, 12])
def test_factorizations_are_all_and_distinct(num_devices):
    factorizations = mesh_lib.factorizations(num_devices)
    every = itertools.product(range(1, num_devices + 1), repeat=len(mesh_lib.AXES))
    brute = [sizes for sizes in every if math.prod(sizes) == num_devices]
    assert sorted(factorizations) == sorted(brute)
