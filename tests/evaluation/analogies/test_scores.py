"""Margins, verdicts and words from scores made by hand."""

import dataclasses
import json

import numpy as np
import pytest

from lvm_jax.evaluation.analogies import scores
from lvm_jax.evaluation.analogies.scores import Margin, SeedScores, TaskResult
from lvm_jax.evaluation.report import wording

NOISE = np.random.default_rng(0).normal(0, 0.1, 16)
NOISE -= NOISE.mean()
BEATEN = {scores.OTHER: 1.0, scores.NONE: 1.0, scores.UNIGRAM: 2.0, scores.QUERY: 0.5}
DRAWN_WELL = {scores.ANSWER: 0.02, scores.CEILING: 0.01, scores.COPY: 0.03, scores.MEAN: 0.04}


def seed_scores(seed=0, mse=DRAWN_WELL, **gaps):
    """NLLs around 2 nats; `gaps` is how much worse each condition is, with noise over examples."""
    right = 2 + np.random.default_rng(seed).normal(0, 1, 16)
    gaps = BEATEN | gaps
    nll = {scores.RIGHT: right, **{name: right + gap + NOISE for name, gap in gaps.items()}}
    drawn = {name: np.full(16, error) for name, error in mse.items()}
    drawn[scores.ANSWER] = drawn[scores.ANSWER] + 0.01 * NOISE
    return SeedScores(seed=seed, nll=nll, mse=drawn)


def result(*other_gaps, name="edges", **rest):
    seeds = (seed_scores(i, other=gap, **rest) for i, gap in enumerate(other_gaps or (1.0,)))
    return TaskResult(name=name, seeds=tuple(seeds))


ANSWERED = result(name="inpainting")
RECOGNISED = result(name="edges", mse=DRAWN_WELL | {scores.MEAN: 0.015})
NOT_LEARNED = result(name="colorization", query=0.0)


def test_margins_are_paired_and_pooled():
    """Examples differ by far more than the prompts do; the paired difference sees through it."""
    one = result(0.2).margin(scores.OTHER)
    assert one.mean == pytest.approx(0.2)
    assert one.error == pytest.approx(NOISE.std(ddof=1) / 4)
    assert one.error < 0.05 < seed_scores().nll[scores.RIGHT].std() / 4
    both = result(0.2, 0.4).margin(scores.OTHER)
    pooled = np.concatenate([0.2 + NOISE, 0.4 + NOISE])
    assert (both.num_prompts, both.mean) == (32, pytest.approx(pooled.mean()))
    assert both.error == pytest.approx(pooled.std(ddof=1) / np.sqrt(32))


@pytest.mark.parametrize(
    ("gaps", "ahead", "clear", "words"),
    [
        ((0.5, 0.5, 0.5), 3, True, "clearly, 3 of 3 seeds"),
        ((0.5, 0.5, -0.1), 2, False, "not clearly, 2 of 3 seeds"),
        ((0.01, 0.01, 0.01), 3, False, "not clearly, 3 of 3 seeds"),
        ((-0.5, -0.5, -0.5), 0, False, "not beaten, 0 of 3 seeds"),
    ],
)
def test_words_say_what_the_numbers_say(gaps, ahead, clear, words):
    task = result(*gaps)
    margin = task.margin(scores.OTHER)
    assert (margin.seeds_ahead, margin.clear) == (ahead, clear)
    assert wording.margin(task, scores.OTHER) == words
    assert (task.verdict == "answered") is clear
    assert ("another task's prompt" in wording.verdict(task)) is not clear


def test_few_prompts_prove_nothing():
    always = lambda number: Margin(gaps=(np.ones(number),))
    assert not always(1).clear and always(1).error == float("inf")
    assert not always(scores.FEWEST_PROMPTS - 1).clear
    assert always(scores.FEWEST_PROMPTS).clear
    few = {name: values[:2] for name, values in seed_scores().mse.items()}
    task = TaskResult(name="edges", seeds=(SeedScores(seed=0, nll=seed_scores().nll, mse=few),))
    assert task.verdict == "recognised"
    assert "2 answered prompts are too few" in wording.pixels(task)


@pytest.mark.parametrize("rival", scores.RIVALS)
def test_a_rival_that_does_as_well_denies_learning(rival):
    """Whatever is drawn: examples that do not help were not understood."""
    task = result(**({rival: 0.0} if rival != scores.OTHER else {}), mse=DRAWN_WELL)
    if rival == scores.OTHER:
        task = result(0.0)
    assert task.unbeaten(task.rivals) == (rival,)
    assert task.verdict == "not learned"
    text = wording.verdict(task)
    assert text.startswith("Not learned from its examples")
    assert wording.CONDITION_NAMES[rival] in text


