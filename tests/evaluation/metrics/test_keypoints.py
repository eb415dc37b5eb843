"""Keypoints from blobs of color, and the share in the right place."""

import numpy as np
import pytest

from lvm_jax.evaluation.metrics import keypoints
from lvm_jax.pictures import degrade, drawings, raster

COLORS = np.array([drawings.rainbow(number, 5) for number in range(5)], np.uint8)
OTHERS = np.array([[0, 0, 0]], np.uint8)
POINTS = np.array([[10.5, 12.5], [50.5, 20.5], [30.5, 30.5], [12.5, 50.5], [52.5, 51.5]])


def drawn(points, side=64, radius=3):
    picture = np.zeros((side, side, 3), np.uint8)
    for point, color in zip(points, COLORS):
        if not np.isnan(point).any():
            center = tuple(int(value * raster.UNIT) for value in point)
            picture[raster.fill_disk(center, radius * raster.UNIT, side, side)] = color
    return picture


def test_blobs_are_found_where_they_were_drawn():
    np.testing.assert_allclose(keypoints.locate(drawn(POINTS), COLORS, OTHERS), POINTS)


def test_blur_and_noise_move_them_little():
    spoilt = degrade.noise(degrade.blur(drawn(POINTS), sigma=1.2), seed=0, deviation=12)
    away = np.linalg.norm(keypoints.locate(spoilt, COLORS, OTHERS) - POINTS, axis=1)
    assert away.max() < 1


def test_what_is_not_there_is_not_found():
    points = POINTS.copy()
    points[1] = np.nan
    np.testing.assert_allclose(keypoints.locate(drawn(points), COLORS, OTHERS), points)
    assert np.isnan(keypoints.locate(drawn(points) * 0, COLORS, OTHERS)).all()


def test_other_colors_and_small_blobs_are_passed_over():
    picture = drawn(POINTS)
    picture[40:60, 20:44] = COLORS[0] * 0.6  # a limb, darker
    picture[2, 60] = COLORS[3]
    others = np.concatenate([OTHERS, (COLORS * 0.6).astype(np.uint8)])
    np.testing.assert_allclose(keypoints.locate(picture, COLORS, others), POINTS)
    # A color of nothing that was drawn.
    picture[:4, :40] = (128, 128, 128)
    np.testing.assert_allclose(keypoints.locate(picture, COLORS, others), POINTS)


def test_pck_counts_what_is_within_reach():
    moved = POINTS + np.array([[0, 0], [3, 0], [0, 4], [3, 4], [6, 0]])
    moved[0] = np.nan  # not found, so wrong
    for tolerance, share in ((2.9, 0.0), (3.0, 0.2), (4.0, 0.4), (5.0, 0.6), (6.0, 0.8)):
        assert keypoints.pck(moved, POINTS, tolerance) == pytest.approx(share)
    truth = POINTS.copy()
    truth[[0, 4]] = np.nan  # not there, so not counted
    assert keypoints.pck(moved, truth, 4) == pytest.approx(2 / 3)
    assert keypoints.pck(POINTS, POINTS, 0) == 1
    assert np.isnan(keypoints.pck(POINTS, POINTS * np.nan, 4))


def test_the_extent_is_the_longer_side():
    assert keypoints.extent(POINTS) == 42
    assert keypoints.extent(2 * POINTS + 7) == 84
    assert np.isnan(keypoints.extent(POINTS * np.nan))
