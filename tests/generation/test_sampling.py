"""Temperature, top-k, top-p: what may be drawn, how often, and whose randomness it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.generation import sampling
from lvm_jax.generation.sampling import SamplingConfig

LOGITS = jnp.log(jnp.array([[0.5, 0.25, 0.15, 0.1]]))


def draw_many(config, num=4000, logits=LOGITS):
    keys = sampling.row_keys(0, jnp.arange(num))
    return np.asarray(sampling.sample(jnp.tile(logits, (num, 1)), keys, 0, config))


def test_greedy_takes_the_most_probable():
    assert set(draw_many(SamplingConfig(temperature=0.0), num=8)) == {0}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_tempered_distribution(temperature):
    ids = draw_many(SamplingConfig(temperature=temperature))
    expected = np.array([0.5, 0.25, 0.15, 0.1]) ** (1 / temperature)
    expected /= expected.sum()
    # 4,000 draws: four standard errors of a frequency are at most 4 * 0.5 / sqrt(4000) = 0.032.
    np.testing.assert_allclose(np.bincount(ids, minlength=4) / 4000, expected, atol=0.032)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"top_k": 1}, {0}),
        ({"top_k": 2}, {0, 1}),
        ({"top_k": 99}, {0, 1, 2, 3}),
        ({"top_p": 0.4}, {0}),
        ({"top_p": 0.6}, {0, 1}),
        ({"top_p": 0.8}, {0, 1, 2}),
        # top_p counts within what top_k kept: 0.5 / 0.75 = 0.67 of the mass.
        ({"top_k": 2, "top_p": 0.6}, {0}),
        ({"top_k": 2, "top_p": 0.7}, {0, 1}),
    ],
)
def test_only_the_allowed_are_drawn(options, allowed):
    assert set(draw_many(SamplingConfig(**options), num=600)) == allowed


def test_top_p_keeps_the_most_probable_however_small_p_is():
    uniform = jnp.zeros((1, 64)).at[0, 7].set(1e-3)
    assert set(draw_many(SamplingConfig(top_p=1e-6), num=50, logits=uniform)) == {7}


def test_a_rows_draw_depends_on_its_own_candidate_and_position_only():
    logits = jax.random.normal(jax.random.key(1), (4, 50))
    config = SamplingConfig()
    together = sampling.sample(logits, sampling.row_keys(3, jnp.array([0, 1, 5, 0])), 9, config)
    for row, candidate in enumerate([0, 1, 5, 0]):
        keys = sampling.row_keys(3, jnp.array([candidate]))
        assert sampling.sample(logits[row : row + 1], keys, 9, config)[0] == together[row]


def test_seed_candidate_and_position_each_change_the_draw():
    logits = jnp.zeros((1, 10_000))

    def draw(seed, candidate, position):
        keys = sampling.row_keys(seed, jnp.array([candidate]))
        return int(sampling.sample(logits, keys, position, SamplingConfig())[0])

    assert len({draw(0, 0, 0), draw(1, 0, 0), draw(0, 1, 0), draw(0, 0, 1)}) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature=-0.1"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_k": -1}, "top_k=-1"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.5}, "top_p=1.5"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**options)
