"""What a step is given: rows of ids as arrays.

Shapes: B rows of the global batch, L positions.
"""

import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from lvm_jax import partition

Batch = Mapping[str, Array]
"""inputs, targets, segments, positions int32 [B, L]; weights float32 [B, L]; and
kinds int16 [B, L], which only losses by kind look at."""

BATCH_DTYPES = {
    "inputs": jnp.int32,
    "targets": jnp.int32,
    "segments": jnp.int32,
    "positions": jnp.int32,
    "weights": jnp.float32,
    "kinds": jnp.int16,
}


def abstract_batch(
    num_rows: int, context: int, mesh: Mesh, rules: partition.Rules
) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes and shardings of a batch, to compile the step without data."""
    rows = partition.batch_sharding(mesh, rules)
    return {
        key: jax.ShapeDtypeStruct((num_rows, context), dtype, sharding=rows)
        for key, dtype in BATCH_DTYPES.items()
    }


def random_batch(
    num_codes: int, num_rows: int, context: int, *, packed: bool, seed: int = 0
) -> dict[str, np.ndarray]:
    """A batch of random ids on the host, to check and to measure steps with.

    Args:
        num_codes: ids are below it.
        num_rows: B.
        context: L.
        packed: rows hold three sentences of random lengths and end in padding; else each is one
            sentence.
        seed: of all that is random.

    Returns:
        The arrays of `BATCH_DTYPES`, [B, L].
    """
    rng = np.random.default_rng(seed)
    ids_BL = rng.integers(0, num_codes, (num_rows, context + 1))
    segments_BL, positions_BL = (np.zeros((num_rows, context), np.int32) for _ in range(2))
    for row in range(num_rows):
        ends = sorted(rng.choice(np.arange(1, context), 3, replace=False)) if packed else [context]
        for segment, (start, end) in enumerate(itertools.pairwise([0, *ends]), 1):
            segments_BL[row, start:end] = segment
            positions_BL[row, start:end] = np.arange(end - start)
    batch = {
        "inputs": ids_BL[:, :-1],
        "targets": ids_BL[:, 1:],
        "segments": segments_BL,
        "positions": positions_BL,
        "weights": segments_BL > 0,
        "kinds": np.zeros_like(segments_BL),
    }
    return {key: batch[key].astype(dtype) for key, dtype in BATCH_DTYPES.items()}


def place(
    batch: Mapping[str, np.ndarray], abstract: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, Array]:
    """A whole batch, the same in every process, onto the devices that `abstract` names."""
    return {
        key: jax.make_array_from_callback(
            leaf.shape, leaf.sharding, lambda index, key=key: batch[key][index]
        )
        for key, leaf in abstract.items()
    }
