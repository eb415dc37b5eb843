"""A training of two steps on a toy corpus, and what the study says of it."""

import json
import types

import numpy as np
import pytest

from lvm_jax import configs, images
from lvm_jax.data.building import from_sentences
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.sentences import corpora
from lvm_jax.tokenizer import codec
from lvm_jax.training.transformer import transformer_experiment, transformer_job
from tests import toys

ATTRIBUTION = """# Attribution

| package | authors | terms | used for |
|---|---|---|---|
| openmoji 17 (npm) | OpenMoji | CC BY-SA 4.0 | drawings (`emoji_line`), edges of them |
| fluent 1 (npm) | Microsoft | MIT | `emoji_3d`, `emoji_flat`, `emoji_anim`, `emoji_mask` |
| models 1 (apt) | named below | by model | renders (`models`) |
| hed 2 (pip) | Xie and Tu | MIT | annotator of `edges` |

## 3D models

- m: Somebody, CC BY 3.0
- scopia_c1: Scopia, CC0
"""
RUN = "all_xs_c1_seed0"
CONTEXT = 208  # twelve images of 16 ids with BOS and EOS
RESULTS = {
    "kind": "run",
    "run": RUN,
    "config": {"mixture": "all", "steps": 2, "ids": 3328, "flops": 1e9, "peak_lr": 0.01, "seed": 0},
    "held_out": {"loss": 3.4657},
    "evaluations": {
        "emoji_mask": {"perplexity": [12.3, 0.4], "nll": [2.5, 0.03], "prompts": 128},
        "depth": {"perplexity": [21.0, 0.4], "nll": [3.0, 0.03], "prompts": 128},
    },
    "hardware": {"cores": 2, "cpu": "a processor"},
    "seconds": {"training": 5400.0},
}


def sources(root, **folders):
    """Single pictures by name."""
    return {
        name: {"kind": "single", "folder": f"{root}/train/{folder}", "sentences_per_epoch": 40}
        for name, folder in folders.items()
    }


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A toy UVD-mini with as many held-out things as a prompt of five pairs needs."""
    root = toys.write_uvd_mini(tmp_path_factory.mktemp("uvd_mini"))
    rng = np.random.default_rng(1)
    for name in "cdefgh":
        for folder in ("emoji_3d", "emoji_flat", "emoji_mask", "edges/emoji_3d"):
            picture = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            images.write_image(root / "held_out" / folder / f"{name}.png", picture)
    (root / "ATTRIBUTION.md").write_text(ATTRIBUTION)
    return root


@pytest.fixture(scope="session")
def study(corpus, tokenizer, tmp_path_factory):
    """Directories of a run, its tokenizer and its results."""
    out = tmp_path_factory.mktemp("study")
    directory = out / "tokenizer_run" / "tokenizer"
    codec.save_tokenizer(directory, tokenizer.config, tokenizer.params)
    of_tokenizer = {
        "corpus": {"sources": [*sources(corpus, emoji_3d="emoji_3d", color="models").values()]},
        "loop": {"num_steps": 100},
        **{"batch_size": 16, "seed": 0},
    }
    (out / "tokenizer_run" / "config.json").write_text(json.dumps(of_tokenizer))
    shown = sources(corpus, emoji="emoji_3d", edges="edges/emoji_3d", line="emoji_line")
    built = from_sentences.build_shards(
        corpora.build_corpus({"sources": shown}), tokenizer, out / "shards"
    )
    experiment = {
        "batch_size": 8,
        "data": {
            "shards": str(out / "shards"),
            "mixture": {"all": {"sources": ["emoji", "edges"]}},
            "context": CONTEXT,
        },
        "model": {
            **configs.to_dict(PRESETS["debug"]),
            "vocabulary": configs.to_dict(built.vocabulary),
            "context": CONTEXT,
        },
        "mesh": {"data": 8, "fsdp": 1},
        "optimizer": {"peak_lr": 1e-2, "warmup_steps": 1},
        "loop": {"num_steps": 2},
    }
    workdir = out / "runs" / RUN
    built = transformer_experiment.build_experiment(experiment)
    transformer_job.train(built, workdir)
    (out / f"{RUN}.json").write_text(json.dumps(RESULTS))
    return types.SimpleNamespace(
        workdir=workdir, tokenizer=directory, results=out / f"{RUN}.json", corpus=corpus
    )
