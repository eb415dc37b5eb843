"""The cached loop equals full recomputation, id by id, and rows do not know of each other."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.generation import decode_loop, sampling
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS

CONFIG = PRESETS["debug"]
NUM_IDS = 9
SAMPLINGS = {
    "greedy": SamplingConfig(temperature=0.0),
    "sampled": SamplingConfig(),
    "filtered": SamplingConfig(temperature=1.3, top_k=20, top_p=0.9),
}


@pytest.fixture(scope="module")
def model():
    # At the usual scale random logits are nearly flat; larger ones make every earlier id matter.
    config = dataclasses.replace(CONFIG, init_scale=0.2)
    return LanguageModel(config=config, params=transformer.init_params(config, 0))


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, CONFIG.vocabulary.num_codes, (5, 12))
    return np.concatenate([np.full((5, 1), CONFIG.vocabulary.bos), ids], axis=1).astype(np.int32)


def recompute(model, prompt_NP, config, seed, candidates):
    """The same answers without a cache: the whole row through the model for every id."""
    ids = jnp.asarray(prompt_NP)
    keys = sampling.row_keys(seed, jnp.asarray(candidates))
    start = prompt_NP.shape[1]
    # One length for all steps (one compilation); later positions cannot be seen.
    padded = jnp.pad(ids, ((0, 0), (0, NUM_IDS)))
    for position in range(NUM_IDS):
        logits = model.logits(padded)[:, start + position - 1, : model.vocabulary.num_codes]
        drawn = sampling.sample(logits, keys, position, config)
        padded = padded.at[:, start + position].set(drawn)
    return np.asarray(padded[:, start:])


@pytest.mark.parametrize("name", SAMPLINGS)
def test_cached_equals_recomputed(model, prompts, name):
    candidates = np.array([0, 1, 2, 0, 3])
    config = AnswerConfig(sampling=SAMPLINGS[name], seed=7, batch_size=5)
    cached = decode_loop.continue_rows(model, prompts, NUM_IDS, config, candidates_R=candidates)
    expected = recompute(model, prompts, SAMPLINGS[name], 7, candidates)
    np.testing.assert_array_equal(cached, expected)
    assert cached.shape == (5, NUM_IDS)
    assert cached.dtype == np.int32
    # A test of equal constants would prove little.
    assert len(np.unique(cached)) > 8


@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_prompt_alone_and_in_a_batch_gets_the_same_answer(model, prompts, name):
    config = AnswerConfig(sampling=SAMPLINGS[name], seed=1, batch_size=4)
    together = decode_loop.continue_rows(model, prompts, NUM_IDS, config)
    for row in range(len(prompts)):
        alone = decode_loop.continue_rows(model, prompts[row : row + 1], NUM_IDS, config)
        np.testing.assert_array_equal(alone[0], together[row])


def test_special_ids_are_never_drawn(model, prompts):
    # A head that shouts for every id beyond the codes.
    head = model.params["head"]["kernel"]
    params = {**model.params, "head": {"kernel": head.at[:, CONFIG.vocabulary.num_codes :].mul(99)}}
    loud = dataclasses.replace(model, params=params)
    assert (np.argmax(loud.logits(prompts), -1) >= CONFIG.vocabulary.num_codes).any()
    for sampling_config in SAMPLINGS.values():
        config = AnswerConfig(sampling=sampling_config, batch_size=5)
        ids = decode_loop.continue_rows(loud, prompts, NUM_IDS, config)
        assert ids.min() >= 0
        assert ids.max() < CONFIG.vocabulary.num_codes


def test_seeds_and_candidates_differ_and_repeat(model, prompts):
    same = np.repeat(prompts[:1], 3, axis=0)

    def answers(seed, candidates):
        config = AnswerConfig(seed=seed, batch_size=5)
        return decode_loop.continue_rows(
            model, same, NUM_IDS, config, candidates_R=np.array(candidates)
        )

    first = answers(0, [0, 1, 2])
    assert len({tuple(row) for row in first}) == 3
    np.testing.assert_array_equal(first, answers(0, [0, 1, 2]))
    assert (first != answers(1, [0, 1, 2])).any()


def test_the_context_may_be_filled_exactly_and_no_further(model, prompts):
    room = CONFIG.context - prompts.shape[1] + 1
    config = AnswerConfig(sampling=SAMPLINGS["greedy"], batch_size=1)
    ids = decode_loop.continue_rows(model, prompts[:1], room, config)
    assert ids.shape == (1, room)
    with pytest.raises(ValueError, match=f"context of {CONFIG.context}"):
        decode_loop.continue_rows(model, prompts[:1], room + 1, config)


def test_progress_counts_rows(model, prompts):
    seen = []
    config = AnswerConfig(batch_size=4)
    decode_loop.continue_rows(model, prompts, NUM_IDS, config, progress=seen.append)
    assert seen == [4, 1]


def test_ids_out_of_range_are_refused(model, prompts):
    with pytest.raises(ValueError, match=r"must lie in 0\.\."):
        decode_loop.continue_rows(model, prompts + 60, NUM_IDS, AnswerConfig())
