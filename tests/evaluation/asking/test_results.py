"""Margins, verdicts and words from numbers made by hand."""

import dataclasses

import numpy as np
import pytest

from lvm_jax.evaluation.asking import results as names
from lvm_jax.evaluation.asking.results import MODEL, TRUTH, Margin, MetricResult, TaskResult
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.report import wording
from lvm_jax.evaluation.tasks.pixels import MSE

NOISE = np.random.default_rng(0).normal(0, 0.1, 16)
NOISE -= NOISE.mean()
BEATEN = {names.OTHER: 1.0, names.NONE: 1.0, names.UNIGRAM: 2.0, names.QUERY: 0.5}
DRAWN_WELL = {MODEL: 0.02, names.CEILING: 0.01, names.COPY: 0.03, names.MEAN: 0.04}


def of_seed(seed=0, mse=DRAWN_WELL, **gaps):
    """NLLs around 2 nats; `gaps` is how much worse each condition is, with noise over examples."""
    right = 2 + np.random.default_rng(seed).normal(0, 1, 16)
    nll = {MODEL: right, **{name: right + gap + NOISE for name, gap in (BEATEN | gaps).items()}}
    drawn = {name: np.full(16, error) for name, error in mse.items()}
    drawn[MODEL] = drawn[MODEL] + 0.01 * NOISE
    return nll, drawn


def result(*other_gaps, name="edges", truth=True, metric=MSE, **rest):
    seeds = [of_seed(i, other=gap, **rest) for i, gap in enumerate(other_gaps or (1.0,))]
    by_name = lambda each: {key: tuple(seed[key] for seed in each) for key in each[0]}
    of_truth = MetricResult(
        metric=TRUTH, values=by_name([nll for nll, _ in seeds]), own="right prompt"
    )
    drawn = MetricResult(metric=metric, values=by_name([mse for _, mse in seeds]))
    return TaskResult(
        name=name,
        seeds=tuple(range(len(seeds))),
        metrics=(of_truth, drawn) if truth else (drawn,),
        decides=metric.name,
    )


ANSWERED = result(name="inpainting")
RECOGNISED = result(name="edges", mse=DRAWN_WELL | {names.MEAN: 0.015})
NOT_LEARNED = result(name="colorization", query=0.0)


def test_margins_are_paired_and_pooled():
    """Examples differ by far more than the prompts do; the paired difference sees through it."""
    one = result(0.2).truth.margin(names.OTHER)
    assert one.mean == pytest.approx(0.2)
    assert one.error == pytest.approx(NOISE.std(ddof=1) / 4)
    assert one.error < 0.05 < of_seed()[0][MODEL].std() / 4
    both = result(0.2, 0.4).truth.margin(names.OTHER)
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
    margin = task.truth.margin(names.OTHER)
    assert (margin.seeds_ahead, margin.clear) == (ahead, clear)
    assert wording.margin(task.truth, names.OTHER) == words
    assert (task.verdict == "answered") is clear
    assert ("another task's prompt" in wording.verdict(task)) is not clear


def test_few_prompts_prove_nothing():
    always = lambda number: Margin(gaps=(np.ones(number),))
    assert not always(1).clear and always(1).error == float("inf")
    assert not always(names.FEWEST_PROMPTS - 1).clear
    assert always(names.FEWEST_PROMPTS).clear
    few = {name: (values[0][:2],) for name, values in ANSWERED.deciding.values.items()}
    task = dataclasses.replace(
        ANSWERED, metrics=(ANSWERED.metrics[0], MetricResult(metric=MSE, values=few))
    )
    assert task.verdict == "recognised"
    assert "2 answered prompts are too few" in wording.drawn(task)


@pytest.mark.parametrize("rival", BEATEN)
def test_a_rival_that_does_as_well_denies_learning(rival):
    """Whatever is drawn: examples that do not help were not understood."""
    task = result(**({rival: 0.0} if rival != names.OTHER else {}), mse=DRAWN_WELL)
    if rival == names.OTHER:
        task = result(0.0)
    assert task.truth.unbeaten == (rival,)
    assert task.verdict == "not learned"
    text = wording.verdict(task)
    assert text.startswith("Not learned from its examples")
    assert wording.whose(task.truth, rival) in text


