"""Rows from a pipeline onto the devices of a mesh.

Letters: B rows of the global batch, N of them on the devices of this process, L positions.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from lvm_jax import partition
from lvm_jax.data.feeding import pipeline
from lvm_jax.training.transformer.batch import BATCH_DTYPES, Batch

_Place = Callable[[pipeline.Batch], Batch]


def placement(mesh: Mesh, rules: partition.Rules, shape: tuple[int, int]) -> tuple[slice, _Place]:
    """Which rows of a global batch this process reads, and how they get to its devices.

    Args:
        mesh, rules: where rows live.
        shape: (B, L).

    Returns:
        (the rows, a function from the arrays [N, L] of these rows to global arrays [B, L]).
    """
    sharding = partition.batch_sharding(mesh, rules)
    indices = sharding.addressable_devices_indices_map(shape).values()
    bounds = [index[0].indices(shape[0])[:2] for index in indices if index]
    first, last = min(b[0] for b in bounds), max(b[1] for b in bounds)

    def place_one(local_NL: np.ndarray) -> jax.Array:
        def piece(index):
            start, stop, _ = index[0].indices(shape[0])
            return local_NL[start - first : stop - first, index[1]]

        return jax.make_array_from_callback(shape, sharding, piece)

    return slice(first, last), lambda batch: {key: place_one(batch[key]) for key in BATCH_DTYPES}


def batches_once(
    source: pipeline.Pipeline,
    chosen: tuple[np.ndarray, np.ndarray],
    shape: tuple[int, int],
    mesh: Mesh,
    rules: partition.Rules,
) -> Iterator[Batch]:
    """Given rows, each once; rows without weight fill the last batch.

    Args:
        source: where the rows are.
        chosen: sources and rows, as `Pipeline.rows_once` returns them.
        shape: (B, L).
        mesh, rules: where rows live.

    Yields:
        A dict of global arrays [B, L], split over the mesh.
    """
    own, place = placement(mesh, rules, shape)
    for start in range(0, len(chosen[0]), shape[0]):
        sources_N, rows_N = (part[start : start + shape[0]][own] for part in chosen)
        batch = {
            key: np.zeros((own.stop - own.start, shape[1]), dtype)
            for key, dtype in BATCH_DTYPES.items()
        }
        if len(rows_N):
            for key, values_NL in source.read_rows(sources_N, rows_N).items():
                batch[key][: len(rows_N)] = values_NL
        yield place(batch)
