"""White on black: visual prompting's scores."""

import numpy as np
import pytest

from lvm_jax.evaluation.metrics import foreground
from tests.evaluation.metrics import real_pictures
from tests.evaluation.metrics.goldens import golden


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_it_is_that_of_visual_prompting(task):
    """Its own `round_image`, `to_rectangle` and `_calc_metric` on the same pictures."""
    for name, expected in golden("visual_prompting")[task].items():
        truth = np.where(real_pictures.mask("astronaut"), np.uint8(255), np.uint8(0))
        answer, target = foreground.snap(real_pictures.photograph(name)), truth > 0
        if task == "detection":
            answer = foreground.largest_box(answer)
        assert foreground.iou(answer, target) == pytest.approx(expected["iou"])
        assert foreground.accuracy(answer, target) == pytest.approx(expected["accuracy"])


def test_white_is_nearer_from_the_middle_on():
    values = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, axis=2)
    np.testing.assert_array_equal(foreground.snap(values)[:, 0], np.arange(256) >= 128)
    # 382.5 lies in the middle: nothing is equally far from both.
    assert foreground.snap(np.array([[[255, 128, 0]]], np.uint8))
    assert not foreground.snap(np.array([[[255, 127, 0]]], np.uint8))


def test_a_perfect_answer_is_1_and_the_score_is_symmetric():
    one, other = real_pictures.mask("astronaut"), real_pictures.mask("coffee")
    assert foreground.iou(one, one) == foreground.accuracy(one, one) == 1
    assert foreground.iou(one, other) == foreground.iou(other, one)
    assert foreground.iou(one, ~one) == 0


def test_empty_masks():
    empty, full = np.zeros((5, 5), bool), np.ones((5, 5), bool)
    assert np.isnan(foreground.iou(empty, empty)) and foreground.accuracy(empty, empty) == 1
    assert foreground.iou(empty, full) == 0
    assert not foreground.largest_box(empty).any() and foreground.largest_box(full).all()


def test_the_largest_component_becomes_its_box():
    mask = np.zeros((8, 8), bool)
    mask[[1, 2, 3], [1, 2, 3]] = True  # touches by corners
    mask[6, 5:7] = True
    expected = np.zeros((8, 8), bool)
    expected[1:4, 1:4] = True
    np.testing.assert_array_equal(foreground.largest_box(mask), expected)
    np.testing.assert_array_equal(foreground.largest_box(expected), expected)
