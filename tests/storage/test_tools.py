"""The tools on a store, as a user calls them."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmark_suites import data
from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.writer import write_shards
from lvm_jax.storage import paths
from lvm_jax.training import metrics
from lvm_jax.vocabulary import Vocabulary

ROOT = pathlib.Path(__file__).parents[2]


def run(*words):
    """What a tool prints."""
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def shards(store, tmp_path):
    folder = tmp_path / "shards"
    ids = np.arange(16 * 48, dtype=np.uint16).reshape(16, 3, 16) % 61
    write_shards(
        folder,
        (Record(kind="k", source="s", key=str(i), ids=each) for i, each in enumerate(ids)),
        vocabulary=Vocabulary(num_codes=61, num_special=3),
        tokens_per_image=16,
        tokenizer_fingerprint="toy",
        sentences_per_shard=8,
    )
    (store.root / "shards").upload_all(folder)
    return f"{store.root}/shards"


def test_a_training_by_its_command_line(store, shards, tmp_path):
    workdir = f"{store.root}/run"
    command = [
        "tools/train.py",
        f"--config={ROOT}/experiments/debug.py:steps=2",
        f"--config.data.shards={shards}",
        f"--config.data.store_cache={tmp_path}/cache",
        f"--workdir={workdir}",
    ]
    if store.scheme == "s3":  # what it does on a store does not depend on which
        assert "first batch: 8 rows" in run(*command, "--dry_run")
        assert not paths.path(workdir).exists()
    run(*command)
    steps = [line["step"] for line in metrics.read_metrics(workdir) if "train/loss" in line]
    assert steps == [1, 2]


def test_the_loaders_benchmark_reads_from_a_store(store):
    (row,) = data.run(megabytes=1, repeats=1, seconds=0.1, store=f"{store.root}/shards")
    assert row["tokens_per_second"] > 0
    assert row["cold_batch_seconds"] <= row["copied_seconds"]
