"""Pictures in files, and what trainings of the toy model and tokenizer leave on disk."""

import numpy as np
import pytest

from lvm_jax import configs, images
from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.writer import write_shards
from lvm_jax.tokenizer import codec
from lvm_jax.training.checkpoints import Checkpoints
from lvm_jax.training.metrics import MetricsWriter
from lvm_jax.training.workdir import RunIdentity, prepare_workdir


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Three pictures in files."""
    path = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    for number in range(3):
        # Smooth, so that crops differ and edges exist.
        small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        images.write_image(path / f"picture{number}.png", images.resize_crop(small, 48))
    return path


@pytest.fixture(scope="session")
def trained(model, tokenizer, tmp_path_factory):
    """A workdir of the model, a tokenizer directory and shards, as trainings leave them."""
    root = tmp_path_factory.mktemp("trained")
    codec.save_tokenizer(root / "tokenizer", tokenizer.config, tokenizer.params)
    rng = np.random.default_rng(4)
    records = (
        Record(kind="single", source="s", key=str(i), ids=rng.integers(0, 30, (2, 16), np.uint16))
        for i in range(9)
    )
    write_shards(
        root / "shards",
        records,
        vocabulary=model.vocabulary,
        tokens_per_image=16,
        tokenizer_fingerprint=tokenizer.fingerprint,
    )
    resolved = {
        "model": configs.to_dict(model.config),
        "data": {"shards": str(root / "shards")},
        "optimizer": {"peak_lr": 1e-3},
        "tokenizer_fingerprint": tokenizer.fingerprint,
    }
    prepare_workdir(root / "model", RunIdentity(resolved=resolved, fixed=("model",)))
    checkpoints = Checkpoints(root / "model", resolved)
    checkpoints.save(40, {"params": model.params})
    checkpoints.wait(40, {"params": model.params})
    checkpoints.close()
    for name in ("model", "."):  # the tokenizer's metrics lie beside its directory
        writer = MetricsWriter(root / name)
        for step in (20, 40):
            writer.write(step, {"train/loss": 100 / step, "perf/sec_per_step": 0.5})
        writer.close()
    return root
