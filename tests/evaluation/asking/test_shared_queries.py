"""Shared queries against what the evaluation of one task says, and against answers made by hand."""

import dataclasses

import numpy as np
import pytest

from lvm_jax.evaluation.asking import results as names
from lvm_jax.evaluation.asking import runner, shared_queries, truth
from lvm_jax.evaluation.asking.asking_config import AskingConfig
from lvm_jax.evaluation.asking.parts import Parts
from lvm_jax.evaluation.asking.shared_queries import SharedAnswers
from lvm_jax.evaluation.asking.tokenized import tokenize
from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
from lvm_jax.generation.answers import answer_ids
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from tests import toys

CONFIG = AskingConfig(
    seeds=(3, 4), num_examples=3, num_answered=2, num_candidates=2, batch_size=4, first_ids=(4,)
)
ANSWERS = ("emoji_mask", "emoji_flat")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    root = toys.write_uvd_mini(tmp_path_factory.mktemp("uvd_mini")) / "held_out"
    loader = SquareLoader(ImageConfig(), 16, 2**20)

    def examples(folder, name="shared"):
        values = {
            "kind": "annotation",
            "name": name,
            "folder": f"{root}/emoji_3d",
            "annotation_folder": f"{root}/{folder}",
            "pairs_per_sentence": 2,
            "crop": (0.5, 0.9),
            "same_crop": False,
        }
        return SentenceExamples(source=corpora.build_source(values, folder), loader=loader)

    return {folder: examples(folder) for folder in ANSWERS} | {"own": examples("emoji_mask", "own")}


@pytest.fixture(scope="module")
def answers(model, tokenizer, kinds, tmp_path_factory):
    shared = {name: kinds[name] for name in ANSWERS}
    parts = Parts(tmp_path_factory.mktemp("parts"))
    progress = []
    asked = shared_queries.ask(
        model, tokenizer, shared, CONFIG, parts=parts, progress=progress.append
    )
    assert sum(progress) == 6 and parts.num_found == 0
    again = shared_queries.ask(model, tokenizer, shared, CONFIG, parts=parts)
    assert parts.num_found == 2 * 3  # ids of both kinds and what the model says, of two seeds
    np.testing.assert_array_equal(again[1].ids, asked[1].ids)
    return asked


def test_under_its_own_examples_and_alone_a_truth_is_scored_as_ever(
    model, tokenizer, kinds, answers
):
    for k, name in enumerate(ANSWERS):
        own = tokenize(tokenizer, [kinds[name].example(4, i) for i in range(3)], Parts(None))
        expected = truth.score(model, own, (), unigram=None, start=0, batch_size=4)
        # Rows of different lengths are different programs.
        np.testing.assert_allclose(answers[1].nll[k, k], expected[names.MODEL], atol=1e-4)
        np.testing.assert_allclose(answers[1].nll[2, k], expected[names.QUERY], atol=1e-4)
        np.testing.assert_array_equal(answers[1].truths[k], own.answers)
    assert not np.allclose(answers[1].nll[0, 1], answers[1].nll[1, 1])


def test_candidates_draw_alike_under_all_prompts_of_a_query(model, tokenizer, kinds, answers):
    assert answers[0].ids.shape == (3, 2, 2, 16)
    for p, name in enumerate(ANSWERS):
        own = tokenize(tokenizer, [kinds[name].example(3, 1)], Parts(None))
        (seed,) = runner.drawing_seeds(3, [1])
        (drawn,) = answer_ids(model, list(own.prompts), CONFIG.asked(seed))
        np.testing.assert_array_equal(answers[0].ids[p, 1], drawn[:, 0])


def test_kinds_that_ask_with_other_pictures_are_refused(model, tokenizer, kinds):
    with pytest.raises(ValueError, match="emoji_mask and own do not ask with the same pictures"):
        shared_queries.ask(
            model, tokenizer, {name: kinds[name] for name in ("emoji_mask", "own")}, CONFIG
        )


def by_hand(follows=1.0, seed=0, num_queries=12):
    """Two kinds: under the examples of one, so many answers are of it; else all are of the first.

    The truth of a kind takes 2 nats per id, but for its first id under another prompt than its own.
    """
    rng = np.random.default_rng(seed)
    nll = np.full((3, 2, num_queries, 16), 2.0, np.float32) + rng.normal(0, 0.1, (num_queries, 1))
    nll[:, :, :, 0] += 1.6
    nll[[0, 1], [0, 1], :, 0] -= 1.6
    judged = np.zeros((3, num_queries, 4), int)
    judged[1] = rng.random((num_queries, 4)) < follows
    empty = np.zeros((0, 0), np.int32)
    answers = SharedAnswers(kinds=("a", "b"), queries=empty, truths=empty, nll=nll, ids=empty)
    return answers, judged


def test_what_the_examples_change_is_measured_within_queries():
    answers, judged = by_hand()
    of_a, of_b = shared_queries.measure([answers], [judged], seeds=(0,), first_ids=(1, 8))
    nats = of_b.metric(names.TRUTH.name)
    assert nats.margin(names.OTHER).mean == pytest.approx(0.1)  # 1.6 nats over 16 ids
    first = of_b.metric(names.truth_metric(1).name)
    assert first.margin(names.QUERY).mean == pytest.approx(1.6)
    # Queries differ by 0.1 nats, which is the same under every prompt.
    assert first.error() > 0.02 and first.margin(names.QUERY).error < 1e-6
    assert nats.posed and first.posed and of_b.deciding.posed
    # Without examples all answers are of kind a, too.
    assert of_a.deciding.mean() == of_a.deciding.mean(names.QUERY) == 1
    assert not of_a.deciding.posed and of_a.deciding.mean(names.OTHER) == 0


def test_shares_are_those_of_every_query_under_every_prompt():
    seeds = [by_hand(follows=0.7, seed=seed)[1] for seed in range(2)]
    shares = shared_queries.shares_of_kinds(seeds, 3)
    assert shares.shape == (3, 3, 24)
    np.testing.assert_array_equal(shares.sum(axis=1), 1)
    assert (shares[[0, 2], 0] == 1).all() and (shares[:, 2] == 0).all()
    np.testing.assert_array_equal(shares[1, 1, 12:], (seeds[1][1] == 1).mean(axis=-1))


def test_a_single_shared_query_proves_nothing():
    answers, judged = by_hand(num_queries=1)
    (_, of_b) = shared_queries.measure([answers], [judged], seeds=(0,))
    assert not of_b.deciding.posed and dataclasses.asdict(of_b)["decides"] == "share_of_asked_kind"
