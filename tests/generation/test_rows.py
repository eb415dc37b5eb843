"""Rows of one shape go together, in batches of one size, and come back in their order."""

import jax.numpy as jnp
import numpy as np

from lvm_jax.generation import rows


def test_rows_are_computed_in_groups_of_one_shape():
    groups = []

    def compute(a, b):
        groups.append((a.shape, b.shape))
        return a.sum(axis=1) + b.sum(axis=1)

    firsts = [np.ones(2), np.ones(1), 3 * np.ones(2), np.ones(2)]
    seconds = [np.ones(1), np.ones(1), np.ones(1), np.ones(3)]
    sums = rows.in_groups_of_one_shape(compute, firsts, seconds)
    assert sums == [3, 2, 7, 5]
    assert groups == [((1, 1), (1, 1)), ((2, 2), (2, 1)), ((1, 2), (1, 3))]
    assert rows.in_groups_of_one_shape(compute, [], []) == []


def test_rows_are_computed_in_batches_of_one_size():
    batches, seen = [], []

    def compute(rows_B):
        batches.append(list(rows_B))
        return jnp.asarray(rows_B)[:, None] * 10

    results = rows.in_batches_of_one_size(compute, 5, 3, seen.append)
    assert batches == [[0, 1, 2], [3, 4, 3]] and seen == [3, 2]
    np.testing.assert_array_equal(results, [[0], [10], [20], [30], [40]])
