"""The prompts study from directories on disk: all tasks, shared queries, a summary and pictures."""

import json

import numpy as np
import pytest

from experiments.study import prompts as asked_of_runs
from lvm_jax import images
from lvm_jax.evaluation.asking import evaluation_file, results
from studies import prompts, prompts_report
from tests import toys


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return toys.write_uvd_mini(tmp_path_factory.mktemp("uvd_mini"))


def test_a_run_is_asked_everything_once(trained, root, tmp_path):
    said = []
    summary = prompts.evaluate(
        trained / "model",
        trained / "tokenizer",
        root,
        tmp_path / "out",
        amounts=prompts.SMALLEST,
        shots=1,
        progress=said.append,
    )
    text = json.dumps(summary)
    assert len(text) < 40_000 and json.loads(text) == summary  # plain values, few of them
    tasks = summary["tasks"]
    assert len(tasks) == 17 and [n for n in tasks if tasks[n]["unseen"]] == list(tasks)[13:]
    found = evaluation_file.read(tmp_path / "out" / "tasks" / evaluation_file.FILE)
    for result in found:
        task = tasks[result.name]
        assert set(task["truth"]) == {"all", "1", "4", "8"}
        own, (other, gain, error, clear) = task["truth"]["4"]["right"], task["truth"]["4"]["other"]
        of = result.metric(results.truth_metric(4).name)
        assert own == pytest.approx(of.mean(), rel=1e-3)
        assert gain == pytest.approx(other - own, abs=2e-3) and not clear
        assert error is None or error > 0  # nothing is known of one thing
        assert set(task["metric"]["baselines"]) == {"copy", "mean", "nearest_pixels", "nearest_ids"}
    assert prompts_report.lines({"m": [], "l": []}) == ["No evaluation yet."]
    run = {"run": "all_m_c0.64_seed2", **summary}
    _, verdicts, counts, *tables = prompts_report.lines({"m": [run, run], "l": []})
    assert "| depth | not posed | not posed |" in verdicts  # of two prompts nothing can be said
    assert counts.startswith("all_m_c0.64_seed2: of 13 tasks that training poses, 0 are posed")
    for table in (verdicts, *(each for each in tables if each[0] == "|")):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "| none | " in tables[3]
    assert list(summary["shared"]) == ["emoji", "model", "satellite"]
    emoji = summary["shared"]["emoji"]
    assert emoji["kinds"] == ["mask", "edges", "flat", "gray"] == list(emoji["tasks"])
    assert np.array(emoji["answers"]["share"]).shape == (5, 5)  # none; and what looks like queries
    assert np.sum(emoji["answers"]["share"], axis=1) == pytest.approx(1)
    assert emoji["judge"]["truths"] == 2 * 5 and emoji["queries"] == 2
    for name in ("prompts", "tasks", "shared/emoji", "shared/model", "shared/satellite"):
        assert images.read_image(tmp_path / "out" / f"{name}.png").shape[1] > 400
    assert said[-4:] == [*(f"shared queries, {g}" for g in summary["shared"]), "picture"]


def test_kinds_of_a_group_share_their_queries_and_gray_is_made_of_them(root):
    from lvm_jax.evaluation.tasks.sentence_examples import SentenceExamples
    from lvm_jax.images import ImageConfig
    from lvm_jax.pictures.loader import SquareLoader
    from lvm_jax.sentences import corpora

    loader = SquareLoader(ImageConfig(), 16, 2**20)
    for kinds in asked_of_runs.shared(str(root / "train"), 2).values():
        shown = [
            SentenceExamples(source=corpora.build_source(values, kind), loader=loader).example(5, 1)
            for kind, values in kinds.items()
        ]
        assert all(np.array_equal(shown[0].query, example.query) for example in shown)
        assert not any(np.array_equal(shown[0].answer, example.answer) for example in shown[1:])
    (first, *_) = asked_of_runs.shared(str(root / "train"), 2)["emoji"].values()
    gray = prompts.Gray(
        examples=SentenceExamples(source=corpora.build_source(first, "mask"), loader=loader)
    ).example(5, 1)
    assert (np.ptp(gray.pairs[:, 1], axis=-1) == 0).all() and np.ptp(gray.pairs[:, 0]) > 0
    assert (np.ptp(gray.answer, axis=-1) == 0).all()
