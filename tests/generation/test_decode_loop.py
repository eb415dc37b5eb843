"""The cached loop equals full recomputation, id by id, and rows do not know of each other."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax import partition
from lvm_jax.generation import decode_loop, device_batches, sampling
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.partition import Rules

CONFIG = PRESETS["debug"]
NUM_IDS = 9
LENGTHS = (12, 9, 17, 12, 11)  # padded to 12, 12, 24 and 12
CANDIDATES = 3
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
    ids = [rng.integers(0, CONFIG.vocabulary.num_codes, length) for length in LENGTHS]
    return [np.concatenate([[CONFIG.vocabulary.bos], row]).astype(np.int32) for row in ids]


@pytest.fixture(scope="module")
def recomputed(model, prompts):
    """recomputed(name): the answers without a cache, the whole row again for every id."""

    def recompute(name):
        draw = jax.jit(functools.partial(sampling.sample, config=SAMPLINGS[name]))
        answers = []
        for prompt in prompts:
            keys = sampling.row_keys(7, jnp.arange(CANDIDATES))
            # One length for all steps (one compilation); later positions cannot be seen.
            padded = np.zeros((CANDIDATES, max(LENGTHS) + 1 + NUM_IDS), np.int32)
            padded[:, : len(prompt)] = prompt
            for place in range(NUM_IDS):
                next_one = len(prompt) + place
                logits = model.logits(padded)[:, next_one - 1, : model.vocabulary.num_codes]
                padded[:, next_one] = draw(logits, keys, place)
            answers.append(padded[:, len(prompt) : len(prompt) + NUM_IDS])
        return np.stack(answers)

    return {name: recompute(name) for name in SAMPLINGS}


def asked(name="sampled", **changes):
    given = {"num_candidates": CANDIDATES, "batch_size": 6, "seed": 7, **changes}
    return AnswerConfig(sampling=SAMPLINGS[name], **given)


@pytest.mark.parametrize("name", SAMPLINGS)
def test_cached_equals_recomputed(model, prompts, recomputed, name):
    seen = []
    prompts, expected = prompts[:3], recomputed[name][:3]
    cached = decode_loop.continue_prompts(
        model, prompts, NUM_IDS, asked(name), progress=seen.append
    )
    np.testing.assert_array_equal(cached, expected)
    assert cached.dtype == np.int32 and sum(seen) == len(prompts) * CANDIDATES
    # A test of equal constants would prove little.
    assert len(np.unique(cached)) > 8


def test_a_row_does_not_depend_on_what_else_is_asked(model, prompts, recomputed, monkeypatch):
    """Alone, with fewer candidates, in other batches, candidates in groups, or in two parts."""
    expected = recomputed["sampled"]
    answer = lambda *which, **changes: decode_loop.continue_prompts(
        model, [prompts[i] for i in which], NUM_IDS, asked(**changes)
    )
    np.testing.assert_array_equal(answer(2)[0], expected[2])
    np.testing.assert_array_equal(answer(1, num_candidates=1)[0, 0], expected[1, 0])
    np.testing.assert_array_equal(answer(4, 3, 0), expected[[4, 3, 0]])
    np.testing.assert_array_equal(answer(1, batch_size=2)[0], expected[1])
    # Room grows in the first part, and again in the second.
    monkeypatch.setattr(device_batches, "SEGMENT", 3)
    stream = decode_loop.stream_prompts(
        model,
        prompts[:2],
        [5, 4],
        asked(),
        candidates=np.array([[2, 0], [1, 1]]),
        seeds=[7, 7],
    )
    parts = [part.ids for part in stream if list(part.prompts) == [0, 1]]
    together = np.concatenate(parts, axis=-1)
    np.testing.assert_array_equal(together[0], expected[0, [2, 0]])
    np.testing.assert_array_equal(together[1], expected[1, [1, 1]])


@pytest.mark.parametrize(
    ("which", "sizes"), [([0, 1, 3, 4], {"data": 2, "fsdp": 2, "tensor": 2}), ([2], {"fsdp": 3})]
)
def test_a_row_does_not_depend_on_the_mesh(model, prompts, recomputed, which, sizes):
    """Prompts split over data and fsdp, or one prompt's candidates; heads over tensor."""
    devices = jax.devices()[: np.prod([*sizes.values()])]
    mesh = make_mesh(MeshConfig(**{"data": 1, "fsdp": 1, **sizes}), devices)
    # 32 columns do not divide over three.
    rules = Rules() if "tensor" in sizes else Rules(embed=None)
    axes = transformer.logical_axes(model.config)
    placed = jax.device_put(model.params, partition.shardings(mesh, rules, axes, model.params))
    ids = decode_loop.continue_prompts(
        dataclasses.replace(model, params=placed, mesh=mesh),
        [prompts[i] for i in which],
        NUM_IDS,
        asked(batch_size=12),
    )
    np.testing.assert_array_equal(ids, recomputed["sampled"][which])


