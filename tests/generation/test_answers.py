"""lvm_jax.generate: shapes, candidates, sliding over the context, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

import lvm_jax
from lvm_jax import images as images_lib
from lvm_jax.generation import answers, decode_loop, prompts
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.vocabulary import Framing

# Two images and four new ones in a context of four.
SLIDING = AnswerConfig(num_new_images=4, sampling=SamplingConfig(temperature=0.0), batch_size=4)


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


@pytest.mark.parametrize("bos", [True, False])
def test_beyond_the_context_the_window_slides(model, tokenizer, pictures, bos):
    """Images 3 and 4 of a context of four fit; the last three are always seen from then on.

    Every id is the most probable one after the whole window, written out from position 0.
    """
    model = dataclasses.replace(model, framing=Framing(bos=bos, eos=bos))
    ids_nT = tokenizer.encode(pictures[:2])
    (answers_CMT,) = answers.answer_ids(model, [ids_nT], SLIDING)
    history = np.concatenate([ids_nT, answers_CMT[0]])
    rows = []
    for index in range(2, 6):
        begin = [model.vocabulary.bos] * bos
        window = np.concatenate([begin, history[max(0, index - 3) : index + 1].ravel()])
        rows.append(np.pad(window, (0, 65 - len(window)))[:64].astype(np.int32))
    logits = np.asarray(model.logits(np.stack(rows)))[..., : model.vocabulary.num_codes]
    for index, scores in enumerate(logits):
        end = bos + 16 * min(3, 2 + index)
        np.testing.assert_array_equal(
            scores[end - 1 : end + 15].argmax(-1), answers_CMT[0, index], err_msg=str(index)
        )


def test_images_arrive_as_they_are_made(model, tokenizer, pictures, monkeypatch):
    """Two with one cache, two from a window that slides."""
    calls = []
    decode = tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda ids: (calls.append(len(ids)), decode(ids))[1])
    came = []
    for new in answers.answer_stream(model, tokenizer, [pictures[:2]], SLIDING):
        assert (new.prompt, new.index) == (0, len(came))
        came.append(new.images)
        assert sum(calls) == len(came), "an image waited for another"
    (whole,) = answers.answer_prompts(model, tokenizer, [pictures[:2]], SLIDING)
    np.testing.assert_array_equal(np.stack(came, axis=1), whole)


def test_a_closed_stream_computes_no_more(model, tokenizer, pictures, monkeypatch):
    seen = []
    stream_prompts = decode_loop.stream_prompts

    def counted(*arguments, **options):
        for part in stream_prompts(*arguments, **options):
            seen.append(part.index)
            yield part

    monkeypatch.setattr(decode_loop, "stream_prompts", counted)
    stream = answers.answer_stream(model, tokenizer, [pictures[:2]], SLIDING)
    assert not seen
    next(stream)
    stream.close()
    assert len(seen) == 1
    with pytest.raises(StopIteration):
        next(stream)


def test_several_new_images_are_the_same_in_one_go_and_one_by_one(model, tokenizer, pictures):
    """More candidates than a batch holds, a prompt with room for all new images."""
    ids_nT = tokenizer.encode(pictures[:1])
    config = AnswerConfig(num_new_images=3, num_candidates=6, seed=2, batch_size=4)
    (together,) = answers.answer_ids(model, [ids_nT], config)
    assert len(np.unique(together, axis=0)) == 6
    one = dataclasses.replace(config, num_new_images=1)
    (first,) = answers.answer_ids(model, [ids_nT], one)
    np.testing.assert_array_equal(together[:, :1], first)


def test_a_prompt_that_is_too_long_is_refused_on_request(model, tokenizer, pictures, monkeypatch):
    strict = AnswerConfig(images_per_example=2, drop_oldest=False)
    with pytest.raises(ValueError, match=r"prompt of 5 images does not fit.*64 ids holds 4.*so 3"):
        answers.answer_stream(model, tokenizer, [pictures[:5]], strict)
    warnings = []
    monkeypatch.setattr(prompts.logging, "warning", lambda *words: warnings.append(words))
    answers.answer_stream(model, tokenizer, [pictures[:5]], AnswerConfig())
    assert warnings[0][-1] == 2
    answers.answer_stream(model, tokenizer, [pictures[:3]], strict)
    assert len(warnings) == 1


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 7 GiB of 4"),
        jax.errors.JaxRuntimeError("INTERNAL: dispatching: Out of memory allocating 7 bytes."),
        MemoryError(),
    ],
)
def test_a_lack_of_memory_says_what_to_lower(model, tokenizer, pictures, monkeypatch, error):
    def exhausted(*arguments, **options):
        raise error

    monkeypatch.setattr(decode_loop, "stream_prompts", exhausted)
    with pytest.raises(RuntimeError, match=r"16 answers at a time: lower batch_size, or .* \(3\)"):
        lvm_jax.generate(model, tokenizer, pictures[:1], num_candidates=3, batch_size=16)


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
