"""Prompts start with BOS, hold whole images, and lose the oldest ones first."""

import numpy as np
import pytest

from lvm_jax.generation import prompts
from lvm_jax.vocabulary import Framing, Vocabulary

VOCABULARY = Vocabulary(num_codes=61, num_special=3, pad_multiple=16)
IDS = {"vocabulary": VOCABULARY, "framing": Framing()}
T = 4


def images(num):
    """Image i is the ids i, i, i, i."""
    return np.repeat(np.arange(num)[:, None], T, axis=1)


def image_numbers(prompt):
    """The images of a prompt, after checking its form."""
    assert prompt.dtype == np.int32
    assert prompt[0] == VOCABULARY.bos
    body = prompt[1:].reshape(-1, T)
    assert (body == body[:, :1]).all()
    return body[:, 0].tolist()


def test_a_prompt_that_fits_is_whole():
    prompt = prompts.sequential(images(3), **IDS, context=16)
    assert image_numbers(prompt) == [0, 1, 2]


def test_prompt_and_answer_fill_the_context_exactly():
    # BOS + 3 images + 1 new image, of which the last id never enters the model: 16 ids.
    prompt = prompts.sequential(images(9), **IDS, context=16)
    assert image_numbers(prompt) == [6, 7, 8]
    assert len(prompt) + T - 1 == 16


@pytest.mark.parametrize(("new", "kept"), [(1, [6, 7, 8]), (2, [7, 8]), (3, [8])])
def test_new_images_take_room_from_the_oldest(new, kept):
    prompt = prompts.sequential(images(9), **IDS, context=16, num_new_images=new)
    assert image_numbers(prompt) == kept


@pytest.mark.parametrize(
    ("context", "kept"),
    [(24, [0, 1, 2, 3, 4]), (23, [2, 3, 4]), (16, [2, 3, 4]), (15, [4]), (8, [4])],
)
def test_analogies_lose_whole_pairs(context, kept):
    ids = images(5)
    prompt = prompts.analogy(ids[:4].reshape(2, 2, T), ids[4], **IDS, context=context)
    assert image_numbers(prompt) == kept


def test_an_analogy_without_pairs_is_the_query():
    prompt = prompts.analogy(images(0).reshape(0, 2, T), images(1)[0], **IDS, context=16)
    assert image_numbers(prompt) == [0]


def test_no_room_is_said_with_the_numbers():
    with pytest.raises(ValueError, match=r"context of 7 ids holds 1 images of 4 ids.*=1"):
        prompts.sequential(images(2), **IDS, context=7)
    with pytest.raises(ValueError, match="num_new_images=4"):
        prompts.sequential(images(2), **IDS, context=16, num_new_images=4)


def test_prompts_of_one_length_are_made_together():
    several = np.stack([images(9), images(9)[::-1]])
    options = {**IDS, "context": 16}
    together = prompts.sequential(several, **options)
    alone = [prompts.sequential(ids, **options) for ids in several]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(("so_far", "at_once"), [(1, 3), (2, 2), (3, 1), (4, 1), (9, 1)])
def test_new_images_are_made_together_while_all_fit(so_far, at_once):
    assert prompts.new_images_at_once(16, T, so_far, 5) == at_once
    assert prompts.new_images_at_once(16, T, so_far, 1) == 1


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        prompts.sequential(images(0), **IDS, context=16)


def test_a_model_without_bos_gets_none():
    bare = {**IDS, "framing": Framing(bos=False, eos=False)}
    for num in (2, 9):
        framed = prompts.sequential(images(num), **IDS, context=16)
        np.testing.assert_array_equal(
            prompts.sequential(images(num), **bare, context=16), framed[1:]
        )
    pairs, query = images(2).reshape(1, 2, T), images(3)[2]
    framed = prompts.analogy(pairs, query, **IDS, context=16)
    np.testing.assert_array_equal(prompts.analogy(pairs, query, **bare, context=16), framed[1:])
