"""Rows for a jitted function: those of one shape together, in batches of one size."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np


def in_groups_of_one_shape(
    compute: Callable[..., np.ndarray], *columns: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Computes rows of different shapes: those that can be stacked go together.

    Args:
        compute: an array [n, ...] per column -> the results of these rows, [n, ...].
        columns: what a row consists of, for every row.

    Returns:
        The result of every row, in their order.
    """
    shapes = [tuple(np.shape(part) for part in row) for row in zip(*columns, strict=True)]
    results: dict[int, np.ndarray] = {}
    for shape in sorted(set(shapes)):
        members = [i for i, other in enumerate(shapes) if other == shape]
        stacked = [np.stack([column[i] for i in members]) for column in columns]
        results.update(zip(members, compute(*stacked), strict=True))
    return [results[i] for i in range(len(shapes))]


def in_batches_of_one_size(
    compute: Callable[[np.ndarray], jax.Array],
    num_rows: int,
    batch_size: int,
    progress: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """Computes rows in batches of one size: one compilation, and rows that ignore the others.

    Args:
        compute: int [batch_size] numbers of rows -> array [batch_size, ...]; the last batch repeats
            its own rows.
        num_rows: at least 1.
        batch_size: rows at a time.
        progress: called with the number of rows finished since the last call.

    Returns:
        [num_rows, ...], in order.
    """
    batches = []
    for start in range(0, num_rows, batch_size):
        rows = np.arange(start, min(start + batch_size, num_rows))
        batches.append(np.asarray(compute(np.resize(rows, batch_size)))[: len(rows)])
        if progress is not None:
            progress(len(rows))
    return np.concatenate(batches)
