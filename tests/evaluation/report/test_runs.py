"""Curves of several runs: what they are called, what they run over, and the picture."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvm_jax.evaluation.report import runs, runs_picture

ROOT = Path(__file__).resolve().parents[3]


def write_run(folder, rate, steps=60, **more):
    """A run of ten tokens and a thousand FLOPs a step, of half a second each."""
    folder.mkdir(parents=True)
    config = {"kind": "transformer", "optimizer": {"peak_lr": rate}, "loop": {"num_steps": steps}}
    (folder / "config.json").write_text(json.dumps({**config, **more}))
    lines = [
        {
            "step": step,
            "time": 1e9 + step,
            "train/loss": 4 / step**rate,
            "train/grad_norm": 1.0 + rate,
            "train/tokens_seen": 10 * step,
            "train/flops_seen": 1000.0 * step,
            "perf/sec_per_step": 0.5,
        }
        for step in range(2, steps + 1, 2)
    ]
    lines += [{"step": step, "time": 0.0, "eval/held_out/loss": 1.5} for step in (21, 41)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_run_is_called_by_what_its_config_has_alone():
    one = {"model": {"dim": 4, "heads": 2}, "seed": 0, "loop": {"num_steps": 5}}
    other = {"model": {"dim": 8, "heads": 2}, "seed": 0, "loop": {"num_steps": 9}}
    assert runs.labels([one, other], ["a", "b"]) == ["model.dim=4", "model.dim=8"]
    third = {**other, "seed": 3}
    assert runs.labels([one, other, third], "abc")[2] == "model.dim=8, seed=3"
    assert runs.labels([one, one], ["a", "b"]) == ["a", "b"]
    assert runs.labels([one, other, other], "abc") == [
        "model.dim=4",
        "b (model.dim=8)",
        "c (model.dim=8)",
    ]
    assert runs.labels([one], ["a"]) == ["a"]


@pytest.mark.parametrize(
    "x, per_step", [("step", 1), ("tokens", 10), ("seconds", 0.5), ("flops", 1e3)]
)
def test_curves_run_over_what_is_asked_for(tmp_path, x, per_step):
    loaded = runs.load([write_run(tmp_path / "a", 0.5), write_run(tmp_path / "b", 0.25)])
    loss, held_out = runs.panels(loaded, ["train/loss", "eval/.*/loss", "train/none"], x)
    assert (loss.title, held_out.title) == ("train/loss", "eval/held_out/loss")
    assert [series.label for series in loss.series] == [
        "optimizer.peak_lr=0.5",
        "optimizer.peak_lr=0.25",
    ]
    np.testing.assert_allclose(loss.series[0].x, per_step * np.arange(2, 61, 2))
    np.testing.assert_allclose(held_out.series[1].x, [21 * per_step, 41 * per_step])


def test_what_was_not_counted_or_logged_is_refused(tmp_path):
    loaded = runs.load([write_run(tmp_path / "a", 0.5)])
    with pytest.raises(ValueError, match=r"no run has train/nothing; they have .*train/loss"):
        runs.panels(loaded, ["train/nothing"], "step")
    with pytest.raises(ValueError, match=r"metric 'train/\(' is no regular expression: missing \)"):
        runs.panels(loaded, ["train/("], "step")
    lines = [{"step": 1, "time": 0.0, "train/loss": 1.0}]
    with pytest.raises(ValueError, match="old has not counted its flops; choose another --x"):
        runs.panels([runs.Run(label="old", lines=lines)], ["train/loss"], "flops")
    (tmp_path / "a" / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="has no metrics yet"):
        runs.load([tmp_path / "a"])


def test_running_means_are_of_what_there_is():
    np.testing.assert_allclose(runs_picture.running_mean(np.arange(5.0), 1), np.arange(5.0))
    np.testing.assert_allclose(
        runs_picture.running_mean(np.arange(5.0), 3), [0.0, 0.5, 1.0, 2.0, 3.0]
    )


def plot(*arguments):
    return subprocess.run(
        [sys.executable, "tools/plot_runs.py", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_tool_draws_or_says_in_one_line_why_not(tmp_path):
    folders = [write_run(tmp_path / name, rate) for name, rate in (("a", 0.5), ("b", 0.25))]
    done = plot(*folders, f"--out={tmp_path}/runs.png")
    assert done.returncode == 0, done.stderr
    assert (
        "optimizer.peak_lr=0.25" in done.stdout and "train/loss, eval/held_out/loss" in done.stdout
    )
    with Image.open(tmp_path / "runs.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert min(pixels.shape[:2]) > 500
    for color in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):  # one of each run
        assert (pixels == color).all(-1).sum() > 500
    for message, arguments in {
        "expects WORKDIR..., got nothing": [f"--out={tmp_path}/x.png"],
        "--out=x.jpeg must end in one of .png, .svg, .pdf": [folders[0], "--out=x.jpeg"],
        "is no training directory": [tmp_path, f"--out={tmp_path}/x.png"],
    }.items():
        done = plot(*arguments)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
