"""What no results can be read from is named; what is written comes back."""

import json
import pathlib

import numpy as np
import pytest

from lvm_jax.evaluation.asking import evaluation_file, results
from lvm_jax.evaluation.asking.results import MetricResult, Rung, TaskResult
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.report import wording

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDENS = pathlib.Path(__file__).parent / "goldens"
MANIFEST = {"hash": "0" * 64, "seeds": [3, 4]}


@pytest.mark.parametrize(
    "content", ["", "[]", '{"tasks": []}', '{"version": 1, "tasks": []}', '{"format": 7}']
)
def test_files_of_another_kind_are_refused(tmp_path, content):
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(ValueError, match=r"evaluation\.json"):
        evaluation_file.read(tmp_path / "evaluation.json")


def test_every_number_comes_back(tmp_path):
    iou = Metric(name="iou", unit="", better="higher", per_example=True)
    whole = Metric(name="miou", unit="", better="higher", per_example=False)
    own = (np.array([0.5, np.nan]), np.array([0.7, 0.9]))
    copy = (np.array([0.4, 0.4]), np.array([0.6, 0.6]))
    values = {results.MODEL: own, results.CEILING: own, results.COPY: copy}
    task = TaskResult(
        name="masks",
        seeds=(3, 4),
        metrics=(
            MetricResult(metric=iou, values=values),
            MetricResult(metric=whole, values={results.MODEL: (np.array([0.6]),)}),
        ),
        decides="iou",
        rung=Rung(series="masks", axis="example pairs", value=3),
    )
    path = tmp_path / "new" / evaluation_file.FILE
    evaluation_file.write(path, [task], MANIFEST)
    content = json.loads(path.read_text())
    entry = content["results"]["masks"]["iou"]
    assert content["manifest"] == MANIFEST and content["format"] == 1
    assert entry["model"]["values"] == [[0.5, None], [0.7, 0.9]]
    assert entry["model"]["mean"] == pytest.approx(0.7)  # of the examples that have a value
    # The example without value is in no pair: gains of 0.1, 0.1 and 0.3.
    assert entry["baselines"]["copy"]["gain"] == pytest.approx(0.5 / 3)
    assert (
        set(entry["baselines"]) == {"copy", "ceiling"}
        and "gain" not in (entry["baselines"]["ceiling"])
    )
    assert content["results"]["masks"]["miou"]["model"]["standard_error"] is None
    (again,) = evaluation_file.read(path)
    assert again.seeds == (3, 4) and again.decides == "iou" and again.rung == task.rung
    for before, after in zip(task.metrics, again.metrics):
        assert before.metric == after.metric and before.learned == after.learned
        for whose, seeds in before.values.items():
            for one, other in zip(seeds, after.values[whose]):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("run", ["quickstart", "finetune"])
def test_the_documentation_has_the_tables_of_the_file_that_it_names(run):
    kept = evaluation_file.read(ROOT / "experiments" / "results" / f"{run}_evaluation.json")
    page = (ROOT / "docs" / "first_ten_minutes.md").read_text()
    for line in wording.markdown(kept).splitlines():
        assert line in page


def test_scores_of_earlier_versions_are_read():
    kept = evaluation_file.read(GOLDENS / "evaluation_version_2.json")
    table = wording.markdown(kept).splitlines()
    assert "| edges | recognised | **149.3** | 4607.0 | 184.1 | 237.2 | 168.4 |" in table
    assert "| edges | **0.0504** | 0.0084 | 0.1547 | _0.0495_ |" in table