def test_a_task_is_posed_by_examples_that_beat_both_prompts_which_do_not_tell_it():
    assert result().truth.posed and result(none=0.0, unigram=0.0).truth.posed
    assert result(0.0).truth.posed is result(query=0.0).truth.posed is False
    without = {name: ANSWERED.truth.values[name] for name in (MODEL, names.OTHER, names.NONE)}
    assert dataclasses.replace(ANSWERED.truth, values=without).posed is None


@pytest.mark.parametrize("rival", [names.COPY, names.MEAN])
@pytest.mark.parametrize("error", [0.005, 0.02])
def test_answers_no_closer_than_a_trivial_one_are_recognised_only(rival, error):
    """A gray answer is no closer than the gray query, a blur no closer than the mean answer."""
    task = result(mse=DRAWN_WELL | {rival: error})
    assert task.verdict == "recognised"
    assert wording.verdict(task).startswith("Recognised, not answered")
    assert f"not clearly better than the {wording.whose(task.deciding, rival)}, but than the" in (
        wording.drawn(task)
    )


def test_answers_worse_than_all_trivial_ones_are_said():
    task = result(mse=DRAWN_WELL | {MODEL: 0.05})
    assert wording.drawn(task).endswith(
        "better than the copy of the query or the mean of the prompt's answers."
    )
    assert "clearly better than every baseline" in wording.drawn(ANSWERED)


def test_higher_is_better_where_a_metric_says_so():
    iou = Metric(name="iou", unit="", better="higher", per_example=True)
    good = {MODEL: 0.6, names.CEILING: 0.9, names.COPY: 0.2, names.NEAREST_IDS: 0.5}
    task = result(mse=good, metric=iou, truth=False)
    assert task.verdict == "answered" and task.deciding.margin(names.COPY).mean > 0.3
    for rival in (names.COPY, names.NEAREST_IDS):
        task = result(mse=good | {rival: 0.6}, metric=iou, truth=False)
        assert task.verdict == "not learned" and task.deciding.unbeaten == (rival,)


def test_the_ceiling_and_the_model_itself_need_not_be_beaten():
    best = {names.CEILING: 0.01, names.BEST_BY_ORACLE: 0.01, names.BEST_BY_LIKELIHOOD: 0.01}
    task = result(mse=DRAWN_WELL | best)
    assert task.verdict == "answered"
    assert task.deciding.rivals == (names.COPY, names.MEAN)


def test_perplexities_average_over_seeds_and_examples():
    task = result(0.5, 0.7)
    log_gap = np.log(task.truth.shown(names.OTHER) / task.truth.shown())
    assert log_gap == pytest.approx(0.6)


def test_a_missing_other_task_is_said():
    values = {k: v for k, v in ANSWERED.metrics[0].values.items() if k != names.OTHER}
    truth = dataclasses.replace(ANSWERED.metrics[0], values=values)
    lonely = dataclasses.replace(ANSWERED, metrics=(truth, ANSWERED.metrics[1]))
    assert "no second task" in wording.verdict(lonely)
    both = wording.text_table([ANSWERED, lonely]).splitlines()
    assert "-" in both[4].split() and "-" not in both[3].split()


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
    of = lambda ceiling: result(mse=DRAWN_WELL | {names.CEILING: ceiling})
    assert wording.distance([of(0.02)])[0] == "1 times"
    assert wording.distance([of(0.02), of(0.005)])[0] == "1 to 4 times"
    assert wording.distance([of(0.0)]) is None


def test_what_has_nothing_to_compare_with_is_only_measured():
    alone = MetricResult(metric=TRUTH, values={MODEL: (np.full(3, np.log(20)),)})
    task = TaskResult(name="frames", seeds=(0,), metrics=(alone,), decides=TRUTH.name)
    assert task.verdict == "measured" and alone.learned is None
    assert wording.headline([task]) == "Perplexity of truth 20.0 (frames)."


def test_markdown_marks_what_is_not_beaten():
    text = wording.markdown([ANSWERED, NOT_LEARNED])
    first, second = (line for line in text.splitlines() if "learned" in line or "answered" in line)
    assert "_" not in first and "**" in first
    query = f"_{NOT_LEARNED.truth.shown(names.QUERY):.2f}_"
    assert query in second and second.count("_") == 2
