"""Losses that are told apart are those of their own targets, however a batch is cut and spread."""

import functools

import jax
import numpy as np
import pytest

from lvm_jax.model import transformer
from lvm_jax.training.transformer.breakdown import BY_IMAGE, BY_KIND, Breakdown
from lvm_jax.training.transformer.loss import loss_sums
from tests.training.transformer.test_next_token import CONTEXT, MODEL, STEPS, make_batch, train

KINDS = ("pairs", "turns", "single", "never")
APART = Breakdown(kinds=KINDS, tokens_per_image=6, num_images=3, num_codes=50)


def by_hand(batch, group):
    """[2, groups] of a batch whose targets outside the chosen ones are given no weight."""
    sums = jax.jit(functools.partial(loss_sums, MODEL))
    params = transformer.init_params(MODEL, 0)
    rows = []
    for number in range(len(APART.labels[group])):
        if group == BY_KIND:
            chosen = batch["kinds"] == number
        else:
            chosen = (batch["positions"] // 6 == number) & (batch["targets"] < 50)
        one = sums(params, {**batch, "weights": batch["weights"] * chosen})[1]
        rows.append([float(one["loss"]), float(one["tokens"])])
    return np.transpose(rows)


@pytest.fixture(scope="module")
def expected():
    return {group: by_hand(make_batch(0), group) for group in (BY_KIND, BY_IMAGE)}


# Sums of some tens of losses near 4, in another order.
CLOSE = {"rtol": 2e-6, "atol": 1e-4}


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ((1, 1, 1, 1), {"accumulation": 4, "loss_chunks": 4}),
        ((2, 2, 2, 1), {"accumulation": 2}),
    ],
)
def test_sums_are_those_of_their_targets(expected, sizes, options):
    metrics, _ = train(sizes, breakdown=APART, **options)
    for group, sums in expected.items():
        np.testing.assert_allclose(metrics[group][0], sums, **CLOSE)
    assert metrics[BY_KIND].shape == (STEPS, 2, len(KINDS))
    tokens = metrics["tokens"]
    np.testing.assert_array_equal(metrics[BY_KIND][:, 1].sum(-1), tokens)
    np.testing.assert_allclose(metrics[BY_KIND][:, 0].sum(-1), metrics["loss"] * tokens, rtol=2e-6)
    assert 2 * APART.tokens_per_image < CONTEXT  # so that the last image is a cut one


def test_the_training_is_bitwise_the_one_without():
    (plain, params), (apart, others) = (
        train((2, 4, 1, 1), loss_chunks=2, breakdown=breakdown)
        for breakdown in (Breakdown(), APART)
    )
    for key in plain:
        np.testing.assert_array_equal(plain[key], apart[key])
    jax.tree.map(np.testing.assert_array_equal, params, others)
