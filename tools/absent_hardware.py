"""What the tools share that compile for hardware which is not here."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lvm_jax.planning.topologies import Topology


def prepare_environment(name: str) -> "Topology":
    """Sets what jax and the compilers must find in the environment when they are imported.

    Args:
        name: of a topology, see `topologies`; it needs no jax.

    Raises:
        ValueError: there is no such topology.
    """
    from lvm_jax.planning import topologies

    topology = topologies.parse(name)
    # The devices of this machine, if it has any, are left to others.
    os.environ["JAX_PLATFORMS"] = "cpu"
    if topology.platform == "cpu":
        os.environ["JAX_NUM_CPU_DEVICES"] = str(topology.num_devices)
    if topology.platform == "gpu":
        # Kernels cannot be tried out on a GPU that is not here.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_autotune_level=0".strip()
    return topology
