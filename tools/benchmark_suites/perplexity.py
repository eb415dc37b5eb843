"""Evaluation's speed: the likelihood of targets after prompts, beside training's forward pass."""

from typing import Any

import jax
import numpy as np

from benchmark_suites import timing
from lvm_jax.evaluation.metrics.perplexity import target_nll
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.training.transformer.batch import random_batch
from lvm_jax.training.transformer.loss import loss_sums


def run(
    config: TransformerConfig, *, batch_size: int, num_targets: int, warmup: int, repeats: int
) -> list[dict[str, Any]]:
    """Measures rows of the whole context.

    Args:
        config: the model.
        batch_size: rows.
        num_targets: ids at the end of each row that are scored.
        warmup: calls before the measurement; at least one compiles.
        repeats: calls measured.

    Returns:
        A row each for the evaluation and for the loss of the same rows, as training computes it
        (over all their ids); see `timing.rows`. Tokens are those read.
    """
    params = jax.jit(lambda seed: transformer.init_params(config, seed))(0)
    model = LanguageModel(config=config, params=params)
    batch = random_batch(config.vocabulary.num_codes, batch_size, config.context, packed=False)
    ids_BS = np.concatenate([batch["inputs"], batch["targets"][:, -1:]], axis=1)
    prompts, targets = ids_BS[:, :-num_targets], ids_BS[:, -num_targets:]
    loss = jax.jit(lambda params, batch: loss_sums(config, params, batch)[1]["loss"])
    cases = {
        "perplexity": lambda: target_nll(model, prompts, targets, batch_size=batch_size),
        "training's forward pass": lambda: loss(params, batch).block_until_ready(),
    }
    times = timing.interleave(cases, warmup=max(warmup, 1), repeats=repeats)
    return timing.rows(times, batch_size * config.context, reference="training's forward pass")
