"""What the processes of a run tell one another; a run of one process tells itself, at no cost.

Every process must call these functions at the same place.
"""

import functools
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jaxlib
import numpy as np
from jax.experimental import multihost_utils

import lvm_jax
from lvm_jax import file_names
from lvm_jax.distributed import member
from lvm_jax.training.workdir import steps
from lvm_jax.version import __version__


def gather(text: str) -> list[str]:
    """A text of every process -> the texts of all of them, in the order of the processes."""
    if jax.process_count() == 1:
        return [text]
    data = file_names.to_bytes(text)
    lengths = multihost_utils.process_allgather(np.array([len(data)], np.int32)).reshape(-1)
    padded = np.zeros(max(1, int(lengths.max())), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = multihost_utils.process_allgather(padded).reshape(len(lengths), -1)
    rows = [row[:length].tobytes() for row, length in zip(rows, lengths.tolist())]
    return [file_names.from_bytes(row) for row in rows]


def first_says(yes: bool) -> bool:
    """What process 0 says, on every process."""
    return gather("yes" if yes else "")[0] == "yes"


def first_decides(name: str, yes: bool) -> bool:
    """As `first_says`, for what is asked between steps: no device waits where it can be avoided.

    Args:
        name: where, as for `member.share`.
        yes: what this process would say.
    """
    return member.share(name, yes) if member.attached() else first_says(yes)


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
