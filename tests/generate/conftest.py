"""A tokenizer and a model that fit each other, random and tiny."""

import dataclasses

import numpy as np
import pytest

from lvm_jax.generate.language_model import LanguageModel
from lvm_jax.model import transformer
from lvm_jax.model.config import PRESETS
from lvm_jax.tokenizer import codec, vqgan
from lvm_jax.tokenizer.config import PRESETS as TOKENIZER_PRESETS
from lvm_jax.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def tokenizer():
    """16 ids of 32 codes for a 16-pixel image."""
    config = TOKENIZER_PRESETS["debug"]
    params = vqgan.init_params(config, 0)
    # The initial codes are close together, so ids would hardly vary.
    pixels = np.random.default_rng(1).random((2, 16, 16, 3), np.float32)
    z = vqgan.encode(config, params, pixels)
    params = {**params, "codebook": np.asarray(z).reshape(-1, config.code_dim)}
    return codec.Tokenizer(config, params)


@pytest.fixture(scope="session")
def model(tokenizer):
    """A context of four images."""
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
def pictures():
    """uint8 [6, 16, 16, 3]."""
    return np.random.default_rng(2).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
