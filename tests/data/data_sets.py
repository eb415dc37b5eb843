"""Tiny data sets for the tests of this folder."""

import hashlib
import pathlib

import numpy as np

from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.writer import write_shards
from lvm_jax.vocabulary import Vocabulary

VOCABULARY = Vocabulary(num_codes=61, num_special=3, pad_multiple=8)
TOKENS = 4


def make_records(num_images, tokens_per_image=TOKENS, seed=0):
    """Records with random ids, one for each entry of `num_images`."""
    rng = np.random.default_rng(seed)
    return [
        Record(
            kind=("single", "pairs")[images > 1],
            source=f"source{i % 3}",
            key=f"key{i}",
            ids=rng.integers(0, 61, (images, tokens_per_image), dtype=np.uint16),
        )
        for i, images in enumerate(num_images)
    ]


def make_shards(directory, num_images, tokens_per_image=TOKENS, sentences_per_shard=7, seed=0):
    """Shards of `make_records`."""
    return write_shards(
        directory,
        make_records(num_images, tokens_per_image, seed),
        vocabulary=VOCABULARY,
        tokens_per_image=tokens_per_image,
        tokenizer_fingerprint="f" * 64,
        sentences_per_shard=sentences_per_shard,
    )


class FakeTokenizer:
    """Mean brightness of each quarter as a code: quick, and different for different images."""

    fingerprint = hashlib.sha256(b"fake").hexdigest()
    image_size = 8
    tokens_per_image = 4
    num_codes = 61
    images_per_call = 1

    def __init__(self):
        self.num_encoded = 0
        self.seen = set()

    def encode(self, images):
        images = np.asarray(images)
        assert images.dtype == np.uint8 and images.shape[1:] == (8, 8, 3)
        self.num_encoded += len(images)
        self.seen |= {image.tobytes() for image in images}
        quarters = images.reshape(-1, 2, 4, 2, 4, 3).mean((2, 4, 5)).reshape(-1, 4)
        return (quarters.astype(np.int32) * 7) % 61


class BreakingTokenizer(FakeTokenizer):
    """Fails after some images, as a full accelerator or a Ctrl-C would."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def encode(self, images):
        if self.num_encoded >= self.most:
            raise KeyboardInterrupt
        return super().encode(images)


def snapshot(directory):
    """What is in the files of a directory, by name."""
    return {p.name: p.read_bytes() for p in pathlib.Path(directory).iterdir() if p.is_file()}
