"""The mesh: what fits the devices, and what users read when it does not."""

import itertools
import math
import re

import jax
import pytest
from jax.sharding import AxisType

from lvm_jax import mesh as mesh_lib
from lvm_jax.mesh import MeshConfig, make_mesh
from tests import fake_devices


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


@pytest.mark.parametrize(
    "values", [{"data": 0}, {"fsdp": -2}, {"tensor": -1}, {"data": 2, "fsdp": -1, "context": -1}]
)
def test_impossible_sizes_are_refused(values):
    with pytest.raises(ValueError, match=r"must be positive|more than one"):
        MeshConfig(**values)


V5P, V6E = ("TPU v5", (4, 4, 8)), ("TPU v6 lite", (2, 4, 1))


@pytest.mark.parametrize(
    "devices, config, sizes",
    [
        # As it always was, without TPUs.
        (fake_devices.gpus(2), MeshConfig(), (1, 16, 1, 1)),
        (fake_devices.gpus(2), MeshConfig(tensor=2), (1, 8, 1, 2)),
        (fake_devices.gpus(2), MeshConfig(fsdp=4), (4, 4, 1, 1)),
        # Of a TPU slice half, unless it is small, or shared with other axes, or one was named.
        (fake_devices.tpus(*V5P), MeshConfig(), (2, 64, 1, 1)),
        (fake_devices.tpus(*V6E), MeshConfig(), (1, 8, 1, 1)),
        (fake_devices.tpus(*V5P), MeshConfig(context=2, tensor=4), (1, 16, 2, 4)),
        (fake_devices.tpus(*V5P), MeshConfig(data=1), (1, 128, 1, 1)),
        (fake_devices.tpus(*V5P), MeshConfig(fsdp=32), (4, 32, 1, 1)),
        (fake_devices.tpus("TPU v5", (3, 3, 3)), MeshConfig(), (1, 27, 1, 1)),
        # Between slices there is data.
        (fake_devices.tpus(*V5P, num_slices=2), MeshConfig(), (4, 64, 1, 1)),
        (fake_devices.tpus(*V6E, num_slices=3), MeshConfig(), (3, 8, 1, 1)),
        (fake_devices.tpus(*V6E, num_slices=3), MeshConfig(tensor=2), (3, 4, 1, 2)),
    ],
)
def test_what_data_and_fsdp_take_when_neither_is_said(devices, config, sizes):
    mesh = make_mesh(config, devices)
    assert mesh.devices.shape == sizes


@pytest.mark.parametrize(
    "data, said",
    [
        (-1, "mesh: data 2 x fsdp 64 x context 1 x tensor 1; fsdp takes half of a TPU slice"),
        (1, "mesh: data 1 x fsdp 128 x context 1 x tensor 1; over a whole TPU slice .*all-reduced"),
        (4, "mesh: data 4 x fsdp 32 x context 1 x tensor 1$"),
    ],
)
def test_the_summary_says_what_fsdp_costs(data, said):
    config = MeshConfig(data=data)
    mesh = make_mesh(config, fake_devices.tpus(*V5P))
    assert re.match(said, mesh_lib.summary(mesh, config))


def test_slices_that_data_does_not_reach_are_refused_with_a_mesh_that_does():
    devices = fake_devices.tpus(*V6E, num_slices=4)
    with pytest.raises(ValueError) as caught:
        make_mesh(MeshConfig(data=2, tensor=2), devices)
    assert str(caught.value) == (
        "data=2 must be a multiple of the number of TPU slices, 4: it alone crosses the network "
        "between them; nearest mesh that works: mesh.data=4 mesh.fsdp=8 mesh.context=1 "
        "mesh.tensor=1"
    )
    make_mesh(MeshConfig(data=4, fsdp=8), devices)
    with pytest.raises(
        ValueError, match=r"TPU slices of \[7, 8\] devices; a mesh needs slices of one"
    ):
        make_mesh(MeshConfig(), devices[1:])


@pytest.mark.parametrize("num_devices", [1, 8, 12])
def test_factorizations_are_all_and_distinct(num_devices):
    factorizations = mesh_lib.factorizations(num_devices)
    every = itertools.product(range(1, num_devices + 1), repeat=len(mesh_lib.AXES))
    brute = [sizes for sizes in every if math.prod(sizes) == num_devices]
    assert sorted(factorizations) == sorted(brute)
