"""Intersection over union of label maps."""

import numpy as np
import pytest

from lvm_jax.evaluation.metrics import segmentation
from tests.evaluation.metrics import real_pictures
from tests.evaluation.metrics.goldens import golden

NUM = real_pictures.NUM_LABELS


def test_it_is_that_of_scikit_learn_and_torchmetrics():
    answer, truth = real_pictures.labels()
    confusion = segmentation.confusion(answer, truth, NUM)
    expected = golden("segmentation")
    np.testing.assert_array_equal(confusion, expected["confusion"])
    np.testing.assert_allclose(segmentation.iou(confusion), expected["jaccard"])
    assert segmentation.mean_iou(confusion) == pytest.approx(expected["mean_jaccard"])
    # torchmetrics computes in float32.
    assert segmentation.mean_iou(confusion, background=False) == pytest.approx(
        expected["torchmetrics_without_background"], abs=1e-6
    )
    assert segmentation.pixel_accuracy(confusion) == pytest.approx(expected["accuracy"])


def test_a_perfect_answer_is_1_and_classes_in_neither_do_not_count():
    _, truth = real_pictures.labels()
    confusion = segmentation.confusion(truth, truth, 50)
    assert segmentation.mean_iou(confusion) == segmentation.pixel_accuracy(confusion) == 1
    assert np.isnan(segmentation.iou(confusion)[10])


def test_it_is_symmetric_and_does_not_depend_on_names():
    answer, truth = real_pictures.labels()
    one = segmentation.confusion(answer, truth, NUM)
    other = segmentation.confusion(truth, answer, NUM)
    assert segmentation.mean_iou(one) == pytest.approx(segmentation.mean_iou(other))
    renamed = np.random.default_rng(0).permutation(NUM)
    assert segmentation.mean_iou(
        segmentation.confusion(renamed[answer], renamed[truth], NUM)
    ) == pytest.approx(segmentation.mean_iou(one))


def test_pooled_matrices_are_those_of_one_large_picture():
    answer, truth = real_pictures.labels()
    halves = [segmentation.confusion(answer[:, h], truth[:, h], NUM) for h in np.s_[:40, 40:]]
    np.testing.assert_array_equal(sum(halves), segmentation.confusion(answer, truth, NUM))


def test_ignored_pixels_count_for_nothing():
    answer, truth = real_pictures.labels()
    truth[:20] = 255
    kept = segmentation.confusion(answer, truth, NUM, ignored=255)
    np.testing.assert_array_equal(kept, segmentation.confusion(answer[20:], truth[20:], NUM))
    nothing = segmentation.confusion(answer[:20], truth[:20], NUM, ignored=255)
    assert np.isnan(segmentation.mean_iou(nothing))
    assert np.isnan(segmentation.pixel_accuracy(nothing))


def test_background_alone_has_no_iou_without_background():
    empty = np.zeros((4, 4), int)
    assert np.isnan(
        segmentation.mean_iou(segmentation.confusion(empty, empty, NUM), background=False)
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"labels 0\.\.6 do not lie in 0\.\.5"):
        segmentation.confusion(np.array([0, 6]), np.array([0, 1]), NUM)
    with pytest.raises(ValueError, match="differ in shape"):
        segmentation.confusion(np.zeros((2, 2)), np.zeros((2, 3)), NUM)
