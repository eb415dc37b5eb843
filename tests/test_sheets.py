"""Pictures of pictures."""

import numpy as np
import pytest

from lvm_jax import sheets


def flat(height, width, value=0):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize("side", [1, 16, 48, 64, 143, 144, 256, 512])
def test_pictures_become_large_enough_and_not_larger(side):
    scale = sheets.readable_scale(side)
    assert scale * side >= sheets.READABLE_SIDE
    assert scale == 1 or (scale - 1) * side < sheets.READABLE_SIDE


def test_a_larger_picture_is_the_same_picture():
    small = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(sheets.enlarge(small, 1), small)
    large = sheets.enlarge(flat(4, 6, 77), 3)
    np.testing.assert_array_equal(large, flat(12, 18, 77))
    assert sheets.enlarge(small, 3).shape == (12, 18, 3)


def test_text_takes_its_room_or_ends_in_dots():
    text = "answer 1, image 2"
    whole = sheets.text_line(text)
    assert whole.shape[0] == 14 and whole.min() < 128
    np.testing.assert_array_equal(sheets.text_line(text, whole.shape[1]), whole)
    cut = sheets.text_line(text, 40)
    assert cut.shape == (14, 40, 3) and cut.min() < 128
    assert sheets.text_line(text, 3).shape == (14, 3, 3)
    # What comes after the cut makes no difference.
    np.testing.assert_array_equal(sheets.text_line(f"{text} and more", 40), cut)
    assert sheets.text_line("caf\u00e9 \u4e2d").shape == sheets.text_line("caf? ?").shape


def test_blocks_stand_where_they_should():
    row = sheets.beside([flat(2, 3, 1), flat(4, 2, 2)], gap=1)
    assert row.shape == (4, 6, 3)
    assert row[:, :, 0].tolist() == [
        *[[1, 1, 1, 255, 2, 2]] * 2,
        *[[255, 255, 255, 255, 2, 2]] * 2,
    ]
    stack = sheets.above([flat(1, 2, 1), flat(1, 3, 2)], gap=1)
    assert stack[:, :, 0].tolist() == [[1, 1, 255], [255, 255, 255], [2, 2, 2]]


def test_rows_break_where_there_is_no_more_room():
    blocks = [flat(2, 10, value) for value in range(5)]
    page = sheets.flow(blocks, gap=2, width=34)
    assert page.shape == (2 + 2 + 2, 34, 3)
    assert [page[0, x, 0] for x in (0, 12, 24)] == [0, 1, 2]
    assert [page[4, x, 0] for x in (0, 12, 24)] == [3, 4, 255]
    wide = sheets.flow([flat(2, 50, 1), flat(2, 50, 2)], gap=2, width=34)
    assert wide.shape == (6, 50, 3), "one that is wider than a row has its own"


def test_grid_places_every_picture():
    red, blue = (np.full((4, 6, 3), color, np.uint8) for color in ((255, 0, 0), (0, 0, 255)))
    canvas = sheets.grid([[red, None], [None, blue]], gap=1)
    assert canvas.shape == (11, 15, 3)
    assert (canvas[1:5, 1:7] == red).all() and (canvas[6:10, 8:14] == blue).all()
    assert (canvas[1:5, 8:14] == 255).all()
    with pytest.raises(ValueError, match="at least one"):
        sheets.grid([[]])
