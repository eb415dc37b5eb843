"""Contours: one-to-one pairs within a distance, and F over thresholds."""

import numpy as np
import pytest
import scipy.optimize
import scipy.spatial

from lvm_jax.evaluation.metrics import edges
from lvm_jax.pictures import derive
from tests.evaluation.metrics import real_pictures

STRENGTH = edges.strength(derive.edges(real_pictures.photograph()))
TRUTH = edges.thin(STRENGTH >= 0.5)


def assigned(mask, truth, tolerance):
    """The size of the best assignment, by the Hungarian method."""
    distances = scipy.spatial.distance.cdist(np.argwhere(mask), np.argwhere(truth))
    pairs = scipy.optimize.linear_sum_assignment(distances > tolerance)
    return int((distances[pairs] <= tolerance).sum())


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.7])
def test_as_many_pairs_as_any_assignment_has(tolerance):
    rng = np.random.default_rng(0)
    for _ in range(5):
        mask, truth = rng.random((2, 14, 17)) < 0.2
        assert edges.matched(mask, truth, tolerance) == assigned(mask, truth, tolerance)
    part = np.s_[:48, :48]
    shifted = np.roll(TRUTH, 1, axis=0)[part]
    assert edges.matched(shifted, TRUTH[part], tolerance) == assigned(
        shifted, TRUTH[part], tolerance
    )


def test_pairs_are_symmetric_and_one_to_one():
    other = np.roll(TRUTH, 2, axis=1)
    assert edges.matched(TRUTH, other, 2.7) == edges.matched(other, TRUTH, 2.7)
    # Many pixels near one of the truth are one pair.
    one = np.zeros((9, 9), bool)
    one[4, 4] = True
    assert edges.matched(np.ones((9, 9), bool), one, 2.7) == 1
    assert edges.matched(np.zeros((9, 9), bool), one, 2.7) == 0


def test_a_perfect_answer_is_1_at_its_threshold():
    counts = edges.counts(STRENGTH, TRUTH, 2.7)
    assert edges.best_f(counts) == 1
    assert np.argmax(edges.f_scores(counts)) == edges.THRESHOLDS.index(0.5)


def test_a_shift_within_the_tolerance_costs_little_and_beyond_it_much():
    near, far = (
        edges.best_f(edges.counts(np.roll(STRENGTH, shift, axis=1), TRUTH, 2.7)) for shift in (1, 6)
    )
    assert near > 0.95 and far < 0.8 * near


def test_f_by_hand():
    counts = np.array([[2, 4, 3], [0, 5, 3], [0, 0, 3]])
    precision, recall = 2 / 4, 2 / 3
    expected = 2 * precision * recall / (precision + recall)
    np.testing.assert_allclose(edges.f_scores(counts), [expected, 0, 0])
    assert edges.best_f(counts) == pytest.approx(expected)


def test_one_threshold_for_all_is_never_better_than_one_each():
    pictures = [STRENGTH, STRENGTH * 0.6]
    counts = [edges.counts(strength, TRUTH, 2.7) for strength in pictures]
    assert edges.best_f(sum(counts)) < np.mean([edges.best_f(one) for one in counts]) - 0.05


def test_a_truth_without_edges_has_no_score():
    assert np.isnan(edges.best_f(edges.counts(STRENGTH, np.zeros_like(TRUTH), 2.7)))
    assert edges.best_f(edges.counts(np.zeros_like(STRENGTH), TRUTH, 2.7)) == 0
