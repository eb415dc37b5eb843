"""Tokenizers side by side: numbers that other modules give one by one, and a picture of rows."""

import jax
import numpy as np

from lvm_jax import images, sheets
from lvm_jax.evaluation import comparison
from lvm_jax.measures import image_metrics, perceptual
from lvm_jax.measures.perceptual import PerceptualConfig

NETWORK = PerceptualConfig(network="vgg16_hed", stages=1)


def test_numbers_are_means_over_all_images(tokenizer):
    rng = np.random.default_rng(0)
    # More than a batch, and no multiple of one.
    originals = rng.integers(0, 256, (35, 16, 16, 3), dtype=np.uint8)
    draw = lambda leaf: rng.standard_normal(leaf.shape, np.float32)
    params = jax.tree.map(draw, perceptual.abstract_params(NETWORK))
    found, decoded = comparison.measure(tokenizer, originals, NETWORK, params)
    ids = tokenizer.encode(originals)
    np.testing.assert_array_equal(decoded, images.to_uint8(tokenizer.decode(ids)))
    psnr = image_metrics.psnr(image_metrics.mse(decoded, originals))
    np.testing.assert_allclose(found["psnr"], psnr.mean())
    np.testing.assert_allclose(
        found["ssim"], image_metrics.ssim(decoded, originals).mean(), rtol=1e-6
    )
    distance = perceptual.distance(NETWORK, params, originals / np.float32(255), decoded / 255)
    np.testing.assert_allclose(found["perceptual"], distance.mean(), rtol=1e-4)
    assert found["codebook_usage"] == len(np.unique(ids)) / tokenizer.num_codes


def test_a_picture_has_a_labelled_row_for_each():
    rows = {"originals": np.zeros((3, 8, 8, 3), np.uint8), "a": np.full((3, 8, 8, 3), 9, np.uint8)}
    found = comparison.picture(rows, scale=2)
    row = sheets.grid([[np.zeros((16, 16, 3), np.uint8)] * 3])
    height = found.shape[0] // 2
    assert found.shape == (2 * height, *row.shape[1:]) and height > row.shape[0]
    # Labels are written above the rows, not on them.
    np.testing.assert_array_equal(found[height - row.shape[0] : height], row)
    assert found[: height - row.shape[0]].min() < 128
