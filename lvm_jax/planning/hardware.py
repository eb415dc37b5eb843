"""Devices of a topology that is not here: what compilers offer, or stand-ins to trace with."""

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import itertools
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.experimental import topologies as jax_topologies

from lvm_jax.planning import gpu_targets
from lvm_jax.planning.topologies import Topology

# Package of each platform's compiler, and the extra of this project that installs it.
_COMPILERS = {"tpu": ("libtpu", "plan"), "gpu": ("jax_cuda12_plugin", "plan-gpu")}


@dataclasses.dataclass(frozen=True)
class FakeDevice:
    """A stand-in for a device: enough to make a mesh and to trace, not to compile.

    Attributes:
        id, process_index, platform, device_kind: as of `jax.Device`.
        coords: of its chip inside the slice.
        core_on_chip: 0, or 1 for the second of a chip's cores.
        slice_index: which slice it belongs to.
    """

    id: int
    process_index: int
    platform: str
    device_kind: str
    coords: tuple[int, ...]
    core_on_chip: int
    slice_index: int


def missing_compiler(topology: Topology) -> str:
    """What to install so that a step can be compiled for a topology; "" when nothing is missing."""
    if topology.platform == "cpu":
        return ""
    package, extra = _COMPILERS[topology.platform]
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed (pip install 'lvm_jax[{extra}]')"
    return ""


def compiler(topology: Topology) -> str:
    """Name and version of what compiles for a topology, such as "libtpu 0.0.42.1"."""
    package = _COMPILERS.get(topology.platform, ("jaxlib", ""))[0]
    return f"{package} {importlib.metadata.version(package)}"


def compile_devices(topology: Topology) -> Sequence[Any]:
    """Devices that a step can be compiled for.

    Raises:
        ValueError: its compiler is not installed, does not know the topology, or, for CPUs, the
            process does not have so many.
    """
    problem = missing_compiler(topology)
    if problem:
        raise ValueError(f"topology {topology.name}: {problem}")
    if topology.platform == "cpu":
        here = jax.devices("cpu")
        if len(here) < topology.num_devices:
            raise ValueError(
                f"topology {topology.name}: this process has {len(here)} CPU devices; set "
                f"JAX_NUM_CPU_DEVICES={topology.num_devices}"
            )
        return here[: topology.num_devices]
    try:
        with _quiet():
            if topology.platform == "gpu":
                return _gpus(topology)
            return _tpus(topology)
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"topology {topology.name}: {compiler(topology)} refuses it: {error}"
        ) from error


def _tpus(topology: Topology) -> Sequence[Any]:
    # A second process that loads the library would end at its lock; nothing here needs the TPU.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    slices = {"num_slices": topology.num_slices} if topology.num_slices > 1 else {}
    return jax_topologies.get_topology_desc(
        f"{topology.kind}:{'x'.join(map(str, topology.shape))}",
        platform="tpu",
        chip_config_name=topology.generation.chip_config,
        chips_per_host_bounds=topology.chips_per_host,
        wrap=topology.generation.wrap(topology.shape),
        **slices,
    ).devices


def _gpus(topology: Topology) -> Sequence[Any]:
    nodes, gpus = topology.shape
    return jax_topologies.get_topology_desc(
        platform="cuda",
        target_config=gpu_targets.target_config(topology.device_kind),
        topology=f"1x{nodes}x{gpus}",
    ).devices


def fake_devices(topology: Topology) -> list[FakeDevice]:
    """Stand-ins for the devices of a topology, in the order that a compiler would have them."""
    sides = topology.shape if topology.platform == "tpu" else (math.prod(topology.shape),)
    chips = [tuple(reversed(place)) for place in itertools.product(*map(range, reversed(sides)))]
    places = itertools.product(range(topology.num_slices), chips, range(topology.devices_per_chip))
    hosts: dict[Any, int] = {}

    def host(slice_index: int, coords: tuple[int, ...]) -> int:
        if topology.platform == "gpu":
            key: Any = coords[0] // topology.shape[1]
        else:
            key = tuple(c // size for c, size in zip(coords, topology.chips_per_host))
        return hosts.setdefault((slice_index, key), len(hosts))

    found = [
        FakeDevice(
            id=number,
            process_index=host(slice_index, coords),
            platform=topology.platform,
            device_kind=topology.device_kind,
            coords=(*coords, 0, 0)[:3],
            core_on_chip=core,
            slice_index=slice_index,
        )
        for number, (slice_index, coords, core) in enumerate(places)
    ]
    return sorted(found, key=lambda device: device.process_index)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what compilers complain about on a machine without their devices off the screen.

    They write past Python; after a failure their lines are shown.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        screen = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(screen, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)
