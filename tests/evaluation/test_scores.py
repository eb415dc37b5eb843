"""Margins, verdicts and words from scores made by hand."""

import json

import numpy as np
import pytest

from lvm_jax.evaluation import scores, wording
from lvm_jax.evaluation.scores import SeedScores, TaskResult

NOISE = np.random.default_rng(0).normal(0, 0.1, 16)


def seed_scores(seed=0, **gaps):
    """NLLs around 2 nats; `gaps` is how much worse each condition is, with noise over examples."""
    right = 2 + np.random.default_rng(seed).normal(0, 1, 16)
    nll = {scores.RIGHT: right, **{name: right + gap + NOISE for name, gap in gaps.items()}}
    mse = {name: np.full(4, 0.01 * i) for i, name in enumerate(scores.COMPARED, 1)}
    return SeedScores(seed=seed, nll=nll, mse=mse)


def result(*other_gaps, name="edges"):
    rest = {scores.NONE: 1.0, scores.UNIGRAM: 2.0, scores.QUERY: 0.5}
    seeds = (seed_scores(i, other=gap, **rest) for i, gap in enumerate(other_gaps))
    return TaskResult(name=name, seeds=tuple(seeds))


def test_margins_are_paired():
    """Examples differ by far more than the prompts do; the paired difference sees through it."""
    mean, error = seed_scores(other=0.2).margin(scores.OTHER)
    assert mean == pytest.approx(0.2 + NOISE.mean())
    assert error == pytest.approx(NOISE.std(ddof=1) / 4)
    assert error < 0.05 < seed_scores(other=0.2).nll[scores.RIGHT].std() / 4


@pytest.mark.parametrize(
    ("gaps", "holds", "clear", "learned", "words"),
    [
        ((0.5, 0.5, 0.5), 3, 3, True, "holds in 3 of 3 seeds, clearly"),
        ((0.5, 0.5, -0.5), 2, 2, False, "holds in 2 of 3 seeds, clearly"),
        ((0.5, 0.05, 0.05), 3, 1, False, "holds in 3 of 3 seeds, clearly in 1"),
        ((0.05, 0.05, -0.5), 2, 0, False, "holds in 2 of 3 seeds, never clearly"),
        ((-0.5, -0.5, -0.5), 0, 0, False, "does not hold in any of 3 seeds"),
    ],
)
def test_words_say_what_the_numbers_say(gaps, holds, clear, learned, words):
    task = result(*gaps)
    assert task.holds(scores.OTHER) == holds
    assert task.clear(scores.OTHER) == clear
    assert task.learned is learned
    assert wording.margin(task, scores.OTHER) == words
    begins = "Learned:" if learned else ("Learned in part" if holds == 3 else "Not learned")
    assert wording.verdict(task).startswith(begins)
    if not learned:
        assert "another task's prompt" in wording.verdict(task)


def test_perplexities_average_over_seeds_and_examples():
    task = result(0.5, 0.7)
    log_gap = np.log(task.perplexity(scores.OTHER) / task.perplexity(scores.RIGHT))
    assert log_gap == pytest.approx(0.6 + NOISE.mean())
    # Jensen: LVM's mean of perplexities is never the smaller one.
    assert task.mean_of_perplexities(scores.RIGHT) > task.perplexity(scores.RIGHT)


def test_a_missing_other_task_is_said():
    nll = {c: np.full(3, 2.0 + i) for i, c in enumerate(scores.CONDITIONS) if c != scores.OTHER}
    lonely = TaskResult(name="edges", seeds=(SeedScores(seed=0, nll=nll, mse=seed_scores().mse),))
    assert scores.OTHER not in lonely.conditions
    assert "no second task" in wording.verdict(lonely)
    assert "-" in wording.text_table([lonely]).splitlines()[3].split()


def test_the_headline_counts():
    good, bad = result(0.5, name="edges"), result(-0.5, name="inpainting")
    assert wording.headline([good]).startswith("The model answers the one task")
    assert wording.headline([good, good]).startswith("The model answers all 2 tasks")
    assert "1 of 2 tasks from example images alone (edges)" in wording.headline([good, bad])
    assert wording.headline([bad]) == "No task was learned clearly in this run."


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (0.01, "than both trivial answers."),
        (0.035, "than the mean of the prompt's answers, but not than the copy of the query"),
        (0.05, "further from the truth than both"),
    ],
)
def test_pixel_errors_are_judged_against_both_trivial_answers(answer, words):
    task = result(0.5)
    task.seeds[0].mse[scores.ANSWER][:] = answer  # the copy has 0.03, the mean 0.04
    assert words in wording.pixels(task)


def test_json_holds_every_number():
    content = json.loads(json.dumps(result(0.5, -0.5).to_json()))
    assert content["margins"]["other"] == {"holds": 1, "clear": 1}
    assert [seed["seed"] for seed in content["seeds"]] == [0, 1]
    assert set(content["seeds"][0]["perplexity"]) == set(scores.CONDITIONS)
    assert set(content["mse"]) == set(scores.COMPARED)
