"""What a tokenizer keeps of images: numbers that other modules give one by one."""

import jax
import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.measures import fidelity, perceptual
from lvm_jax.measures.perceptual import PerceptualConfig
from lvm_jax.tokenizer import measuring

NETWORK = PerceptualConfig(network="vgg16_hed", stages=1)


@pytest.fixture(scope="module")
def originals():
    return np.random.default_rng(0).integers(0, 256, (35, 16, 16, 3), dtype=np.uint8)


def test_numbers_are_those_of_each_image(tokenizer, originals):
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.standard_normal(leaf.shape, np.float32)
    params = jax.tree.map(draw, perceptual.abstract_params(NETWORK))
    measured = measuring.measure(
        measuring.with_tokenizer(tokenizer, NETWORK, params),
        measuring.in_batches(originals, 32),  # more than a batch, and no multiple of one
        tokenizer.num_codes,
        num_shown=34,
    )
    ids = tokenizer.encode(originals)
    decoded = images.to_uint8(tokenizer.decode(ids))
    np.testing.assert_array_equal(measured.originals, originals[:34])
    np.testing.assert_array_equal(measured.decoded, decoded[:34])
    unit = (originals / np.float32(255), decoded / np.float32(255))
    np.testing.assert_array_equal(measured.numbers["psnr"], fidelity.psnr(originals, decoded))
    np.testing.assert_allclose(measured.numbers["ssim"], fidelity.ssim(*unit), rtol=1e-5)
    distance = perceptual.distance(NETWORK, params, *unit)
    np.testing.assert_allclose(measured.numbers["perceptual"], distance, rtol=1e-4)
    assert measured.usage == len(np.unique(ids)) / tokenizer.num_codes
    summary = measured.summary()
    assert summary["psnr"] == measured.numbers["psnr"].mean()
    assert list(summary) == ["psnr", "ssim", "perceptual", "codebook_usage", "codebook_perplexity"]


def test_what_cannot_be_measured_is_left_out(tokenizer, originals):
    measured = measuring.measure(
        measuring.with_tokenizer(tokenizer), [originals[:1]], tokenizer.num_codes
    )
    assert set(measured.numbers) == {"psnr", "ssim"} and len(measured.originals) == 0
    small = np.zeros((1, 8, 8, 3), np.float32)
    assert measuring.similarities(small, small) == {}
