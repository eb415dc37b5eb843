"""Where the processes of a run are."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax

from lvm_jax.configs import ConfigError, Field


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributedConfig:
    """How the processes of a run find each other.

    Attributes:
        mode: "single" is one process; "auto" lets JAX ask the cluster (TPU pod, Slurm, Open MPI,
            GKE); "explicit" uses the three fields below.
        coordinator_address: host:port of process 0.
        num_processes: processes of the run.
        process_id: this process, 0..num_processes-1.
        timeout: seconds that processes wait for each other, at the start and wherever they meet
            later, before the run ends; every half minute they say for whom.
        preemption_notice: whom to ask whether this machine is about to be taken away, so that the
            run is saved in time: "auto" asks Google's metadata server on its machines, "none"
            nobody, and a URL another server of that form. SIGTERM, SIGUSR1 and SIGINT always count.
    """

    mode: Literal["single", "auto", "explicit"] = "single"
    coordinator_address: str = ""
    num_processes: int = 1
    process_id: int = 0
    timeout: float = 300.0
    preemption_notice: str = "auto"

    def __post_init__(self):
        known = self.preemption_notice in ("auto", "none")
        if not known and not self.preemption_notice.startswith(("http://", "https://")):
            raise ConfigError(
                Field("preemption_notice"),
                f"={self.preemption_notice!r} must be 'auto', 'none' or a URL",
            )
        if not self.timeout > 0:
            raise ConfigError(Field("timeout"), f"={self.timeout:g} must be positive, in seconds")
        if self.mode != "explicit":
            return
        host, _, port = self.coordinator_address.rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigError(
                Field("coordinator_address"), f"={self.coordinator_address!r} must be host:port"
            )
        if not 0 <= self.process_id < self.num_processes:
            raise ConfigError(
                Field("process_id"),
                f"={self.process_id} must lie in 0..{self.num_processes - 1} (",
                Field("num_processes"),
                f"={self.num_processes})",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """One process among those of a run.

    Attributes:
        address: host:port of process 0.
        count: processes of the run.
        index: this one, 0..count-1.
        local_device_ids: the devices of this host that are this process's; None: all.
        timeout: seconds to wait for others.
    """

    address: str
    count: int
    index: int
    local_device_ids: Sequence[int] | None = None
    timeout: float = 300.0

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)

    def name(self, index: int) -> str:
        """Process `index`, as messages call it."""
        return f"process {index} of {self.count}"

    def names(self, indices: Sequence[int]) -> str:
        """Several processes, as messages call them."""
        if len(indices) == 1:
            return self.name(indices[0])
        shown = ", ".join(map(str, indices[:20])) + (", ..." if len(indices) > 20 else "")
        return f"processes {shown} of {self.count}"


def find_place(config: DistributedConfig) -> Place | None:
    """This process's place in its run; None for a run of one process.

    Raises:
        ConfigError: mode="auto" where JAX knows no cluster.
    """
    if config.mode == "single":
        return None
    if config.mode == "auto":
        return _ask_cluster(config)
    return Place(
        address=config.coordinator_address,
        count=config.num_processes,
        index=config.process_id,
        timeout=config.timeout,
    )


def _ask_cluster(config: DistributedConfig) -> Place:
    # What jax.distributed.initialize() does first; JAX has no public name for it.
    from jax._src.clusters import ClusterEnv

    try:
        address, count, index, devices, *_ = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, int(config.timeout)
        )
    # A half-set environment: KeyError of a variable, ValueError of its value, OSError of a lookup,
    # ImportError of a package to look up with.
    except (KeyError, ValueError, OSError, RuntimeError, ImportError) as error:
        reason = f"the cluster's environment cannot be read ({type(error).__name__}: {error})"
    else:
        if address is not None and count is not None and index is not None:
            return Place(
                address=address,
                count=count,
                index=index,
                local_device_ids=devices,
                timeout=config.timeout,
            )
        reason = "JAX finds no cluster here (TPU pod, Slurm, Open MPI or GKE)"
    raise ConfigError(
        Field("mode"),
        f"='auto': {reason}; use ",
        Field("mode"),
        "=single for one process, or explicit with coordinator_address, num_processes and "
        "process_id",
    )


def initialize_jax(place: Place | None) -> None:
    """Starts JAX's runtime over all processes, before anything touches a device."""
    if place is None:
        return
    # Its service would take SIGTERM for itself; a run stops as its supervisors agree.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator_address=place.address,
        num_processes=place.count,
        process_id=place.index,
        local_device_ids=place.local_device_ids,
        initialization_timeout=max(int(place.timeout), 1),
    )
