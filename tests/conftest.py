"""Every test sees eight CPU devices and a compilation cache that outlives the run."""

import dataclasses
import os
import pathlib

from tests import quick_compilation

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# In the environment, so that the tools which tests start have it too, and before jax looks at it.
os.environ["XLA_FLAGS"] = quick_compilation.added_to(os.environ.get("XLA_FLAGS", ""))

import jax
import numpy as np
import pytest

from tests import shapes

shapes.hold()
jax.config.update("jax_num_cpu_devices", 8)
# A broadcast that nobody wrote down is a bug here.
jax.config.update("jax_numpy_rank_promotion", "raise")
CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(
    pathlib.Path(__file__).resolve().parents[1] / ".jax_cache"
)
# Through the environment too, so that the tools which tests start share it.
os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def write_toy_shards():
    """write_toy_shards(directory, seed=0): see `toys.write_shards`."""
    from tests import toys

    return toys.write_shards


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory):
    """Two epochs of classes, blurred pairs and single ones of seven pictures, 24 pixels by 16."""
    from lvm_jax import images
    from lvm_jax.sentences import corpora

    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, size in {"cat": 5, "dog": 2}.items():
        for number in range(size):
            picture = rng.integers(0, 200, (16, 24, 3), dtype=np.uint8)
            images.write_image(root / name / f"{number}.png", picture)
    sources = {
        "classes": {"kind": "category", "folder": str(root), "group_size": 4},
        "blurred": {"kind": "blur", "folder": str(root), "pairs_per_sentence": 3},
        "plain": {"kind": "single", "folder": str(root), "sentences_per_epoch": 3000},
    }
    return corpora.build_corpus({"sources": sources, "epochs": 2})


@pytest.fixture(scope="session")
def tokenizer():
    """16 ids of 32 codes for a 16-pixel image; random."""
    from lvm_jax.tokenizer import codec, vqgan
    from lvm_jax.tokenizer.vqgan_config import PRESETS

    config = PRESETS["debug"]
    params = vqgan.init_params(config, 0)
    # The initial codes are close together, so ids would hardly vary.
    pixels = np.random.default_rng(1).random((2, 16, 16, 3), np.float32)
    z = vqgan.encode(config, params, pixels)
    params = {**params, "codebook": np.asarray(z).reshape(-1, config.code_dim)}
    return codec.Tokenizer(config, params)


@pytest.fixture(scope="session")
def model(tokenizer):
    """Fits `tokenizer`, with a context of four images: one pair, query and answer; random."""
    from lvm_jax.generation.language_model import LanguageModel
    from lvm_jax.model import transformer
    from lvm_jax.model.transformer_config import PRESETS
    from lvm_jax.vocabulary import Vocabulary

    config = dataclasses.replace(
        PRESETS["debug"],
        vocabulary=Vocabulary(num_codes=32, num_special=3, pad_multiple=16),
        init_scale=0.2,
    )
    return LanguageModel(
        config=config,
        params=transformer.init_params(config, 0),
        tokenizer_fingerprint=tokenizer.fingerprint,
    )


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory):
    """Random weights of FID's Inception v3, as a safetensors file under their names in torch."""
    from lvm_jax import trees
    from tests.measures.goldens import make_inception

    path = tmp_path_factory.mktemp("inception") / "weights.safetensors"
    trees.save_safetensors(path, make_inception.draw_weights())
    return path
