"""What a step is given: rows of ids as arrays.

Shapes: B rows of the global batch, L positions.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
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
