"""tools/benchmark.py as a user runs it, at sizes that measure nothing."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

from benchmark_suites import decode, machine
from lvm_jax.model.transformer_config import PRESETS

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = ["--width=32", "--mlp=48", "--layers=2", "--heads=4", "--repeats=2"]


def run(*flags, **environment):
    command = [sys.executable, "tools/benchmark.py", *map(str, flags)]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    "suite, flags", [("train", ["--context=32"]), ("decode", ["--prompt=8", "--ids=4"])]
)
def test_a_suite_prints_a_table_and_writes_json(suite, flags, tmp_path):
    result = run(suite, *TINY, *flags, f"--json={tmp_path / 'out.json'}")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    (row,) = report["results"]
    assert report["suite"] == suite and row["name"] == "lvm_jax"
    assert row["compile_seconds"] > 0
    assert 0 < row["fastest"] <= row["seconds"] <= row["slowest"]
    header = result.stdout.splitlines()[1].split()
    assert header[:2] == ["name", "tokens_per_second"] and "compile_seconds" in header


def test_decode_knows_its_bound_and_what_candidates_share(monkeypatch):
    # What the machine can do takes seconds to find out, and is any number here.
    monkeypatch.setattr(machine, "READ_BYTES", 2**20)
    monkeypatch.setattr(machine, "PRODUCT_SIZE", 64)
    config = dataclasses.replace(PRESETS["debug"], context=68, dtype="float32", num_layers=2)
    sizes = {"batch_size": 4, "prompt_length": 64, "num_ids": 4, "candidates": 3}
    rows = decode.run(config, **sizes, lower=True, warmup=0, repeats=2)
    together, apart, *lower = rows
    assert together["bound_seconds"] < apart["bound_seconds"]
    assert together["megabytes"] < apart["megabytes"]
    assert together["read_gb_s"] > 0 and together["times_prompts"] > 0
    # Rounding to 8 bits, over two layers.
    assert len(lower) == 2
    assert all(0 < row["logit_error"] < 0.1 and 0 <= row["same_ids"] <= 1 for row in lower)


def test_the_input_side_is_measured(tmp_path):
    result = run("images", "--repeats=1", "--warmup=0", f"--json={tmp_path / 'out.json'}")
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["results"]
    assert all(row["per_cpu_second"] > 0 for row in rows)
    assert [row["name"] for row in rows if "images_per_second" not in row] == [
        "shards from ids that exist"
    ]


def test_a_save_is_measured_with_and_without_checksums(tmp_path):
    flags = ("--megabytes=1", "--repeats=1", "--warmup=0", f"--json={tmp_path / 'out.json'}")
    result = run("checkpoints", *flags)
    assert result.returncode == 0, result.stderr
    first, second, check, among = json.loads((tmp_path / "out.json").read_text())["results"]
    assert 0 < first["checksum_share"] < 1 and "checksum_share" not in second
    assert check["seconds"] > 0
    assert among["stopped_seconds"] > 0 and among["minutes_for_2_percent"] >= 0


@pytest.mark.parametrize(
    "flags, message",
    [
        (["speed"], "unknown suite 'speed'; use one of train, decode, perplexity, tokenize, data"),
        (["data", "--against=jsonl", "--store=s3://b/x"], "reads no store; drop --store"),
        (["data", "--store=/tmp"], "--store=/tmp must be gs://BUCKET/... or s3://"),
        (["data", "--against=hf"], "--against=hf has no data suite; use train or decode"),
        (["train", "--against=torch"], "--against=torch has no train suite; use tokenize"),
        (["train", "--preset=2b"], "--preset=2b is unknown; use one of 100m"),
        (["train", "--heads=7"], "--width=512 must be a multiple of twice --heads=7"),
        (["train", "--json=nowhere/out.json"], "--json=nowhere/out.json: its folder"),
        ([], "expects suite, got nothing"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(flags, message):
    result = run(*flags)
    assert result.returncode == 2
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_a_missing_rival_is_named(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    result = run("train", *TINY, "--against=hf", PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    assert "no torch here" in result.stderr and "pip install 'lvm_jax[hf]'" in result.stderr


def test_a_missing_torch_rival_is_named(tmp_path):
    (tmp_path / "diffusers.py").write_text("raise ImportError('no diffusers here')")
    result = run("tokenize", "--against=torch", PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    assert "no diffusers here" in result.stderr
    assert "pip install 'lvm_jax[diffusers]'" in result.stderr
