"""What the processes of a run tell one another; a run of one process tells itself, at no cost.

Every process must call these functions at the same place.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils

from lvm_jax import file_names


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
