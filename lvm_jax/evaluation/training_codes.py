"""How often a model's training data use each code."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.feeding import selection
from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.data.shards.reader import Shards
from lvm_jax.measures import codes

# Enough sentences for the frequencies of codes; a corpus may have billions.
MOST_COUNTED = 20_000


def count(resolved: Mapping[str, Any], num_codes: int, shards: str = "") -> np.ndarray:
    """How often each code occurs in what a training reads of its shards.

    Args:
        resolved: the config of the model's workdir.
        num_codes: of the model.
        shards: a directory to count whole instead of those that the config names.

    Returns:
        int64 [num_codes].

    Raises:
        ConfigError: no shards are named, or they have another codebook.
        ValueError: shards that cannot be read.
    """
    data = {"shards": shards} if shards else resolved.get("data", {})
    if not data:
        raise ConfigError(
            Field("shards"), " is not set and the model's config names no shards; set it"
        )
    # In runs of earlier versions; it says nothing about the shards.
    data = {key: value for key, value in data.items() if key != "accept_changed"}
    config = configs.build_stored(DataConfig, data, "the model's config.data")
    total_K = np.zeros(num_codes, np.int64)
    for source in config.mixture or (None,):
        opened = Shards(source.shards if source and source.shards else config.shards)
        if opened.vocabulary.num_codes != num_codes:
            raise ConfigError(
                f"shards {opened.directory} have {opened.vocabulary.num_codes} codes and the model "
                f"{num_codes}; set ",
                Field("shards"),
                " to the model's training data",
            )
        taken = selection.select(opened, selection.of_source(source, config.split))
        total_K += _count(opened, taken)
    return total_K


def _count(shards: Shards, taken: np.ndarray | None) -> np.ndarray:
    """Codes of some sentences, or of all; of a part of them where there are very many."""
    number = len(shards) if taken is None else len(taken)
    chosen = np.unique(np.linspace(0, number - 1, min(number, MOST_COUNTED)).astype(int))
    chosen = chosen if taken is None else taken[chosen]
    num_codes = shards.vocabulary.num_codes
    total_K = np.zeros(num_codes, np.int64)
    for group in np.array_split(chosen, max(1, len(chosen) // 512)):
        ids = np.concatenate([ids.ravel() for ids in shards.read(group)])
        total_K += codes.histogram(ids, num_codes)
    return total_K