def test_padding_and_batch_mates_change_no_bit(model, prompts):
    """Logits and cache of a device batch, whatever stands in its other rows and behind its ids."""
    from lvm_jax.model import cached_steps

    run = jax.jit(
        lambda ids, lengths: cached_steps.prefill(model.config, model.params, ids, lengths)
    )
    ids = np.zeros((2, 24), np.int32)
    ids[0, :13], lengths = prompts[0], np.array([13, 20], np.int32)
    logits, cache = run(ids, lengths)
    other = ids.copy()
    other[0, 13:], other[1] = 5, 7
    other_logits, other_cache = run(other, np.array([13, 24], np.int32))
    np.testing.assert_array_equal(logits[0], other_logits[0])
    np.testing.assert_array_equal(cache.keys[1][0, ..., :13], other_cache.keys[1][0, ..., :13])
    assert (logits[1] != other_logits[1]).any()


def test_lower_precision_draws_nearly_the_same(model, prompts, recomputed):
    """The prompt is read exactly; later ids agree until an answer takes another turn."""
    low = asked(weights="int8", cache="bfloat16")
    ids = decode_loop.continue_prompts(model, prompts[:2], NUM_IDS, low)
    expected = recomputed["sampled"][:2]
    np.testing.assert_array_equal(ids[..., 0], expected[..., 0])
    assert np.mean(ids[..., :3] == expected[..., :3]) > 0.8


def test_candidates_share_the_memory_of_a_prompt():
    """16 candidates of a long prompt beside one, compiled: 1.5 times as much and their own ids."""
    config = dataclasses.replace(CONFIG, context=4096, hidden_dim=64, mlp_dim=96)
    own = 2 * config.num_layers * config.kv_heads * config.head_dim * NUM_IDS * 4
    one, many = (
        decode_loop.memory_needed(config, asked(num_candidates=n, batch_size=16), 3840, NUM_IDS)
        for n in (1, 16)
    )
    assert many < 1.5 * one + 16 * own


def test_special_ids_are_never_drawn(model, prompts):
    # A head that shouts for every id beyond the codes.
    head = model.params["head"]["kernel"]
    params = {**model.params, "head": {"kernel": head.at[:, CONFIG.vocabulary.num_codes :].mul(99)}}
    loud = dataclasses.replace(model, params=params)
    row = prompts[2][None]
    assert (np.argmax(loud.logits(row), -1) >= CONFIG.vocabulary.num_codes).any()
    for name in SAMPLINGS:
        ids = decode_loop.continue_prompts(loud, prompts[:2], NUM_IDS, asked(name))
        assert ids.min() >= 0
        assert ids.max() < CONFIG.vocabulary.num_codes


def test_seeds_and_candidates_differ(model, prompts, recomputed):
    assert len({row.tobytes() for row in recomputed["sampled"][0]}) == CANDIDATES
    other = decode_loop.continue_prompts(model, prompts, NUM_IDS, asked(seed=8))
    assert (other != recomputed["sampled"]).any(axis=-1).all()


def test_the_context_may_be_filled_exactly_and_no_further(model, prompts):
    room = CONFIG.context - len(prompts[0]) + 1
    one = asked("greedy", num_candidates=1, batch_size=1)
    assert decode_loop.continue_prompts(model, prompts[:1], room, one).shape == (1, 1, room)
    with pytest.raises(ValueError, match=f"context of {CONFIG.context}"):
        decode_loop.continue_prompts(model, prompts[:1], room + 1, one)


def test_what_is_no_prompt_is_refused(model, prompts):
    with pytest.raises(ValueError, match=r"must lie in 0\.\."):
        decode_loop.continue_prompts(model, [prompts[0] + 60], NUM_IDS, asked())
    with pytest.raises(ValueError, match="at least one"):
        decode_loop.continue_prompts(model, [prompts[0], prompts[0][:0]], NUM_IDS, asked())
