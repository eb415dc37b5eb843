"""Squared errors of colors in three units."""

import numpy as np
import pytest

from lvm_jax.evaluation.metrics import color
from lvm_jax.measures import fidelity
from tests.evaluation.metrics import real_pictures
from tests.evaluation.metrics.goldens import golden


def test_they_are_those_of_their_authors():
    """scikit-image's squared error, LVM's formula and visual prompting's own function."""
    answer, truth = (real_pictures.photograph(name) for name in ("coffee", "astronaut"))
    expected = golden("color")
    assert fidelity.mse(answer, truth) == pytest.approx(expected["mse"])
    assert color.lvm_mse(answer, truth) == pytest.approx(expected["lvm_mse"])
    assert color.imagenet_mse(answer, truth) == pytest.approx(expected["imagenet_mse"])


def test_the_best_is_0_and_black_and_white_are_worst():
    picture = real_pictures.photograph()
    black, white = np.zeros_like(picture), np.full_like(picture, 255)
    for measure, worst in (
        (color.lvm_mse, 3.0),
        (color.imagenet_mse, np.mean(1 / color.IMAGENET_STD_C**2)),
    ):
        assert measure(picture, picture) == 0
        assert measure(black, white) == measure(white, black) == pytest.approx(worst)
