"""FID and KID against torch-fidelity's, against plain roots of matrices, and on what is known."""

import dataclasses
import pathlib

import numpy as np
import pytest
import scipy.linalg

from lvm_jax.measures import feature_distances
from tests.measures.goldens import make_inception

GOLDENS = pathlib.Path(__file__).parent / "goldens"


def moments_of(features):
    return feature_distances.moments([features])


def test_fid_and_kid_are_those_of_torch_fidelity():
    golden = np.load(GOLDENS / "inception.npz")
    one, other = make_inception.draw_features()
    # Roots of variances that are nearly none magnify the last bits, which differ from one linear
    # algebra library or processor to another: 1e-8 was seen.
    fid = feature_distances.fid(moments_of(one), moments_of(other))
    np.testing.assert_allclose(fid, golden["fid"], rtol=1e-6)
    # There all of it is float32.
    kid = feature_distances.squared_discrepancy(one[:30], other)
    np.testing.assert_allclose(kid, golden["kid"], rtol=1e-5)


@pytest.mark.parametrize(("num", "keep"), [(300, True), (11, True), (11, False)])
def test_fid_is_the_frechet_distance_also_where_directions_are_missing(num, keep):
    """11 pictures of 24 features leave 14 directions without variance."""
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((num, 24)), 2 * rng.standard_normal((num + 3, 24)) + 0.1
    a, b = moments_of(one), moments_of(other)
    assert (a.root is None) == (num >= 24)
    a = a if keep else dataclasses.replace(a, root=None)
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    plain = np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * root.real)
    # The plain root of a singular matrix keeps half of the digits.
    np.testing.assert_allclose(feature_distances.fid(a, b), plain, rtol=1e-6)


def test_fid_of_the_same_is_0_and_of_a_shift_its_square():
    features = np.random.default_rng(1).standard_normal((50, 16))
    same = moments_of(features)
    assert feature_distances.fid(same, same) < 1e-12
    assert feature_distances.fid(same, moments_of(features + 3)) == pytest.approx(9 * 16)


def test_moments_do_not_depend_on_batches_and_keep_their_digits():
    """Features far from zero: sums of squares alone would leave no digit of the covariance."""
    features = np.random.default_rng(2).standard_normal((37, 5)) + 1e7
    whole = moments_of(features)
    parts = feature_distances.moments(np.split(features, [1, 2, 20]))
    assert parts.num == whole.num == 37
    # Rounding of the features themselves, 1e7 * 2^-53, is what two orders of adding differ by.
    np.testing.assert_allclose(parts.covariance, whole.covariance, atol=1e-7)
    np.testing.assert_allclose(whole.covariance, np.cov(features, rowvar=False), atol=1e-7)
    np.testing.assert_allclose(parts.mean, features.mean(0), rtol=1e-14)
    with pytest.raises(ValueError, match="1 pictures have no covariance"):
        feature_distances.moments([features[:1]])


def test_the_standard_error_of_kid_is_how_much_it_varies():
    """Over many pairs of sets, the error that each claims is the spread that all show."""
    rng = np.random.default_rng(3)
    draw = lambda shift: rng.standard_normal((120, 4)).astype(np.float32) + np.float32(shift)
    kids = [
        feature_distances.kid(draw(0.0), draw(0.5), num_subsets=20, subset_size=30, seed=seed)
        for seed in range(80)
    ]
    spread = np.std([kid.mean for kid in kids])
    claimed = np.sqrt(np.mean([kid.standard_error**2 for kid in kids]))
    # 80 values know their spread within 8% (one sigma); small sets make the claim a bit larger.
    assert 0.75 < claimed / spread < 1.4
    # Subsets as if they shared no pictures would claim much less.
    assert kids[0].deviation / 20**0.5 < spread / 1.5


def test_kid_is_unbiased_and_its_draws_are_seeded():
    rng = np.random.default_rng(4)
    draw = lambda: rng.standard_normal((200, 4)).astype(np.float32)
    one, other = draw(), draw()
    kid = lambda seed: feature_distances.kid(one, other, subset_size=40, num_subsets=20, seed=seed)
    assert kid(1) == kid(1) != kid(2)
    means = [feature_distances.squared_discrepancy(draw(), draw()) for _ in range(100)]
    assert abs(np.mean(means)) < 3 * np.std(means) / 100**0.5
    with pytest.raises(ValueError, match=r"subsets of 101 pictures do not fit 200"):
        feature_distances.kid(one, other, subset_size=101)
