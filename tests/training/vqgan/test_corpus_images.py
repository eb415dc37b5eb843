"""The tokenizer trains on the pixels that it will be given when shards are built."""

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from lvm_jax.training.vqgan.corpus_images import CorpusImages
from tests.toys import pixels_of

SIZE = 16


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        colors = PIL.Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8))
        colors.resize((400, 320), PIL.Image.Resampling.BICUBIC).save(tmp_path / f"{number}.jpg")
    source = {"kind": "colorization", "folder": str(tmp_path), "crop": (0.1, 1.0), "flip": True}
    each = {"same_crop": False, "sentences_per_epoch": 4}
    return corpora.build_corpus({"sources": [{**source, **each}]})


@pytest.mark.parametrize("config", [images.ImageConfig(), images.ImageConfig(reduced_jpeg=False)])
def test_training_sees_what_building_shows(corpus, config):
    source, loader = CorpusImages(corpus, SIZE, images=config), SquareLoader(config, SIZE, 2**20)
    refs = [ref for sentence in corpora.sentences(corpus) for ref in sentence.images]
    expected = [loader.load([ref])[0] for ref in refs]
    assert len(source) == len(refs)
    for index, pixels in enumerate(expected):
        np.testing.assert_array_equal(source.load(index), pixels)


def test_jpegs_are_decoded_no_larger_than_needed(corpus, monkeypatch):
    read, sides = images.read_image, []

    def noted(*args, **kwargs):
        picture = read(*args, **kwargs)
        sides.append(min(picture.shape[:2]))
        return picture

    monkeypatch.setattr(images, "read_image", noted)
    source = CorpusImages(corpus, SIZE)
    shown = [source.load(index) for index in range(len(source))]
    # Of 320; squares of a part of the picture need more of it, and never less than they show.
    assert min(sides) == 40 and max(sides) > 40
    refs = [ref for sentence in corpora.sentences(corpus) for ref in sentence.images]
    whole = [pixels_of(ref, SIZE, reduced_jpeg=False) for ref in refs]
    assert np.abs(np.subtract(shown, whole, dtype=np.float64)).mean() < 3


def test_a_picture_that_is_too_large_is_named(corpus):
    source = CorpusImages(corpus, SIZE, images=images.ImageConfig(max_pixels=400 * 320 - 1))
    with pytest.raises(images.ImageError, match=r"\d\.jpg has 400x320 pixels, more than") as error:
        source.load(0)
    assert "\n" not in str(error.value)


def test_parts_are_questions_and_answers_of_each_source(corpus):
    source = CorpusImages(corpus, SIZE)
    parts = source.parts()
    assert list(parts) == ["colorization/question", "colorization/answer"]
    assert sorted(index for part in parts.values() for index in part) == list(range(len(source)))
    # Gray pictures, and the same ones in color.
    spread = lambda part: [np.ptp(source.load(index).astype(int), axis=-1).max() for index in part]
    assert (
        max(spread(parts["colorization/question"])) < 3 < min(spread(parts["colorization/answer"]))
    )
