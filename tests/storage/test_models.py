"""Tokenizers, models and pictures that lie on a store."""

import io

import numpy as np
import PIL.Image

import lvm_jax
from lvm_jax import images
from lvm_jax.tokenizer import codec


def test_a_tokenizer_is_read_where_it_was_written(store, tokenizer):
    folder = str(store.root / "tokenizer")
    codec.save_tokenizer(folder, tokenizer.config, tokenizer.params)
    loaded = lvm_jax.load_tokenizer(folder)
    assert loaded.fingerprint == tokenizer.fingerprint


def test_pictures_are_written_whole(store):
    picture = np.full((4, 6, 3), 7, np.uint8)
    images.write_image(store.root / "inner" / "picture.png", picture)
    data = (store.root / "inner" / "picture.png").read_bytes()
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(data))), picture)
