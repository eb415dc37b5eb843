"""The codes of what a model was trained on."""

import json

import numpy as np
import pytest

from lvm_jax.data.shards.reader import Shards
from lvm_jax.evaluation import training_codes


def test_they_are_those_of_the_shards_that_the_config_names(trained):
    resolved = json.loads((trained / "model" / "config.json").read_text())
    counts = training_codes.count(resolved, num_codes=32)
    shards = Shards(trained / "shards")
    every = np.concatenate([ids.ravel() for ids in shards.read(np.arange(9))])
    np.testing.assert_array_equal(counts, np.bincount(every, minlength=32))
    again = training_codes.count({}, num_codes=32, shards=str(trained / "shards"))
    np.testing.assert_array_equal(again, counts)


def test_what_cannot_be_counted_is_named(trained):
    with pytest.raises(ValueError, match="shards is not set and the model's config names no"):
        training_codes.count({}, num_codes=32)
    with pytest.raises(ValueError, match="32 codes and the model 16; set shards to"):
        training_codes.count({}, num_codes=16, shards=str(trained / "shards"))
