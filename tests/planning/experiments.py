"""A small experiment to plan."""

from typing import Any

from lvm_jax.training.transformer import transformer_experiment
from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment


def small(**changes: Any) -> TransformerExperiment:
    """The debug preset, 16 rows of 64 ids; its data do not exist.

    Args:
        **changes: sections and fields that are laid over it.
    """
    values = {
        "batch_size": 16,
        "data": {"shards": "nowhere", "context": 64},
        "model": {"preset": "debug"},
        "mesh": {"data": 2, "fsdp": 4},
        "loop": {"num_steps": "1 epoch"},
    }
    return transformer_experiment.build_experiment({**values, **changes})
