"""The order of rows: a permutation in every epoch, the same for ever."""

import numpy as np
import pytest

from lvm_jax.data.feeding.mixture import Schedule, cycle_shares
from lvm_jax.draws import permute, rows_of_step


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


WEIGHTS = ([(0, 5.0), (40, 0.0), (90, 2.0)], [(0, 1.0)], [(0, 0.3), (90, 2.0)], [(0, 0.05)])


def test_every_row_has_one_source_and_one_place():
    """Against counting row by row."""
    schedule = Schedule(WEIGHTS, 7)
    assert schedule.num_phases == 3
    sources, places = schedule.locate(np.arange(7 * 200))
    counts = np.zeros(4, int)
    for number, (source, place) in enumerate(zip(sources, places)):
        if number % 97 == 0:
            assert schedule.counts_before(number).tolist() == counts.tolist()
        assert place == counts[source]
        counts[source] += 1
    assert counts.min() > 0
    assert not (sources[7 * 40 : 7 * 90] == 0).any()


def test_asking_for_some_rows_equals_asking_for_all():
    schedule = Schedule(WEIGHTS, 1 << 17)
    for start in (0, (40 << 17) - 50, (90 << 17) + (5 << 20) - 50):
        numbers = np.arange(start, start + 100)
        whole = schedule.locate(numbers)
        chosen = np.array([99, 3, 50])
        for one, other in zip(schedule.locate(numbers[chosen]), whole):
            np.testing.assert_array_equal(one, other[chosen])
        before, after = schedule.counts_before(start), schedule.counts_before(start + 100)
        np.testing.assert_array_equal(np.bincount(whole[0], minlength=4), after - before)


@pytest.mark.parametrize("stride", [1, 8, 64, 4096])
def test_every_stretch_has_nearly_its_shares(stride):
    """Of whole rows, and of every n-th row, as a device of n sees them."""
    weights = np.array([50.0, 30, 15, 5])
    schedule = Schedule([[(0, weight)] for weight in weights], 256)
    for start in (0, 1000, 10**9, 2**40 + 17):
        sources, _ = schedule.locate(start + np.arange(512) * stride)
        counts = np.bincount(sources, minlength=4)
        assert np.abs(counts - 512 * weights / 100).max() <= 12, (start, counts)
    assert cycle_shares([1, 1, 0, 2]) == (1 << 18, 1 << 18, 0, 1 << 19)
    assert sum(cycle_shares([1, 1, 1])) == sum(cycle_shares([1e-9] * 40 + [1])) == 1 << 20
    assert min(cycle_shares([1e-9, 1])) == 1


def test_golden_schedule():
    # Written down once: a change here changes what every resumed run reads next.
    sources, places = Schedule([[(0, 3.0), (4, 1.0)], [(0, 1.0)], [(0, 1.0)]], 4).locate(
        np.arange(24)
    )
    assert sources.tolist() == [
        0,
        1,
        0,
        2,
        0,
        0,
        1,
        0,
        2,
        0,
        0,
        1,
        0,
        0,
        1,
        0,
        0,
        1,
        0,
        2,
        1,
        0,
        2,
        0,
    ]
    assert places.tolist() == [
        0,
        0,
        1,
        0,
        2,
        3,
        1,
        4,
        1,
        5,
        6,
        2,
        7,
        8,
        3,
        9,
        10,
        4,
        11,
        2,
        5,
        12,
        3,
        13,
    ]
    sources, places = Schedule(WEIGHTS, 512).locate(10**12 + np.arange(6))
    assert sources.tolist() == [2, 0, 2, 1, 0, 2]
    assert places.tolist() == [
        396038997497,
        396039960647,
        396038997498,
        198019994451,
        396039960648,
        396038997499,
    ]
