"""Analogies from sources of pairs."""

import numpy as np
import pytest

from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
from lvm_jax.images import ImageConfig
from lvm_jax.pictures import derive
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences.kinds import KINDS

LOADER = SquareLoader(ImageConfig(), 16, 2**20)


@pytest.fixture
def task(folder):
    source = KINDS["colorization"](
        folder=str(folder), name="colors", pairs_per_sentence=3, crop=(0.4, 0.9), flip=True
    )
    return SentenceExamples(source=source, loader=LOADER)


def test_an_example_is_pairs_a_query_and_its_answer(task):
    example = task.example(0, 0)
    assert task.name == "colors"
    assert example.pairs.shape == (2, 2, 16, 16, 3)
    assert example.query.dtype == np.uint8
    for gray, color in [*example.pairs, (example.query, example.answer)]:
        np.testing.assert_array_equal(gray, derive.gray(color))


def test_examples_are_a_function_of_seed_and_index(task):
    first, again = task.example(1, 5), task.example(1, 5)
    np.testing.assert_array_equal(first.pairs, again.pairs)
    for other in (task.example(2, 5), task.example(1, 6)):
        assert (first.answer != other.answer).any()


def test_there_are_examples_beyond_the_sources_sentences(task):
    assert task.source.num_sentences() == 1
    answers = {task.example(0, index).answer.tobytes() for index in range(6)}
    assert len(answers) == 6


def test_what_is_no_analogy_is_refused(folder):
    single = SentenceExamples(source=KINDS["single"](folder=str(folder)), loader=LOADER)
    with pytest.raises(ValueError, match=r"single: a sentence of 1 images is no analogy"):
        single.example(0, 0)
