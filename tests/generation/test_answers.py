"""lvm_jax.generate: shapes, candidates, sliding over the context, and what is refused."""

import dataclasses

import numpy as np
import pytest

import lvm_jax
from lvm_jax import images as images_lib
from lvm_jax.generation import answers, decode_loop, prompts
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.sampling import SamplingConfig


def test_generate_is_the_promised_function(model, tokenizer, pictures):
    answer = lvm_jax.generate(
        model, tokenizer, pictures[:2], num_new_images=2, num_candidates=3, batch_size=4
    )
    assert answer.shape == (3, 2, 16, 16, 3)
    assert answer.dtype == np.float32
    assert answer.min() >= 0
    assert answer.max() <= 1
    assert len({candidate.tobytes() for candidate in answer}) == 3
    assert lvm_jax.generate is answers.generate


def test_floats_and_bytes_are_the_same_prompt(model, tokenizer, pictures):
    as_float = pictures[:1].astype(np.float32) / 255
    np.testing.assert_array_equal(
        lvm_jax.generate(model, tokenizer, pictures[:1], batch_size=4),
        lvm_jax.generate(model, tokenizer, list(as_float), batch_size=4),
    )


def test_files_arrays_and_numbers_may_be_mixed(model, tokenizer, pictures, tmp_path):
    images_lib.write_image(tmp_path / "a.png", pictures[0])
    inexact = pictures[2].astype(np.float32) / 256
    mixed = [tmp_path / "a.png", pictures[1].astype(np.float64) / 255, inexact]
    answer = lvm_jax.generate(model, tokenizer, mixed, batch_size=4, temperature=0)
    ids = [tokenizer.encode(np.stack(part)) for part in (pictures[:2], inexact[None])]
    greedy = AnswerConfig(sampling=SamplingConfig(temperature=0.0), batch_size=4)
    (expected,) = answers.answer_ids(model, [np.concatenate(ids)], greedy)
    np.testing.assert_array_equal(answer[0], tokenizer.decode(expected[0]))
    assert answers.answer_prompts(model, tokenizer, [], greedy) == []


def test_a_candidate_does_not_depend_on_how_many_are_asked(model, tokenizer, pictures):
    one = lvm_jax.generate(model, tokenizer, pictures[:1], num_candidates=1, seed=4, batch_size=4)
    three = lvm_jax.generate(model, tokenizer, pictures[:1], num_candidates=3, seed=4, batch_size=4)
    np.testing.assert_array_equal(one[0], three[0])


def test_many_prompts_of_different_lengths_are_answered_as_if_alone(model, tokenizer, pictures):
    asked = [pictures[:3], pictures[3:4], pictures[1:4], pictures[:1]]
    seen = []
    config = AnswerConfig(num_candidates=2, seed=5, batch_size=4)
    together = answers.answer_prompts(model, tokenizer, asked, config, progress=seen.append)
    assert sum(seen) == 8
    for prompt, answer in zip(asked, together):
        (alone,) = answers.answer_prompts(model, tokenizer, [prompt], config)
        np.testing.assert_array_equal(answer, alone)


def test_beyond_the_context_the_window_slides(model, tokenizer, pictures):
    """Three images and three new ones in a context of four: the last three are always seen."""
    ids = tokenizer.encode(pictures[:3])
    config = AnswerConfig(num_new_images=3, sampling=SamplingConfig(temperature=0.0))
    (answer,) = answers.answer_ids(model, [ids], config)[0]
    history = list(ids)
    for new in answer:
        prompt = prompts.sequential(
            np.stack(history[-3:]),
            vocabulary=model.vocabulary,
            framing=model.framing,
            context=model.config.context,
        )
        expected = decode_loop.continue_rows(model, prompt[None], 16, config)
        np.testing.assert_array_equal(new, expected[0])
        history.append(new)


def test_a_long_analogy_loses_whole_pairs(model, tokenizer, pictures):
    """Five images in a context of four: the first pair goes, the second stays."""
    ids = tokenizer.encode(pictures[:5])
    config = AnswerConfig(images_per_example=2, seed=1, batch_size=4)
    whole, last = answers.answer_ids(model, [ids, ids[2:]], config)
    np.testing.assert_array_equal(whole, last)


def test_another_tokenizer_is_refused(model, tokenizer, pictures):
    other = dataclasses.replace(model, tokenizer_fingerprint="0" * 64)
    with pytest.raises(ValueError, match=r"fingerprint .* is not the model's 000000000000"):
        lvm_jax.generate(other, tokenizer, pictures[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[:, :8], r"image 0 has shape \(8, 16, 3\).*resize_crop"),
        (lambda p: p[:0], "at least one image"),
        (lambda p: p.astype(np.int32), "int32"),
        (lambda p: p.astype(np.float32), r"scale them to \[0, 1\]"),
        (lambda p: np.full(p.shape, np.nan, np.float32), r"scale them to \[0, 1\]"),
    ],
)
def test_prompts_that_are_no_images_are_refused(model, tokenizer, pictures, change, message):
    with pytest.raises(ValueError, match=message):
        lvm_jax.generate(model, tokenizer, change(pictures))


@pytest.mark.parametrize(
    "options",
    [
        {"num_new_images": 0},
        {"num_candidates": 0},
        {"images_per_example": 0},
        {"batch_size": 0},
        {"temperature": -1.0},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_options_out_of_range_are_refused(model, tokenizer, pictures, options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}="):
        lvm_jax.generate(model, tokenizer, pictures[:1], **options)
