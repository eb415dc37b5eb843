"""The order of rows: a permutation in every epoch, the same for ever."""

import numpy as np
import pytest

from lvm_jax.data.mixture import permute, rows_of_step


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15, 16, 17, 255, 1000, 4097, 70_000])
def test_permutation(size):
    for seed, epoch in ((0, 0), (0, 1), (9, 3)):
        order = permute(np.arange(size), size, seed, epoch)
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_pure_in_any_shape_and_any_part():
    whole = permute(np.arange(1000), 1000, 5, 2)
    assert permute(17, 1000, 5, 2) == whole[17]
    np.testing.assert_array_equal(
        permute(np.arange(1000).reshape(10, 100), 1000, 5, 2), whole.reshape(10, 100)
    )
    chosen = np.array([999, 3, 3, 500])
    np.testing.assert_array_equal(permute(chosen, 1000, 5, 2), whole[chosen])


def test_every_place_is_equally_likely():
    size, epochs = 12, 3000
    counts = np.zeros((size, size))
    for epoch in range(epochs):
        counts[np.arange(size), permute(np.arange(size), size, 1, epoch)] += 1
    # 144 cells of 250 +- 15.1: five standard deviations.
    assert np.abs(counts - epochs / size).max() < 76
    # Neighbours must not stay neighbours: 2 / size of the pairs do by chance.
    order = permute(np.arange(50_000), 50_000, 1, 0)
    assert np.mean(np.abs(np.diff(order)) == 1) < 1e-3


def test_golden_order():
    # Written down once: a change here changes what every resumed run reads next.
    assert permute(np.arange(10), 10, 0, 0).tolist() == [2, 8, 3, 9, 7, 4, 6, 5, 1, 0]
    assert permute(np.arange(5) * 10**8, 10**9, 3, 2).tolist() == [
        865626351,
        161678332,
        790839558,
        733116523,
        694041508,
    ]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch,num_rows", [(4, 10), (10, 10), (3, 5000), (25, 10)])
def test_epochs_follow_without_gap_or_repeat(shuffle, batch, num_rows):
    steps = 3 * num_rows // batch + 2
    rows = np.concatenate([rows_of_step(s, batch, num_rows, 7, shuffle) for s in range(steps)])
    epochs = rows[: 3 * num_rows].reshape(3, num_rows)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(num_rows))
    assert (epochs[0] == epochs[1]).all() != shuffle


def test_batch_size_does_not_change_the_order():
    small = np.concatenate([rows_of_step(s, 6, 50, 1, True) for s in range(20)])
    large = np.concatenate([rows_of_step(s, 24, 50, 1, True) for s in range(5)])
    np.testing.assert_array_equal(small, large)
