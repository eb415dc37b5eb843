"""Errors of depths, and depths drawn as colors."""

import numpy as np
import pytest

from lvm_jax.configs import ConfigError
from lvm_jax.evaluation.metrics import depth
from lvm_jax.evaluation.metrics.depth_code import DepthCode
from tests.evaluation.metrics import real_pictures
from tests.evaluation.metrics.goldens import golden

EVERYWHERE = np.ones((real_pictures.SIDE, real_pictures.SIDE), bool)
METRES = np.linspace(1, 9, 200).reshape(10, 20)


def test_it_is_that_of_scikit_learn():
    expected = golden("depth")
    measured = depth.errors(*real_pictures.depths(), EVERYWHERE)
    assert {name: pytest.approx(value) for name, value in expected.items()} == measured


def test_by_hand():
    measured = depth.errors(np.array([1.0, 3.0]), np.array([2.0, 3.0]), np.array([True, True]))
    assert measured["abs_rel"] == pytest.approx(0.25)
    assert measured["rmse"] == pytest.approx(np.sqrt(0.5))
    assert measured["log10"] == pytest.approx(np.log10(2) / 2)
    # A ratio of 2 lies beyond 1.25^3.
    assert [measured[f"delta{n}"] for n in (1, 2, 3)] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("alignment", ["none", "median", "scale", "scale_shift"])
def test_a_perfect_answer_has_no_error(alignment):
    measured = depth.errors(METRES, METRES, METRES > 0, alignment)
    assert [measured[f"delta{n}"] for n in (1, 2, 3)] == [1, 1, 1]
    assert max(measured[n] for n in ("abs_rel", "rmse", "log10")) < 1e-12


def test_alignment_undoes_scale_and_shift():
    for alignment in ("median", "scale", "scale_shift"):
        scaled = depth.errors(METRES * 7, METRES, METRES > 0, alignment)
        assert scaled["rmse"] < 1e-9
    assert depth.errors(METRES * 7 + 2, METRES, METRES > 0, "scale_shift")["rmse"] < 1e-9
    assert depth.errors(METRES * 7 + 2, METRES, METRES > 0, "scale")["rmse"] > 0.1
    # An aligned answer is never worse than the best constant.
    turned = depth.errors(METRES[::-1], METRES, METRES > 0, "scale_shift")
    assert turned["rmse"] <= METRES.std() + 1e-9 and np.isfinite(turned["log10"])


def test_relative_errors_have_no_unit():
    answer, truth = real_pictures.depths()
    metres = depth.errors(answer, truth, EVERYWHERE)
    # By a power of two, so that ratios at a limit stay on their side of it.
    others = depth.errors(answer * 1024, truth * 1024, EVERYWHERE)
    assert others["rmse"] == pytest.approx(1024 * metres["rmse"])
    for name in ("abs_rel", "log10", "delta1", "delta2", "delta3"):
        assert others[name] == pytest.approx(metres[name])


def test_only_pixels_that_count_do():
    answer, truth = real_pictures.depths()
    counted = truth < 3
    answer[~counted], truth[~counted] = 0, np.nan
    inside = depth.errors(answer, truth, counted)
    assert inside == depth.errors(answer[counted], truth[counted], np.ones(counted.sum(), bool))
    assert all(map(np.isnan, depth.errors(answer, truth, np.zeros_like(counted)).values()))
    with pytest.raises(ValueError, match="must be positive"):
        depth.errors(answer, truth, EVERYWHERE)


CODES = [
    DepthCode(),
    DepthCode(near_at=0.0, far_at=1.0),
    DepthCode(colormap="viridis", scale="inverse"),
    DepthCode(colormap="inferno", scale="log", near_at=1.0, far_at=0.1),
    DepthCode(near_at=1.0, far_at=40 / 255, nothing="black"),
]


@pytest.mark.parametrize("code", CODES)
def test_decode_undoes_encode(code):
    decoded, is_there = code.decode(code.encode(METRES))
    assert is_there.all()
    # A little more than half a step between two colors, of which there are 216 and more, where
    # steps are widest: at 9 metres.
    steps = {"depth": 9, "log": 9 * np.log(10), "inverse": 9**2 * 0.9}
    np.testing.assert_allclose(decoded, METRES, atol=0.6 * steps[code.scale] / 215)


def test_nothing_is_what_is_nearer_to_its_color():
    code = CODES[-1]
    depths = np.array([[0.0, 1.0, 10.0]])
    np.testing.assert_array_equal(code.decode(code.encode(depths))[1], [[False, True, True]])
    grays = np.array([19, 21, 40, 255], np.uint8)[None, :, None].repeat(3, axis=2)
    decoded, is_there = code.decode(grays)
    np.testing.assert_array_equal(is_there, [[False, True, True, True]])
    np.testing.assert_allclose(decoded[0], [10, 10, 10, 1])


def test_noise_moves_a_depth_by_as_much():
    code = DepthCode()
    noise = np.random.default_rng(0).integers(-5, 6, (*METRES.shape, 1))
    noisy = np.clip(code.encode(METRES).astype(int) + noise, 0, 255).astype(np.uint8)
    assert np.abs(code.decode(noisy)[0] - METRES).max() <= 6 * 9 / 255


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"colormap": "grey_"}, "colormap='grey_' is no colormap"),
        ({"near": 0.0}, "near=0.0 must be positive and less than far=10.0"),
        ({"near_at": 0.0}, r"near_at=0.0 and far_at=0.0 must differ"),
    ],
)
def test_bad_codes_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        DepthCode(**fields)
