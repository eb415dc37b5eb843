"""Evaluations are compared example by example, or refused with what differs."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from lvm_jax.configs import ConfigError
from lvm_jax.evaluation.asking import evaluation_file
from lvm_jax.evaluation.asking.results import MODEL, MetricResult, Rung, TaskResult
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.report import evaluations, evaluations_page, evaluations_wording

ROOT = pathlib.Path(__file__).resolve().parents[3]
IOU = Metric(name="iou", unit="", better="higher", per_example=True)
ERROR = Metric(name="abs_rel", unit="m", better="lower", per_example=True)
WHOLE = Metric(name="miou", unit="", better="higher", per_example=False)
NLL = Metric(name="nll", unit="nats per id", better="lower", per_example=True, shown="exp")
# Examples differ much more than models do.
HARDNESS = np.random.default_rng(0).random((2, 12))
TASKS = ("masks", "depth", "frames, 1 frames", "frames, 3 frames")


def manifest(name, **changes):
    known = {
        "hash": name * 64,
        "model": {"name": f"runs/{name}", "fingerprint": name},
        "tokenizer": {"name": f"tokenizers/{name}", "fingerprint": "t" * 64},
        "task": {"names": list(TASKS)},
        "settings": {"temperature": 1.0, "images": {"resize": "crop"}, "shots": [1, 3]},
        "seeds": [0, 1],
        "prompts": {task: [["a.png", "b.png"]] * 24 for task in TASKS},
        # Points of a curve are of one set of examples.
        "inputs": {task: task * 9 for task in ("masks", "depth", "frames")},
    }
    return known | changes


def result(metric, gain, noise=0.02, seed=0):
    """Of hard and easy examples, better by about `gain` than with 0."""
    sign = 1 if metric.better == "higher" else -1
    rng = np.random.default_rng(seed)
    values = HARDNESS + sign * gain + noise * rng.standard_normal(HARDNESS.shape)
    values = tuple(values) if metric.per_example else (values.mean(keepdims=True)[0],)
    return MetricResult(metric=metric, values={MODEL: values})


def write(folder, name, gain, changes=(), left=(), seed=0):
    tasks = [("masks", (IOU, WHOLE), None), ("depth", (ERROR,), None)]
    tasks += [
        (f"frames, {n} frames", (NLL,), Rung(series="frames", axis="frames", value=n))
        for n in (1, 3)
    ]
    results = [
        TaskResult(
            name=task,
            seeds=(0, 1),
            metrics=tuple(result(metric, gain, seed=seed) for metric in metrics),
            decides=metrics[0].name,
            rung=rung,
        )
        for task, metrics, rung in tasks
        if task not in left
    ]
    path = folder / name / evaluation_file.FILE
    evaluation_file.write(path, results, manifest(name, **dict(changes)))
    return path.parent


@pytest.fixture
def folders(tmp_path):
    return [write(tmp_path, "a", 0.0), write(tmp_path, "b", 0.05, seed=1)]


def test_the_same_examples_are_compared_with_themselves(folders):
    comparison = evaluations.compare(folders)
    rows = {(row.task, row.metric.name): row for row in comparison.rows}
    assert len(rows) == 5
    for key in (("masks", "iou"), ("depth", "abs_rel"), ("frames, 3 frames", "nll")):
        row, (own, other) = rows[key], (rows[key].results[letter] for letter in "BA")
        gaps = np.concatenate(own.values[MODEL]) - np.concatenate(other.values[MODEL])
        gaps *= 1 if row.metric.better == "higher" else -1
        gain = row.gains["B"]
        assert gain.mean == pytest.approx(gaps.mean())
        assert gain.error == pytest.approx(gaps.std(ddof=1) / len(gaps) ** 0.5)
        assert gain.paired and gain.clear and gain.num_examples == 24
        assert row.best == "B" and row.clearly
        # Means alone would not tell the two apart: examples differ by more.
        assert own.error() > gaps.mean()
        assert not evaluations.gain(own, other, same=False).clear
    whole = rows["masks", "miou"]
    assert whole.best == "B" and not whole.clearly
    assert evaluations_wording.verdict(whole) == "B, error unknown"
    assert evaluations_wording.headline(comparison) == (
        "Clearly the best of 5 numbers: B in 4; 1 undecided."
    )


def test_the_order_of_evaluations_does_not_matter_to_the_winner(folders):
    comparison = evaluations.compare(folders[::-1])
    row = comparison.rows[0]
    assert row.best == "A" and row.clearly and row.gains["B"].mean < 0 and row.gains["B"].clear
    same = evaluations.compare([folders[0], folders[0]])
    assert {row.best for row in same.rows} == {""}
    assert "None of the evaluations is clearly" in evaluations_wording.headline(same)


def test_a_third_one_must_be_beaten_too(folders, tmp_path):
    close = write(tmp_path, "c", 0.049, seed=2)
    row = evaluations.compare([*folders, close]).rows[0]
    assert row.gains["B"].clear and row.gains["C"].clear
    assert row.best in "BC" and not row.clearly


@pytest.mark.parametrize(
    ("changes", "message", "allow"),
    [
        (
            {"settings": {"temperature": 0.5, "images": {"resize": "crop"}, "shots": [1, 3]}},
            r"settings\.temperature is 0\.5, not 1\.0; allow=settings\.temperature compares",
            ["settings.temperature"],
        ),
        (
            {"settings": {"temperature": 1.0, "images": {"resize": "squash"}, "shots": [1, 4]}},
            r"images\.resize is squash, not crop; settings\.shots\[1\] is 4, not 3;",
            ["settings.images.resize", "settings.shots"],
        ),
        ({"seeds": [0]}, r"seeds is \[0\], not \[0, 1\]; allow=seeds compares", ["seeds"]),
        (
            {"tokenizer": {"name": "x", "fingerprint": "u" * 64}},
            r"tokenizer\.fingerprint is uuuuuuuuuuuuuuuu\.\.\., not tttttttttttttttt\.\.\.;",
            ["tokenizer"],
        ),
        (
            {"inputs": {task: "other" for task in ("masks", "depth", "frames")}},
            r"inputs\.depth is other, not depthdepth",
            ["inputs"],
        ),
        (
            {"prompts": {task: [["a.png", "b.png"]] * 23 + [["a.png", "c.png"]] for task in TASKS}},
            r"prompts\.depth\[23\]\[1\] is c\.png, not b\.png",
            ["prompts"],
        ),
        (
            {"prompts": {"masks": [["a.png", "b.png"]] * 9}},
            r"prompts\.depth is missing, not a list of 24; .*masks is a list of 9, not a list of",
            ["prompts"],
        ),
    ],
)
def test_what_differs_is_named_unless_it_is_allowed(folders, tmp_path, changes, message, allow):
    other = write(tmp_path, "other", 0.0, changes)
    with pytest.raises(ConfigError, match=message) as raised:
        evaluations.compare([folders[0], other])
    assert "\n" not in str(raised.value)
    comparison = evaluations.compare([folders[0], other], allow)
    (note, *_) = evaluations_wording.notes(comparison)
    assert note.startswith("B was allowed to differ from A: ") and allow[0].split(".")[0] in note
    same = changes.keys().isdisjoint({"inputs", "seeds"})
    paired = {row.gains["B"].paired for row in comparison.rows if row.metric.per_example}
    assert paired == {same}


def test_few_examples_decide_nothing(folders):
    for folder in folders:
        path = folder / evaluation_file.FILE
        content = json.loads(path.read_text())
        own = content["results"]["masks"]["iou"]["model"]
        own["values"] = [seed[:3] for seed in own["values"]]
        path.write_text(json.dumps(content))
    row = evaluations.compare(folders).rows[0]
    assert evaluations_wording.verdict(row) == "B, too few examples"


def test_only_what_all_have_is_compared(folders, tmp_path):
    other = write(tmp_path, "other", 0.0, left=["depth"])
    comparison = evaluations.compare([folders[0], other])
    assert "depth" not in {row.task for row in comparison.rows}
    assert evaluations_wording.notes(comparison) == ["Only some evaluations have depth; A does."]
    none = write(tmp_path, "none", 0.0, left=TASKS)
    with pytest.raises(ValueError, match=r"no task in common \(.*a/evaluation\.json: 'masks', "):
        evaluations.compare([folders[0], none])


def test_examples_without_value_are_in_no_pair(folders, tmp_path):
    path = folders[1] / evaluation_file.FILE
    content = json.loads(path.read_text())
    content["results"]["masks"]["iou"]["model"]["values"][0][3] = None
    content["results"]["depth"]["abs_rel"]["model"]["values"] = [[None] * 12] * 2
    path.write_text(json.dumps(content))
    rows = {row.task: row for row in evaluations.compare(folders).rows[::-1]}
    assert rows["masks"].gains["B"].num_examples == 23
    assert rows["depth"].gains["B"].num_examples == 0 and not rows["depth"].clearly
    lines = evaluations_wording.text(evaluations.compare(folders))
    assert any(line.startswith("depth") and " -  " in line for line in lines)


def test_the_tool_writes_a_page_and_numbers(folders, tmp_path):
    page, numbers = tmp_path / "out" / "page.html", tmp_path / "out" / "numbers.json"
    done = run(*folders, f"--html={page}", f"--json={numbers}")
    assert done.returncode == 0, done.stderr
    assert "Clearly the best of 5 numbers: B in 4; 1 undecided." in done.stdout
    content = json.loads(numbers.read_text(), parse_constant=pytest.fail)  # JSON knows no NaN
    assert content["evaluations"]["B"]["model"]["name"] == "runs/b"
    row = content["rows"][0]
    assert (row["task"], row["metric"], row["best"]) == ("masks", "iou", "B")
    assert row["gains"]["B"]["clear"] and row["gains"]["B"]["paired"]
    html = page.read_text()
    assert "runs/a" in html and html.count("<svg") == 1, "one curve for the two of frames"
    assert not re.search(r"(src|href)=.http|url\(http", html), "one file, which fetches nothing"


def test_the_page_escapes_what_it_shows(tmp_path):
    paths = [
        write(tmp_path, name, 0.0, {"model": {"name": "<script>"}}, seed=seed)
        for seed, name in enumerate("ab")
    ]
    html = evaluations_page.render(evaluations.compare(paths))
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_bad_input_is_refused_in_one_line(folders, tmp_path):
    whole = json.loads((folders[0] / evaluation_file.FILE).read_text())
    broken = {
        "entry": {**whole, "results": {"masks": {"iou": {"unit": ""}}}},
        "values": {**whole, "results": {"masks": {"iou": 3}}},
        "manifest": {**whole, "manifest": {"seeds": [0, 1]}},
        "part": {**whole, "manifest": {**whole["manifest"], "inputs": "x"}},
        "version": {**whole, "format": 9},
        "list": [1],
        "older": {"version": 2, "tasks": []},
    }
    files = {}
    for name, content in broken.items():
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(json.dumps(content))
    files["cut"] = tmp_path / "cut.json"
    files["cut"].write_text(json.dumps(whole)[:-9])
    for name, message in {
        "entry": "entry.json is no whole evaluation: no 'decides'",
        "values": "values.json is no whole evaluation",
        "manifest": "manifest.json: its manifest has no 'model'",
        "part": "part.json: its manifest has no whole 'inputs'",
        "version": "version.json has format=9 of evaluations, this code reads 1",
        "list": "list.json holds no evaluation",
        "older": "older.json has format=None",
        "cut": "cannot read .*cut.json",
    }.items():
        with pytest.raises(ValueError, match=message) as raised:
            evaluations.compare([folders[0], files[name]])
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"cannot read .*evaluation\.json: No such file"):
        evaluations.compare([folders[0], tmp_path])
    with pytest.raises(ConfigError, match=r"allow=model is none of what must be equal: tokenizer"):
        evaluations.compare(folders, ["model"])
    with pytest.raises(ValueError, match=r"two evaluations or more can be compared"):
        evaluations.compare(folders[:1])
    done = run(folders[0], write(tmp_path, "other", 0.0, {"seeds": [0]}))
    assert done.returncode == 2 and "--allow=seeds compares them nevertheless" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def run(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "compare_evaluations.py")]
    command += map(str, arguments)
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