@pytest.mark.parametrize("rival", scores.PIXEL_RIVALS)
@pytest.mark.parametrize("error", [0.005, 0.02])
def test_answers_no_closer_than_a_trivial_one_are_recognised_only(rival, error):
    """A gray answer is no closer than the gray query, a blur no closer than the mean answer."""
    task = result(mse=DRAWN_WELL | {rival: error})
    assert task.verdict == "recognised"
    assert wording.verdict(task).startswith("Recognised, not answered")
    assert f"but not than the {wording.COMPARED_NAMES[rival]}" in wording.pixels(task)


def test_answers_worse_than_both_trivial_ones_are_said():
    task = result(mse=DRAWN_WELL | {scores.ANSWER: 0.05})
    assert "the copy of the query or the mean of the prompt's answers" in wording.pixels(task)
    assert "clearly closer to the truth than both" in wording.pixels(ANSWERED)


def test_perplexities_average_over_seeds_and_examples():
    task = result(0.5, 0.7)
    log_gap = np.log(task.perplexity(scores.OTHER) / task.perplexity(scores.RIGHT))
    assert log_gap == pytest.approx(0.6)
    # Jensen: LVM's mean of perplexities is never the smaller one.
    assert task.mean_of_perplexities(scores.RIGHT) > task.perplexity(scores.RIGHT)


def test_a_missing_other_task_is_said():
    (seed,) = ANSWERED.seeds
    nll = {name: values for name, values in seed.nll.items() if name != scores.OTHER}
    lonely = TaskResult(name="edges", seeds=(dataclasses.replace(seed, nll=nll),))
    assert scores.OTHER not in lonely.conditions
    assert "no second task" in wording.verdict(lonely)
    assert "-" in wording.text_table([lonely]).splitlines()[3].split()


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([ANSWERED], "The model answers the one task from example images alone."),
        ([ANSWERED, ANSWERED], "The model answers all 2 tasks from example images alone."),
        (
            [ANSWERED, RECOGNISED, NOT_LEARNED],
            "The model answers 1 of 3 tasks from example images alone (inpainting), "
            "and recognises 1 more (edges).",
        ),
        (
            [ANSWERED, NOT_LEARNED],
            "The model answers 1 of 2 tasks from example images alone (inpainting).",
        ),
        (
            [RECOGNISED, NOT_LEARNED],
            "The model answers none of 2 tasks, but recognises 1 from example images (edges).",
        ),
        (
            [RECOGNISED],
            "The model recognises the one task from example images, but does not answer it.",
        ),
        ([NOT_LEARNED], "No task was learned clearly in this run."),
    ],
)
def test_the_headline_claims_no_more_than_the_verdicts(results, words):
    assert wording.headline(results) == words


def test_distance_from_the_best_possible():
    assert wording.distance([result(mse=DRAWN_WELL | {scores.CEILING: 0.02})]) == "1.0 times"
    near, far = (result(mse=DRAWN_WELL | {scores.CEILING: x}) for x in (0.02, 0.005))
    assert wording.distance([near, far]) == "1.0 to 4.0 times"
    assert wording.distance([result(mse=DRAWN_WELL | {scores.CEILING: 0.0})]) == "not known"


def test_json_holds_every_number_and_comes_back():
    task = result(0.5, -0.5)
    content = json.loads(json.dumps(task.to_json()))
    assert content["verdict"] == "not learned"
    assert content["margins"]["other"]["seeds_ahead"] == 1
    assert content["margins"]["mean"]["clear"] is True
    assert [seed["seed"] for seed in content["seeds"]] == [0, 1]
    assert set(content["seeds"][0]["perplexity"]) == set(scores.CONDITIONS)
    assert set(content["mse"]) == set(scores.COMPARED)
    assert len(content["seeds"][1]["mse_per_prompt"]["answer"]) == 16
    assert TaskResult.from_json(content).to_json() == content


def test_markdown_marks_what_is_not_beaten():
    text = wording.markdown([ANSWERED, NOT_LEARNED])
    first, second = (line for line in text.splitlines() if "learned" in line or "answered" in line)
    assert "_" not in first and "**" in first
    query = f"_{NOT_LEARNED.perplexity(scores.QUERY):.1f}_"
    assert query in second and second.count("_") == 2
