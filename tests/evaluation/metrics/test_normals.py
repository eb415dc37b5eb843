"""Angles between surface normals drawn as colors."""

import numpy as np
import pytest

from lvm_jax.evaluation.metrics import normals
from tests.evaluation.metrics import real_pictures
from tests.evaluation.metrics.goldens import golden

# A picture of these: uint8 [1, 5, 3]. The last shows nothing.
AXES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, -1, 0]])
DRAWN = np.concatenate([np.rint(127.5 * (AXES + 1)), np.zeros((1, 3))])[None].astype(np.uint8)


def test_angles_are_those_of_torchmetrics_cosine():
    answer, truth = (real_pictures.photograph(name) for name in ("coffee", "astronaut"))
    measured = normals.summary(normals.angles(answer, truth))
    # torchmetrics computes in float32, and its arc cosine of nearly 1 is off by 1e-3 degrees.
    for name, value in golden("normals").items():
        assert measured[name] == pytest.approx(value, abs=1e-3), name


def test_a_perfect_answer_is_0_degrees_off():
    picture = real_pictures.photograph()
    assert normals.summary(normals.angles(picture, picture)) == {
        "mean_angle": 0,
        "median_angle": 0,
        "within_11.25": 1,
        "within_22.5": 1,
        "within_30": 1,
    }


def test_by_hand():
    np.testing.assert_array_equal(normals.is_seen(DRAWN), [[True] * 4 + [False]])
    # Bytes have no middle: an axis is drawn half a level beside itself.
    np.testing.assert_allclose(normals.decode(DRAWN)[0, :4], AXES, atol=0.006)
    turned = DRAWN[:, [1, 1, 0, 1, 0]]
    np.testing.assert_allclose(normals.angles(turned, DRAWN), [90, 0, 90, 180], atol=0.7)


def test_angles_are_symmetric_and_do_not_change_when_both_pictures_turn():
    answer, truth = (real_pictures.photograph(name) for name in ("coffee", "astronaut"))
    seen = normals.is_seen(answer) & normals.is_seen(truth)
    answer, truth = answer[seen][None], truth[seen][None]
    one = normals.angles(answer, truth)
    np.testing.assert_array_equal(one, normals.angles(truth, answer))
    # Axes in another order, and one of them mirrored.
    turned = [255 - image[..., [2, 0, 1]] for image in (answer, truth)]
    bright = normals.is_seen(turned[1])[0]
    np.testing.assert_allclose(normals.angles(*turned), one[bright], atol=1e-5)


def test_where_the_truth_shows_nothing_nothing_counts():
    nothing = normals.summary(normals.angles(DRAWN, np.zeros_like(DRAWN)))
    assert all(map(np.isnan, nothing.values()))


def test_tallies_add_up_to_what_all_angles_give():
    rng = np.random.default_rng(0)
    pictures = [rng.gamma(2.0, 20.0, size).clip(0, 180) for size in (1, 300, 1001)]
    total = sum(map(normals.tally, pictures))
    pooled, exact = normals.summary_of_tally(total), normals.summary(np.concatenate(pictures))
    assert pooled == pytest.approx(exact, abs=0.01) and list(pooled) == list(exact)
    assert 0 <= exact["median_angle"] - pooled["median_angle"] < 0.01
    assert all(map(np.isnan, normals.summary_of_tally(normals.tally(np.zeros(0))).values()))
