"""Kinds of pictures told by codes, and by the nearest truth."""

import numpy as np

from lvm_jax.evaluation.metrics import kinds
from lvm_jax.evaluation.metrics.kinds import KindsByCodes

RNG = np.random.default_rng(0)
USUAL = {"mask": (0, 1), "edges": (0, 2), "flat": (3, 4, 5)}


def of_kind(kind, number, wrong=0.0):
    """Pictures of 16 ids that the kind usually has; a share of them are any of 8."""
    ids = RNG.choice(USUAL[kind], (number, 16))
    return np.where(RNG.random(ids.shape) < wrong, RNG.integers(0, 8, ids.shape), ids)


def test_a_picture_is_of_the_kind_that_has_its_codes_wherever_they_stand():
    judge = KindsByCodes.learn({kind: of_kind(kind, 40) for kind in USUAL}, num_codes=8)
    assert judge.kinds == tuple(USUAL) and np.allclose(judge.probabilities.sum(axis=1), 1)
    for number, kind in enumerate(USUAL):
        poor = of_kind(kind, 50, wrong=0.2).reshape(5, 10, 16)
        told = judge.tell(poor)
        assert told.shape == (5, 10) and np.mean(told == number) > 0.9
        np.testing.assert_array_equal(judge.tell(poor[..., ::-1]), told)


def test_what_the_truths_are_tells_kinds_that_have_the_same_codes():
    """Two kinds of one look: a few right ids tell which, and without them neither is preferred."""
    looks = {kind: of_kind("flat", 400) for kind in ("flat", "shaded")}
    judge = KindsByCodes.learn(looks, num_codes=8)
    truths = np.stack([of_kind("flat", 200) for _ in looks])
    for number in range(2):
        right = np.where(RNG.random((200, 16)) < 0.4, truths[number], of_kind("flat", 200))
        assert np.mean(judge.tell(right, truths) == number) > 0.9
        assert np.mean(judge.tell(right) == number) < 0.7
    answers = RNG.choice(USUAL["flat"], (3, 200, 2, 16))
    told = judge.tell(answers, truths[:, None, :, None])
    assert told.shape == (3, 200, 2) and 0.4 < told.mean() < 0.6


def test_the_nearest_truth_is_that_of_least_squared_error():
    truths = RNG.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    noisy = truths[[2, 0, 1, 2]] / 255 + RNG.normal(0, 0.05, (4, 4, 4, 3))
    assert kinds.nearest_truths(noisy, truths).tolist() == [2, 0, 1, 2]
