"""The picture of a prompt and its answers shows all of them, in order, under their names."""

import numpy as np
import pytest

from lvm_jax import sheets
from lvm_jax.generation import sheet


def places(page, images):
    """Top left corners of images in a page, in the order given."""
    corners = []
    windows = np.lib.stride_tricks.sliding_window_view(page, (16, 16, 3))[..., 0, :, :, :]
    for image in images:
        (place,) = np.argwhere((windows == image[:16, :16]).all((-3, -2, -1)))
        top, left = place.tolist()
        shown = page[top : top + len(image), left : left + image.shape[1]]
        np.testing.assert_array_equal(shown, image)
        corners.append((top, left))
    return corners


@pytest.fixture(scope="module")
def pictures():
    """uint8 [6, 96, 96, 3], wider than their names."""
    return np.random.default_rng(2).integers(0, 256, (6, 96, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def answers(pictures):
    return 255 - pictures.reshape(3, 2, 96, 96, 3)


def test_an_analogy_is_pairs_a_query_and_answers_below(pictures, answers):
    page = sheet.draw(pictures[:5], answers[:, :1], is_analogy=True, scale=1)
    prompt = places(page, pictures[:5])
    assert prompt == sorted(prompt) and len({top for top, _ in prompt}) == 1
    lefts = np.diff([left for _, left in prompt]) - 96
    assert lefts.tolist() == [sheets.GAP, sheets.GROUP_GAP, sheets.GAP, sheets.GROUP_GAP]
    below = places(page, answers[:, 0])
    assert below == sorted(below) and min(top for top, _ in below) > prompt[0][0] + 96
    for top, left in [prompt[0], prompt[4], *below]:
        assert page[top - 16 : top, left : left + 96].min() < 200, "something is written above"


def test_a_sequence_has_a_row_for_each_answer(pictures, answers):
    page = sheet.draw(pictures[:2], answers, is_analogy=False, scale=1)
    tops = [top for top, _ in places(page, [*pictures[:2], *answers.reshape(-1, 96, 96, 3)])]
    assert tops == sorted(tops) and len(set(tops)) == 1 + 3


def test_small_images_are_drawn_large(pictures, answers):
    page = sheet.draw(pictures[:1, :16, :16], answers[:1, :1, :16, :16], is_analogy=False)
    assert page.shape[1] > sheets.READABLE_SIDE and page.shape[0] > 2 * sheets.READABLE_SIDE
    # At their own size they are narrower than what is written above them, which stays whole.
    small = sheet.draw(pictures[:1, :16, :16], answers[:1, :1, :16, :16], is_analogy=True, scale=1)
    assert small.shape[1] > sheets.text_line("answer 1", size=12).shape[1] > 16
