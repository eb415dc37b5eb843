"""Tokenizers side by side: a picture of rows, and numbers with what they were measured on."""

import numpy as np
import pytest

from lvm_jax import sheets
from lvm_jax.evaluation import comparison
from lvm_jax.tokenizer.measuring import Measurement


def measurement(brightness):
    return Measurement(
        numbers={"psnr": np.array([10.0, 20.0, 30.0])},
        code_counts=np.array([2, 2, 0, 0]),
        originals=np.zeros((3, 8, 8, 3), np.uint8),
        decoded=np.full((3, 8, 8, 3), brightness, np.uint8),
    )


def test_a_picture_has_a_labelled_row_for_each():
    drawn = comparison.picture({"a": measurement(9)}, num_shown=3, scale=2)
    row = sheets.grid([[np.zeros((16, 16, 3), np.uint8)] * 3])
    height = drawn.shape[0] // 2
    assert drawn.shape == (2 * height, *row.shape[1:]) and height > row.shape[0]
    # Labels are written above the rows, not on them.
    np.testing.assert_array_equal(drawn[height - row.shape[0] : height], row)
    assert drawn[: height - row.shape[0]].min() < 128
    fewer = comparison.picture({"a": measurement(9)}, num_shown=2, scale=2)
    assert fewer.shape[1] < drawn.shape[1]


def test_a_report_has_the_numbers_of_each():
    report = comparison.report({"a": measurement(0)}, facts={"a": {"seconds": 3.0}}, num_images=3)
    numbers = {"psnr": 20.0, "codebook_usage": 0.5, "codebook_perplexity": pytest.approx(2.0)}
    assert report == {"num_images": 3, "tokenizers": {"a": {**numbers, "seconds": 3.0}}}
    assert comparison.label("a", measurement(0)).startswith("a: psnr 20.000, codebook_usage 0.500")
