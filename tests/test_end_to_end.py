"""One run through the tools themselves, at toy size: from pictures to a prompt and a report.

The experiments are the quick-start's own, with the smallest networks in place of its.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOY_TOKENIZER = ("--config.tokenizer.preset=debug", "--config.batch_size=4")
TOY_MODEL = (
    "--config.model.preset=debug",
    "--config.model.vocabulary.num_codes=32",
    "--config.model.vocabulary.num_special=100",
    "--config.model.context=128",
    "--config.data.context=128",
    "--config.eval_data.context=128",
)

# A group that works together, which is neither the usual mask nor one that hides a fixed mode.
UMASK = 0o007


class Run:
    """The quick-start's folders under a temporary root, and its tools."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.tokenizer = root / "tokenizer" / "tokenizer"
        self.shards, self.model = root / "shards", root / "model"

    def tool(self, name: str, *arguments: str, code: int = 0) -> str:
        """Runs tools/NAME.py; returns what it printed, stderr included."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "tools" / f"{name}.py"), *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            umask=UMASK,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert done.returncode == code, f"{name} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def config(self, part: str) -> str:
        return f"--config=experiments/quickstart_{part}.py:size=smallest,root={self.root}"

    def train_tokenizer(self, workdir: str = "tokenizer", *arguments: str) -> str:
        config, place = self.config("tokenizer"), f"--workdir={self.root / workdir}"
        return self.tool("train_tokenizer", config, place, *TOY_TOKENIZER, *arguments)

    def build_shards(self) -> None:
        for split, out in {"train": self.shards, "held_out": self.root / "held_out_shards"}.items():
            where = (f"--tokenizer={self.tokenizer}", f"--out={out}")
            self.tool("build_shards", f"{self.config('sentences')},split={split}", *where)

    def train(self, *arguments: str, code: int = 0) -> str:
        config, place = self.config("model"), f"--workdir={self.model}"
        return self.tool("train", config, place, *TOY_MODEL, *arguments, code=code)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Everything up to the trained transformer."""
    run = Run(tmp_path_factory.mktemp("quickstart"))
    run.tool("prepare_pictures", f"--out={run.root / 'pictures'}")
    # Few and small pictures: decoding the big ones would take most of the test.
    for path in (run.root / "pictures").rglob("*.*"):
        Image.open(path).resize((96, 64)).save(path)
    run.train_tokenizer()
    run.build_shards()
    run.train()
    return run


def test_the_tokenizer_gives_images_back(run):
    import lvm_jax

    tokenizer = lvm_jax.load_tokenizer(run.tokenizer)
    pictures = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
    ids = tokenizer.encode(pictures)
    assert ids.shape == (3, 16) and ids.dtype == np.int32
    assert tokenizer.decode(ids).shape == pictures.shape


def test_the_public_api_goes_from_images_to_images(run):
    import lvm_jax

    tokenizer, model = lvm_jax.load_tokenizer(run.tokenizer), lvm_jax.load_model(run.model)
    prompt = np.random.default_rng(1).random((3, 16, 16, 3), np.float32)
    assert model.logits(tokenizer.encode(prompt)).shape == (3, 16, model.vocabulary.size)
    answers = lvm_jax.generate(model, tokenizer, prompt, num_candidates=2, seed=3)
    assert answers.shape == (2, 1, 16, 16, 3)
    again = lvm_jax.generate(model, tokenizer, prompt, num_candidates=2, seed=3)
    np.testing.assert_array_equal(answers, again)


def test_started_again_every_stage_reuses_what_is_finished(run):
    before = sorted((p, p.stat().st_mtime_ns) for p in run.shards.glob("shard-*"))
    weights = (run.tokenizer / "weights.safetensors").stat().st_mtime_ns
    assert "finished before" in run.train_tokenizer()
    run.build_shards()
    assert "finished before" in run.train()
    assert before == sorted((p, p.stat().st_mtime_ns) for p in run.shards.glob("shard-*"))
    assert weights == (run.tokenizer / "weights.safetensors").stat().st_mtime_ns


def test_shards_are_inspected(run):
    picture = run.root / "sentences.png"
    shown = run.tool(
        "inspect_shards",
        *(run.shards, "--verify", "--decode=1", f"--tokenizer={run.tokenizer}", f"--out={picture}"),
    )
    for source in ("colorization", "inpainting", "edges", "single"):
        assert source in shown
    assert min(Image.open(picture).size) > 16


def test_a_prompt_is_answered(run):
    pictures = sorted((run.root / "pictures" / "held_out" / "color").iterdir())
    where = (f"--model={run.model}", f"--tokenizer={run.tokenizer}", f"--out={run.root / 'a.png'}")
    prompt = ("--prompt=analogy", "--images", *pictures[:1] * 2, pictures[1])
    run.tool("generate", *where, "--nosheet", *prompt)
    assert Image.open(run.root / "a.png").size == (16, 16)
    run.tool("generate", *where, *prompt)
    assert min(Image.open(run.root / "a.png").size) > 2 * 144, "labelled, large enough to see"


def test_the_report_is_written(run):
    where = (f"--model={run.model}", f"--tokenizer={run.tokenizer}", f"--out={run.root / 'out'}")
    shown = run.tool("evaluate", "--task=analogies", run.config("evaluation"), *where)
    assert "report.html" in shown
    scores = json.loads((run.root / "out" / "evaluation.json").read_text())
    assert set(scores["results"]) == {"colorization", "inpainting", "edges"}
    assert "| colorization | " in run.tool("report_tables", run.root / "out" / "evaluation.json")
    page = (run.root / "out" / "report.html").read_text()
    assert "The held-out loss ends at" in page
    # Self-contained: pictures are inside, nothing is fetched.
    assert "data:image/png;base64," in page
    assert 'src="http' not in page and 'href="http' not in page


def test_another_tokenizers_shards_are_refused(run, tmp_path):
    other = run.train_tokenizer("other", "--config.seed=1")
    assert "finished at step" in other
    tokenizer = run.root / "other" / "tokenizer"
    shown = run.tool(
        "generate",
        *(f"--model={run.model}", f"--tokenizer={tokenizer}", f"--out={tmp_path / 'a.png'}"),
        *("--images", next((run.root / "pictures" / "held_out" / "gray").iterdir())),
        code=2,
    )
    assert "tokenizer" in shown.splitlines()[-1] and "Traceback" not in shown


def test_another_models_workdir_is_refused(run):
    shown = run.train("--config.model.num_layers=3", code=2)
    assert "num_layers" in shown.splitlines()[-1] and "Traceback" not in shown


def test_the_umask_decides_who_may_read_what_was_written(run):
    """Last, so that every tool has written."""
    made = [path for path in run.root.rglob("*") if "pictures" not in path.parts]
    assert {"weights.safetensors", "manifest.json", "metrics.jsonl"} <= {p.name for p in made}
    wrong = [
        f"{path} {mode:o}"
        for path in made
        if (mode := path.stat().st_mode & 0o777) != (0o777 if path.is_dir() else 0o666) & ~UMASK
    ]
    assert not wrong
