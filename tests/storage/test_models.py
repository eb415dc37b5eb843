"""Tokenizers, models and pictures that lie on a store."""

import io

import jax
import numpy as np
import PIL.Image
import pytest

import lvm_jax
from lvm_jax import images, trees
from lvm_jax.tokenizer import codec
from lvm_jax.training import model_directory, stored_params


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


def test_a_model_directory_is_read_where_it_was_written(store):
    directory, array = str(store.root / "model"), np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    shapes = {"layers/w": jax.ShapeDtypeStruct(array.shape, array.dtype)}
    writer = model_directory.Writer(directory, {"model": {}}, shapes)
    with pytest.raises(ValueError, match="would lack"), writer:
        writer.write("layers/w", array[0], layer=0)
    assert not store.root.exists()
    # As if the process had been killed.
    writer = model_directory.Writer(directory, {"model": {}}, shapes)
    writer.__enter__()
    writer.write("layers/w", array + 1)
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        stored_params.find(directory)
    with model_directory.Writer(directory, {"model": {}}, shapes) as writer:
        for layer in (1, 0):
            writer.write("layers/w", array[layer], layer=layer)
    read = trees.flatten(stored_params.find(directory).read())
    np.testing.assert_array_equal(read["layers/w"], array)
    with pytest.raises(ValueError, match="is not empty"):
        model_directory.Writer(directory, {}, shapes)
