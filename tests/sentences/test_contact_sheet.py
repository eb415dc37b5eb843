"""The contact sheet shows what the tokenizer will see."""

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.sentences import contact_sheet as module
from lvm_jax.sentences.contact_sheet import contact_sheet
from tests.toys import pixels_of

SIZE = 40


def cell(sheet, row, position):
    left = module._LABEL_WIDTH + 2 + position * (SIZE + 2)
    return sheet[row * (SIZE + 4) + 2 :][:SIZE, left : left + SIZE]


def test_the_sheet_shows_the_sentences(small_corpus):
    sheet = contact_sheet(small_corpus, SIZE, per_source=2)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    for position, ref in enumerate(small_corpus.sources[1].sentence(0, 0, 0).images):
        np.testing.assert_array_equal(cell(sheet, 2, position), pixels_of(ref, SIZE))
    for row in range(6):
        label = sheet[row * (SIZE + 4) : (row + 1) * (SIZE + 4), : module._LABEL_WIDTH]
        assert label.min() < 128, "something is written there"
    assert len(sheet) == 6 * (SIZE + 4)


def test_the_sheet_reads_pictures_as_the_config_says(small_corpus):
    sheet = contact_sheet(small_corpus, SIZE, 1, images.ImageConfig(resize="squash"))
    (ref,) = small_corpus.sources[2].sentence(0, 0, 0).images
    expected = images.squash(images.read_image(ref.path), SIZE)
    np.testing.assert_array_equal(cell(sheet, 2, 0), expected)
    with pytest.raises(images.ImageError, match="24x16 pixels, more than 100"):
        contact_sheet(small_corpus, SIZE, 1, images.ImageConfig(max_pixels=100))


def test_bad_sizes_are_refused(small_corpus):
    with pytest.raises(ValueError, match="per_source=0"):
        contact_sheet(small_corpus, 8, per_source=0)
