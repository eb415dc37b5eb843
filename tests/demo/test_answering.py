"""Answers as they are made: in order, likely first, stopped when nobody wants them."""

import dataclasses

import numpy as np
import pytest

from lvm_jax.demo import showing
from lvm_jax.demo.answering import Answerer, Question
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.generation import answers
from lvm_jax.generation.jobs.prompt_files import Asked
from lvm_jax.generation.prompt_images import encode_prompts
from lvm_jax.images import ImageConfig


@pytest.fixture(scope="module")
def squares():
    return np.random.default_rng(2).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)


def test_an_analogy_comes_a_few_candidates_at_a_time(model, tokenizer, squares):
    answerer = Answerer(model, tokenizer, ImageConfig(), at_once=2)  # that has not answered yet
    asked = Asked(num_candidates=3, seed=5)
    question = Question(images=squares[:3], config=asked.config("analogy"), targets=squares[3:4])
    first, last = list(answerer.answer(question))

    assert [first.num_images, last.num_images, last.num_wanted] == [2, 3, 3]
    assert last.is_done and not first.is_done
    # How long the next ones take, the first ones do not say: their program was compiled.
    assert first.seconds_left is None and last.seconds_left == 0
    assert next(iter(answerer.answer(question))).seconds_left > 0
    # The same answers as in one go.
    whole = answers.generate(
        model, tokenizer, squares[:3], num_candidates=3, seed=5, images_per_example=2
    )
    by_number = sorted(last.candidates, key=lambda candidate: candidate.number)
    drawn = np.stack([candidate.images for candidate in by_number])
    np.testing.assert_array_equal(drawn, np.rint(whole * 255).astype(np.uint8))
    # The likeliest first.
    worth = [candidate.perplexity for candidate in last.candidates]
    assert worth == sorted(worth)
    assert all(len(candidate.psnr) == 1 for candidate in last.candidates)


def test_perplexities_are_those_of_evaluation(answerer, model, tokenizer, squares):
    asked = Asked(num_candidates=1)
    question = Question(images=squares[:3], config=asked.config("analogy"), targets=squares[3:4])
    (last,) = answerer.answer(question)

    (ids_nT,) = encode_prompts(model, tokenizer, [squares[:4]])
    ids_L = np.concatenate([[model.vocabulary.bos], ids_nT.ravel()])
    T = tokenizer.tokens_per_image
    nll = perplexity.target_nll(model, ids_L[None, :-T], ids_L[None, -T:])
    assert last.truth_perplexity == pytest.approx(np.exp(nll.mean()), rel=1e-5)


def test_a_sequence_goes_on_beyond_the_context(answerer, model, tokenizer, squares):
    config = Asked(num_new_images=3, num_candidates=2, seed=1).config()
    parts = list(answerer.answer(Question(images=squares[:2], config=config)))

    assert [part.num_images for part in parts] == [2, 4, 6]
    assert all(candidate.perplexity is None for candidate in parts[0].candidates)
    whole = answers.generate(
        model, tokenizer, squares[:2], num_new_images=3, num_candidates=2, seed=1
    )
    by_number = sorted(parts[-1].candidates, key=lambda candidate: candidate.number)
    drawn = np.stack([candidate.images for candidate in by_number])
    np.testing.assert_array_equal(drawn, np.rint(whole * 255).astype(np.uint8))
    assert answerer.seconds_needed(2, config) > 0
    assert answerer.seconds_needed(3, config) is None


def test_a_closed_answer_computes_nothing_more(answerer, squares, monkeypatch):
    drawn = []
    stream = answers.id_stream

    def counted(*args, **options):
        for part in stream(*args, **options):
            drawn.append(part.index)
            yield part

    monkeypatch.setattr(answers, "id_stream", counted)
    config = Asked(num_new_images=3, num_candidates=2, seed=1).config()
    begun = answerer.answer(Question(images=squares[:2], config=config))
    next(begun)
    begun.close()
    assert drawn == [0]
    # And the device is free for the next one.
    next(answerer.answer(Question(images=squares[:2], config=config)))


def test_what_the_tokenizer_makes_of_pictures(answerer, tokenizer, squares):
    seen, psnr = answerer.squares_as_seen(squares[:2])
    again = tokenizer.decode(tokenizer.encode(squares[:2]))
    np.testing.assert_array_equal(seen, np.rint(np.asarray(again) * 255).astype(np.uint8))
    assert len(psnr) == 2


def test_what_is_shown_of_answers(answerer, squares):
    config = Asked(num_candidates=3).config("analogy")
    question = Question(images=squares[:3], config=config, targets=squares[3:4])
    first, last = answerer.answer(question)

    known = dataclasses.replace(first, seconds_left=200.0)
    assert showing.progress(known) == "2 of 3 images, at most 3 min left."
    unknown = dataclasses.replace(first, seconds_left=None)
    assert showing.progress(unknown).startswith("2 of 3 images; ")
    assert showing.progress(first, stopped=True) == "Cancelled: 2 of 3 images are here."
    assert "likeliest first. The truth has a perplexity of" in showing.progress(last)
    assert showing.caption(1, last.candidates[0]).startswith("1. perplexity ")
    unknown = dataclasses.replace(last.candidates[0], perplexity=None, psnr=())
    assert showing.caption(2, unknown) == "being made"
    strip = showing.strip(question.images, last, question.targets)
    assert strip.dtype == np.uint8 and strip.ndim == 3
    values = showing.as_json(last)
    assert values["done"] and len(values["candidates"]) == 3
    assert values["candidates"][0]["images"][0].startswith("data:image/png;base64,")
