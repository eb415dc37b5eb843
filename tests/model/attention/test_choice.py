"""Which backend runs where, and why: by devices that need not be here."""

import dataclasses
import importlib.util

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from lvm_jax.configs import ConfigError
from lvm_jax.mesh import AXES
from lvm_jax.model.attention import backends
from lvm_jax.model.attention.needs import Sizes, machine_of

TPUS = ("TPU v4", "TPU v5 lite", "TPU v5", "TPU v6 lite", "TPU7x")
HOPPER = "NVIDIA H100 80GB HBM3"


@dataclasses.dataclass(frozen=True)
class Device:
    """What is asked of a device."""

    platform: str
    device_kind: str
    compute_capability: str | None = None


def mesh_of(platform, kind, **told):
    """A mesh of four devices, with a size of 4 on its axis fsdp."""
    device = Device(platform, kind, **told)
    sizes = [4 if axis == "fsdp" else 1 for axis in AXES]
    return Mesh(np.full(sizes, device, object), AXES)


def sizes(**changes):
    start = {"length": 4096, "num_heads": 32, "kv_heads": 32, "head_dim": 100, "dtype": "bfloat16"}
    return Sizes(**start | changes)


def choose(wanted, platform, kind, **changes):
    return backends.choose(wanted, sizes(**changes), mesh_of(platform, kind))


def refusal(*arguments, **changes):
    with pytest.raises(ConfigError) as error:
        choose(*arguments, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", TPUS)
def test_newer_tpus_run_splash(kind):
    choice = choose("auto", "tpu", kind)
    assert (choice.name, choice.interpret) == ("splash", False)
    assert str(choice) == f"attention: splash (the fastest for {kind})"
    assert choose("auto", "tpu", kind, kv_heads=8, head_dim=64).name == "splash"


def test_auto_says_why_faster_ones_do_not_run():
    old = choose("auto", "tpu", "TPU v3")
    assert old.name == "blockwise"
    assert "splash: needs a newer TPU for bfloat16 than TPU v3" in old.reason
    assert "triton: needs GPU devices, not TPU v3" in old.reason
    assert choose("auto", "tpu", "TPU v3", dtype="float32").name == "blockwise"
    ragged = choose("auto", "tpu", "TPU v5", length=4100)
    assert ragged.name == "blockwise"
    assert "splash: needs rows of a multiple of 128 ids, not length=4100" in ragged.reason


@pytest.mark.parametrize("kind", [HOPPER, "NVIDIA A100-SXM4-80GB", "NVIDIA L40S"])
def test_gpus_run_triton(kind):
    choice = choose("auto", "gpu", kind)
    assert (choice.name, choice.interpret) == ("triton", False)
    assert "splash: needs TPU devices" in choice.reason


def test_old_gpus_run_no_kernel():
    mesh = mesh_of("gpu", "Tesla V100-SXM2-16GB", compute_capability="7.0")
    choice = backends.choose("auto", sizes(), mesh)
    assert choice.name == "blockwise"
    assert "triton: needs a GPU of compute capability 8.0 or more" in choice.reason


def test_a_mesh_that_cuts_rows_runs_what_can_share_them():
    shape = [2 if axis == "context" else 1 for axis in AXES]
    mesh = lambda kind: Mesh(np.full(shape, kind, object), AXES)
    hopper = backends.choose("auto", sizes(), mesh(Device("gpu", HOPPER)))
    assert hopper.name == "blockwise"
    assert "triton: needs whole rows, not 2 parts of each" in hopper.reason
    with pytest.raises(ConfigError, match=r"attention=triton needs whole rows, .* in 2 parts; use"):
        backends.choose("triton", sizes(), mesh(Device("gpu", HOPPER)))


def test_a_named_backend_runs_or_says_what_it_needs():
    assert refusal("splash", "tpu", "TPU v3") == (
        "attention=splash needs a newer TPU for bfloat16 than TPU v3; use attention=auto"
    )
    assert choose("splash", "tpu", "TPU v3", dtype="float32").name == "splash"
    assert "needs TPU devices, not NVIDIA H100" in refusal("splash", "gpu", HOPPER)
    assert refusal("splash", "tpu", "TPU v4", length=300) == (
        "attention=splash needs rows of a multiple of 128 ids, not length=300; use 384, or "
        "attention=auto"
    )
    assert "128 dims at most, not 256" in refusal("triton", "gpu", HOPPER, head_dim=256)


def test_cudnn_refuses_what_it_would_get_wrong(monkeypatch):
    on_hopper = lambda **changes: refusal("cudnn", "gpu", HOPPER, **changes)
    assert "needs GPU devices, not cpu" in refusal("cudnn", "cpu", "cpu")
    assert "devices that are here, not described ones" in on_hopper()
    # As on a machine with such a GPU.
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert choose("cudnn", "gpu", HOPPER).name == "cudnn"
    assert "compute capability 9.0 or more" in refusal("cudnn", "gpu", "NVIDIA A100-SXM4-80GB")
    assert "needs bfloat16, not dtype=float32" in on_hopper(dtype="float32")
    assert "cudnn: runs, but only when it is named" in choose("auto", "gpu", HOPPER).reason
    monkeypatch.setattr(jax, "__version_info__", (0, 11, 2))
    assert "JAX 0.12 for num_kv_heads=8, which JAX" in on_hopper(kv_heads=8)
    monkeypatch.setattr(jax, "__version_info__", (0, 12, 0))
    assert choose("cudnn", "gpu", HOPPER, kv_heads=8).name == "cudnn"


@pytest.mark.skipif(importlib.util.find_spec("tokamax") is not None, reason="it is installed")
def test_an_extra_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "; pip install 'lvm_jax[tokamax]', or attention=auto" in refusal(
        "tokamax", "gpu", HOPPER
    )


def test_kernels_are_interpreted_on_cpu_alone():
    here = choose("splash", "cpu", "cpu")
    assert here.interpret
    assert "interpreted on cpu, for tests" in str(here)
    assert choose("auto", "cpu", "cpu").name == "blockwise"


def test_a_gpu_says_its_own_capability():
    assert machine_of(mesh_of("cuda", "unheard of", compute_capability="12.1")).capability == (
        12,
        1,
    )
    assert machine_of(mesh_of("cuda", HOPPER)).capability == (9, 0)
    assert machine_of(mesh_of("cuda", "unheard of")).capability is None
