"""What the processes of a run make sure of before they work together."""

import functools
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jaxlib

import lvm_jax
from lvm_jax.distributed import member
from lvm_jax.training.workdir import steps
from lvm_jax.version import __version__


def require_one_config(resolved: Mapping[str, Any]) -> None:
    """Makes sure that all processes run the same code on the same config and data.

    Args:
        resolved: the whole resolved config with fingerprints.

    Raises:
        ValueError: the first difference, with both values.
    """
    if not member.attached():
        return
    facts = {
        "lvm_jax": f"{__version__} with code {_code_fingerprint()}",
        "jax": f"{jax.__version__}, jaxlib {jaxlib.__version__}",
        "devices of a process": jax.local_device_count(),
        # Each process has its own place in the run.
        "config": {key: value for key, value in resolved.items() if key != "distributed"},
    }
    remedy = "start all processes with the same code, config and data"
    member.require_same("the comparison of configs", facts, remedy)


def require_one_list(workdir: pathlib.Path) -> None:
    """Makes sure that all processes see the same checkpoints.

    Raises:
        ValueError: one sees others, as a shared disk may show for a while.
    """
    facts = {f"the list of checkpoints in {workdir}": sorted(steps(workdir))}
    remedy = "wait until the shared disk shows the same everywhere, then start all processes again"
    member.require_same("the comparison of checkpoints", facts, remedy)


@functools.cache
def _code_fingerprint() -> str:
    """Of all source files of the package: two checkouts may have one version."""
    root, digest = pathlib.Path(lvm_jax.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
