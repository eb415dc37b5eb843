"""tools/evaluate.py as a user starts it."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import evaluate as tool
import evaluation_options
from lvm_jax import images
from lvm_jax.evaluation.asking.manifest import digest
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.evaluation.tasks import episodes, registry

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = "--config=experiments/quickstart_evaluation.py"


def evaluate(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "evaluate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def named(trained, **flags):
    """Flags of a model and its tokenizer, and others."""
    flags |= {"model": trained / "model", "tokenizer": trained / "tokenizer"}
    return {name: str(value) for name, value in flags.items()}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Three pictures of 24 x 40 pixels in files."""
    path = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(6)
    for number in range(3):
        pixels = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
        images.write_image(path / f"{number}.png", pixels)
    return path


@pytest.mark.parametrize(("fit", "resize"), [(None, "crop"), ("squash", "squash")])
def test_perplexity_of_lines(fit, resize, wide, trained, tmp_path, model, tokenizer, capsys):
    files = sorted(map(str, wide.iterdir()))
    lines = [
        {"input": files[:2], "target": files[2:]},
        {"input": files[2:], "target": files[:1]},
    ]
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    flags = named(trained, input_file=tmp_path / "lines.jsonl", out=tmp_path / "out")
    if fit is None:
        done = evaluate(
            "--task=perplexity", *(f"--{name}={value}" for name, value in flags.items())
        )
        assert done.returncode == 0, done.stderr
        said = done.stdout
    else:
        tool.perplexity(tool.Perplexity(task="perplexity", fit=fit, **flags))
        said = capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (measured,) = content["results"].values()
    expected = []
    for line in lines:
        pixels = [
            images.RESIZES[resize](images.read_image(path), 16)
            for path in line["input"] + line["target"]
        ]
        ids = tokenizer.encode(np.stack(pixels)).reshape(-1)
        split = 16 * len(line["input"])
        prompt = np.concatenate([[model.vocabulary.bos], ids[:split]])
        expected.append(perplexity.target_nll(model, prompt[None], ids[None, split:])[0])
    (values,) = measured["nll"]["model"]["values"]
    assert values == pytest.approx([nll.mean() for nll in expected], abs=1e-5)
    summary = perplexity.summarize(expected)
    mean = measured["perplexity"]["model"]["mean"]
    assert mean == pytest.approx(summary.mean_of_perplexities, rel=1e-5)
    of_mean = measured["perplexity_of_mean"]["model"]["mean"]
    assert of_mean == pytest.approx(summary.of_mean, rel=1e-5)
    assert f"{of_mean:.4f}" in said and f"{mean:.4f}" in said
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_task_of_pairs_and_its_baselines(trained, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        images.write_image(tmp_path / "pairs" / "inputs" / f"{number}.png", pixels)
        images.write_image(tmp_path / "pairs" / "targets" / f"{number}.png", pixels[::-1])
    flags = named(trained, pairs=tmp_path / "pairs", out=tmp_path / "out")
    tool.tasks(tool.Tasks(task="pixels", shots=("1",), **flags))
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    mse = content["results"]["pixels"]["mse"]
    assert {"copy", "mean", "nearest_pixels", "nearest_ids", "ceiling"} <= set(mse["baselines"])
    manifest = content["manifest"]
    assert len(manifest["prompts"]["pixels"]) == 3 and mse["decides"]
    # Where the pictures lie changes no number, and so neither the hash nor what is compared.
    assert manifest["source"] == {"pairs": str(tmp_path / "pairs")}
    assert manifest["task"] == {"pixels": {"example_pairs": [1]}}
    assert digest(manifest | {"source": {}}) == manifest["hash"]
    assert "No task was learned clearly" in capsys.readouterr().out


def test_every_task_of_the_registry_can_be_asked_for():
    tasks, own = evaluation_options.TASKS, evaluation_options.OWN_PICTURES
    assert tasks == (*registry.KINDS, *episodes.EPISODES) and own == tuple(episodes.EPISODES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task=depth", "--pairs=a"], "--task=depth needs --out"),
        (["--task=depth", "--pairs=a", "--out=x", "--shots=-1"], "--shots=-1 must be at least 0"),
        (["--task=analogies", "--out=x"], "--task=analogies needs --config"),
        (["--task=guessing"], "guessing"),
        (["--task=edges", "--out=x", CONFIG, "--num_candidates=3"], "--num_candidates is for"),
        (["--task=edges", "--out=x", CONFIG, "--pairs=a"], "--config names the pictures itself"),
        (["--task=analogies", "--config=x", "--out=x", "--fit=stretch"], "fit"),
    ],
)
def test_bad_flags_get_one_line(arguments, message):
    done = evaluate("--model=m", "--tokenizer=t", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("perplexity", {}, "give one of --pairs, --frames and --input_file"),
        ("depth", {"out": "x", "pairs": "a", "frames": "b"}, "not --pairs and --frames"),
        ("depth", {"out": "x", "pairs": "a", "shots": ("few",)}, "shots=few must be whole"),
        ("perplexity", {"input_file": "nowhere.jsonl"}, r"cannot read nowhere\.jsonl"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_model_is_read(task, options, message):
    run, kind = tool.tasks, tool.Tasks
    if task == "perplexity":
        run, kind = tool.perplexity, tool.Perplexity
    with pytest.raises(ValueError, match=message):
        run(kind(task=task, model="m", tokenizer="t", **options))


def test_flags_of_reading_lie_over_the_config(folder, tmp_path):
    task = {"kind": "edges", "folder": str(folder), "pairs_per_sentence": 2}
    values = {"tasks": [task], "images": {"resize": "squash", "max_pixels": 9}}
    (tmp_path / "experiment.py").write_text(f"def get_config():\n    return {values}\n")
    where = (f"--config={tmp_path / 'experiment.py'}", "--print_config")
    done = evaluate("--task=analogies", *where, "--background=1,2,3", "--max_pixels=8")
    assert done.returncode == 0, done.stderr
    expected = {"resize": "squash", "background": [1, 2, 3], "max_pixels": 8}
    assert json.loads(done.stdout)["images"] == expected


def test_a_bad_line_is_named_with_its_number(folder, tmp_path):
    good = json.dumps({"input": [str(p) for p in folder.iterdir()], "target": []})
    (tmp_path / "lines.jsonl").write_text(good + "\n")
    asked = {"model": "m", "tokenizer": "t", "input_file": f"{tmp_path}/lines.jsonl"}
    message = 'lines.jsonl line 1: "target" must be a list of one or more image files'
    with pytest.raises(ValueError, match=message):
        tool.perplexity(tool.Perplexity(task="perplexity", **asked))
