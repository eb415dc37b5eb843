import pytest

from lvm_jax.devices import DEVICE_PEAKS
from lvm_jax.planning import hardware, topologies
from lvm_jax.planning.chips import CHIPS
from lvm_jax.planning.topologies import GENERATIONS, parse


@pytest.mark.parametrize(
    "name, same, chips, devices",
    [
        ("v3:16x16", "v3-512", 256, 512),
        ("v4:4x4x8", "v4-256", 128, 128),
        ("v4:2x2x1", "v4-8", 4, 4),
        ("v5e:16x16", "v5e-256", 256, 256),
        ("v5e:2x4", "v5litepod-8", 8, 8),
        ("v5p:4x4x4", "v5p-128", 64, 64),
        ("v5p:4x8x8", "v5p-512", 256, 256),
        ("v5p:8x8x8", "v5p-1024", 512, 512),
        ("v5p:4x4x20", "v5p-640", 320, 320),
        ("v6e:16x16", "v6e-256", 256, 256),
        ("tpu7x:4x4x4", "tpu7x-128", 64, 128),
        ("2x v5e:16x16", "2xv5e-256", 512, 512),
        ("h100:8", "h100-8", 8, 8),
        ("h200:64", "H200:8x8", 64, 64),
        ("h200:2x4", "h200:2X4", 8, 8),
    ],
)
def test_hardware_has_two_names(name, same, chips, devices):
    topology = parse(name)
    assert parse(same) == topology and parse(topology.name) == topology
    assert topology.name == name
    assert (topology.num_chips, topology.num_devices) == (chips, devices)
    assert str(chips) in topology.describe()


def test_rings_are_where_the_wires_are():
    wrap = lambda name: parse(name).generation.wrap(parse(name).shape)
    # Whole cubes of 4 x 4 x 4, or a side as long as the pod.
    assert wrap("v5p:4x4x8") == (True, True, True) and wrap("v4:2x2x4") == (False, False, False)
    assert wrap("v5e:16x16") == (True, True, False) and wrap("v5e:8x16") == (False, True, False)
    assert wrap("v6e:4x4") == (False, False, False) and wrap("v3:16x16") == (False, False, False)


def test_every_kind_has_its_figures():
    kinds = {generation.device_kind for generation in GENERATIONS.values()}
    # v2 can be compiled for, but nobody plans for it.
    assert {*kinds, *topologies.GPUS.values()} - {"TPU v2"} <= CHIPS.keys() & DEVICE_PEAKS.keys()


@pytest.mark.parametrize(
    "name, problem",
    [
        ("v5p", "write it like"),
        ("v9:4x4", "no kind 'v9'"),
        ("v4:4x4", "v4 slices have 3 sides, such as v4:4x4x4"),
        ("v5e-3", "no v5e slice has 3 chips"),
        ("v4-7", "no v4 slice has 7 tensor cores"),
        ("v5e:3x4", "the first two sides are even"),
        ("v5e:0x4", "has no devices"),
        ("h100:12", "nodes of 8"),
        ("2x h100:8", "only TPUs come in slices"),
    ],
)
def test_what_there_is_not(name, problem):
    with pytest.raises(ValueError, match=problem):
        parse(name)


@pytest.mark.parametrize("name", ["v3:4x4", "v5p:2x4x4", "2x v5e:2x4", "tpu7x:2x2x2", "h100:16"])
def test_stand_ins_are_where_the_compilers_devices_are(name):
    """With the compiler installed: where each device sits, and in which order they come."""
    topology = parse(name)
    fakes = hardware.fake_devices(topology)
    assert len({device.id for device in fakes}) == topology.num_devices
    if hardware.missing_compiler(topology):
        pytest.skip(hardware.missing_compiler(topology))

    def place(device):
        on_gpu = topology.platform == "gpu"
        where = () if on_gpu else (tuple(device.coords), device.core_on_chip)
        return device.process_index, getattr(device, "slice_index", 0) or 0, where

    reals = hardware.compile_devices(topology)
    assert [place(device) for device in fakes] == [place(device) for device in reals]
    assert {device.device_kind for device in reals} == {topology.device_kind}
