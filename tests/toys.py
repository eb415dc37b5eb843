"""Small inputs that tests and the fault campaign train on."""

import pathlib

import numpy as np

from lvm_jax import images
from lvm_jax.data.records import Record
from lvm_jax.data.shards_writer import ShardsWriter
from lvm_jax.model.config import PRESETS


def write_shards(directory: pathlib.Path, seed: int = 0, num_sentences: int = 40) -> str:
    """Sentences of one to three images of random codes.

    Four ids to an image, in the vocabulary of the "debug" transformer; returns the directory.
    """
    vocabulary = PRESETS["debug"].vocabulary
    rng = np.random.default_rng(seed)
    writer = ShardsWriter(
        directory,
        build_key=f"toy {seed}",
        vocabulary=vocabulary,
        tokens_per_image=4,
        tokenizer_fingerprint="toy",
    )
    sentences = []
    for index in range(num_sentences):
        ids = rng.integers(0, vocabulary.num_codes, (rng.integers(1, 4), 4), dtype=np.uint16)
        sentences.append(Record(kind="toy", source="random", key=str(index), ids=ids))
    writer.write_shard(0, sentences)
    writer.finish(1)
    return str(directory)


def write_pictures(folder: pathlib.Path, number: int = 3) -> str:
    """Coarse random pictures, 50 pixels by 40; returns the folder."""
    rng = np.random.default_rng(0)
    for index in range(number):
        small = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        images.write_image(folder / f"{index}.png", small.repeat(10, axis=0).repeat(10, axis=1))
    return str(folder)
