"""Errors and laws against cases whose answer is known."""

import numpy as np
import pytest

from studies import statistics

X = np.geomspace(2e5, 6e6, 8)


@pytest.mark.parametrize("exponent", [0.02, 0.05, 0.3])
def test_a_law_is_found_again(exponent):
    law = statistics.fit(X, 7.0 * X**-exponent)
    assert (law.factor, law.exponent) == pytest.approx((7.0, exponent), rel=1e-9)
    assert np.abs(law.residuals).max() < 1e-9
    np.testing.assert_allclose(law(X), 7.0 * X**-exponent)


@pytest.mark.parametrize(("exponent", "constant"), [(0.3, 1.5), (0.1, 0.0), (0.8, 2.5)])
def test_a_constant_that_is_left_is_found_again(exponent, constant):
    law = statistics.fit_with_constant(X, constant + 40.0 * X**-exponent)
    # As far as the grid of exponents is fine, half a percent.
    assert law.exponent == pytest.approx(exponent, rel=0.01)
    assert law.constant == pytest.approx(constant, abs=0.05)
    assert np.abs(law.residuals).max() < 0.005


def test_no_constant_below_nothing_is_left():
    law = statistics.fit_with_constant(X, 10.0 - np.log(X) / 2)  # bends the other way
    assert law.constant == 0


def test_the_interval_holds_the_exponent_as_often_as_it_says():
    rng = np.random.default_rng(0)
    x = np.repeat(np.geomspace(3e5, 5e6, 4), 3)
    groups = x.tolist()
    hits = 0
    for _ in range(60):
        y = 7.0 * x**-0.05 + 0.02 * rng.standard_normal(len(x))
        samples = statistics.resampled_seeds(y, groups, rng, number=200)
        low, high = statistics.with_interval(statistics.fit, x, y, samples).interval
        hits += low < 0.05 < high
    # 95% of 60 are 57; with 8 deviations to draw from, intervals are a little narrow.
    assert 50 <= hits <= 60


def test_a_group_of_one_run_has_the_deviations_of_the_others():
    y, rng = np.array([3.0, 3.2, 2.0]), np.random.default_rng(0)
    samples = statistics.resampled_seeds(y, ["a", "a", "b"], rng)
    assert samples[:, 2].std() == pytest.approx(samples[:, 0].std(), rel=0.1)
    assert samples.mean(axis=0) == pytest.approx([3.1, 3.1, 2.0], abs=0.01)
    alone = statistics.resampled_seeds(y[:1], ["a"], rng)
    assert (alone == 3.0).all()


def test_the_error_of_single_values_is_the_usual_one_and_copies_add_nothing():
    values = np.random.default_rng(1).standard_normal(50)
    usual = values.std(ddof=1) / np.sqrt(50)
    assert statistics.clustered_error(values, range(50)) == pytest.approx(usual)
    copies = np.repeat(values, 4)
    assert statistics.clustered_error(copies, np.repeat(range(50), 4)) == pytest.approx(usual)
    assert statistics.clustered_error(values, ["one"] * 50) == float("inf")


def test_things_are_drawn_whole():
    weights = statistics.resampled_clusters(["a", "b", "a", "c"], np.random.default_rng(0), 500)
    assert weights.sum(axis=1) == pytest.approx(1)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    assert weights.mean(axis=0) == pytest.approx(np.full(4, 0.25), abs=0.05)
