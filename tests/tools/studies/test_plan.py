"""The order of the study, and what its table of FLOPs says."""

import dataclasses
import pathlib

import pytest

from experiments.study import corpus
from studies import budget, finishing, plan
from studies.finishing import Corpus, Places
from studies.plan import Job, Run
from tests.tools.studies import made_up

ALL = ("scaling", "data", "context", "prompts", "besides")


def names(studies, c=0.64):
    return [job.name for job in plan.jobs(studies, c)]


def test_names_are_read_as_they_are_written():
    for job in plan.jobs(ALL, 0.64):
        assert Job.of(job.name) == job
    for text in ("tokenizer", "choice", "all_s_c0.64", "context_", "prompts_all_s"):
        with pytest.raises(ValueError, match="names no run"):
            Job.of(text)


def test_a_run_besides_differs_in_what_its_name_says(tmp_path):
    corpus, out = Corpus(steps=100), tmp_path
    plain = Run(mixture="all", size="xs", c=0.64, seed=0)
    usual = corpus.experiment(plain, out)
    streamed = corpus.experiment(dataclasses.replace(plain, packing="stream"), out)
    assert streamed.data == dataclasses.replace(usual.data, packing="stream")
    # Without shards a pass of anything is taken for one of all.
    longer = dataclasses.replace(plain, passes=3)
    assert corpus.steps_of(longer, out) == 3 * corpus.steps_of(plain, out) == 300
    assert corpus.flops(Job(kind="run", run=longer), out) == pytest.approx(
        3 * corpus.flops(Job(kind="run", run=plain), out)
    )


def test_where_annotations_are_rare_all_else_is_as_it_was(tmp_path):
    rare, every = (
        corpus.get_config(given).to_dict()["corpus"]["sources"] for given in ("few=10", "")
    )
    for name, source in every.items():
        if name in corpus.ANNOTATIONS:
            source["sentences_per_epoch"] //= 10
    assert rare == every
    plain = Run(mixture="all", size="xs", c=0.64, seed=0)
    few = dataclasses.replace(plain, few=10)
    trained, usual = (Corpus(steps=100).experiment(run, tmp_path) for run in (few, plain))
    assert trained.data.shards == f"{tmp_path}/shards/few10/train"
    assert dataclasses.replace(trained, data=usual.data) == usual


def test_the_sweep_comes_first_and_is_of_the_scaling_runs():
    ordered = names(ALL)
    swept = [run.name for run in plan.sweep()]
    assert ordered[: len(swept)] == swept and len(set(ordered)) == len(ordered) == 50
    assert "all_s_c0.64_seed0" in swept and ordered.count("all_s_c0.64_seed0") == 1
    seeds = [Job.of(name).run.seed for name in ordered[len(swept) :]]
    assert seeds == sorted(seeds)


def test_nothing_is_planned_twice_before_c_is_known():
    """The runs of the sweep stand for those of them that will be chosen."""
    assert len(names(ALL, None)) == len(names(ALL))
    assert all("c?" in name or "seed0" in name for name in names(ALL, None))


def test_every_study_has_what_it_needs():
    for study in ALL:
        planned = plan.jobs((study,), 0.64)
        known = [job.name for job in planned]
        for place, job in enumerate(planned):
            assert all(need in known[:place] for need in job.needs)
    assert {f"all_s_c0.64_seed{seed}" for seed in (0, 1, 2)} <= set(names(("data",)))
    assert "all_l_c0.64_seed0" in names(("context",)) and "all_s_c0.64_seed1" not in names(
        ("context",)
    )


def test_patterns_choose():
    jobs = plan.jobs(ALL, 0.64)
    assert {job.run.size for job in plan.matching(jobs, ["all_m_*", "context_all_m*"])} == {"m"}
    assert plan.matching(jobs, []) == jobs


def test_runs_of_a_seed_are_one_experiment_but_for_their_size():
    corpus, out = Corpus(steps=100), pathlib.Path("somewhere")
    small, large = (
        corpus.experiment(Run(mixture="all", size=s, c=0.64, seed=1), out) for s in ("xs", "l")
    )
    assert (small.data, small.eval_data, small.seed) == (large.data, large.eval_data, large.seed)
    # The rule that carries the learning rate.
    for each in (small, large):
        assert each.optimizer.peak_lr * each.model.hidden_dim == pytest.approx(0.64)
        assert each.optimizer.end_lr == pytest.approx(each.optimizer.peak_lr / 10)
        assert each.model.head_dim == 32 and each.loop.num_steps == 100
    assert large.model.num_parameters > 15 * small.model.num_parameters
    video = corpus.experiment(Run(mixture="video", size="s", c=0.64, seed=1), out)
    assert video.data.mixture[0].sources == ("animation", "turntable")
    assert video.eval_data == small.eval_data


def test_sizes_have_twelve_weights_for_every_square_of_width():
    for size in plan.SIZES:
        run = Run(mixture="all", size=size, c=1.0, seed=0)
        model = Corpus(steps=1).experiment(run, pathlib.Path()).model
        assert model.matrix_parameters_per_layer == pytest.approx(
            12 * model.hidden_dim**2, rel=0.03
        )


def test_the_table_counts_what_is_done_and_left(tmp_path):
    places = Places(out=tmp_path, corpus=tmp_path, results=tmp_path / "results")
    arguments = {"studies": ALL, "only": (), "places": places, "rows": 8000}
    text = budget.table(**arguments, rate=1e11)
    assert text.count("\n") == 50 + 2 and "of 8,000 rows, as long as there are no shards" in text
    # 8,000 rows of 1,056 ids.
    assert "8,448,000" in text and "1,000 updates a training" in text
    total = finishing.Corpus.of_rows(8000).flops(plan.jobs(ALL, None)[0], tmp_path)
    assert f"{total:.2g}" in text
    made = made_up.study()
    from studies import results

    for name in ("all_xs_c0.64_seed0", "all_xs_c0.32_seed0"):
        results.write(places.results, name, made[name])
    text = budget.table(**arguments, rate=None)
    assert text.count("  done") == 2 and "hours left" in text
