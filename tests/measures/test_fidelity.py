"""Squared error, PSNR and SSIM against values worked out by hand and against scikit-image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.metrics

from lvm_jax.measures import fidelity


def test_black_against_white_is_one():
    black, white = np.zeros((2, 4, 4, 3)), np.full((4, 4, 3), 255, np.uint8)
    np.testing.assert_array_equal(fidelity.mse(black, white), [1.0, 1.0])


def test_bytes_and_floats_mean_the_same():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    np.testing.assert_allclose(fidelity.mse(pixels, pixels / 255.0), 0.0, atol=1e-30)


def test_one_level_apart_everywhere_is_48_db():
    a = np.full((4, 4, 3), 100, np.uint8)
    error = fidelity.mse(a, a + 1)
    assert error == pytest.approx(1 / 255**2)
    # 20 * log10(255), the best that 8 bits can tell from equal.
    assert fidelity.psnr(a, a + 1) == pytest.approx(48.1308, abs=1e-4)
    assert fidelity.decibels(error) == fidelity.psnr(a, a + 1)


def test_equal_images_are_100_db():
    a = np.random.default_rng(0).random((2, 4, 4, 3))
    np.testing.assert_allclose(fidelity.psnr(a, a), [100.0, 100.0])
    np.testing.assert_allclose(fidelity.psnr(jnp.asarray(a), jnp.asarray(a)), 100.0)


def test_programs_and_files_measure_the_same():
    """float32 inside a program, float64 on the host."""
    a, b = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4, 3), dtype=np.uint8)
    inside = jax.jit(fidelity.psnr)(a / np.float32(255), b / np.float32(255))
    outside = fidelity.psnr(a, b)
    assert inside.dtype == np.float32 and outside.dtype == np.float64
    np.testing.assert_allclose(inside, outside, rtol=1e-6)


def test_candidates_are_compared_with_their_own_truth():
    truth = np.random.default_rng(1).random((3, 4, 4, 3))
    candidates = np.stack([truth, truth + 0.1], axis=1)
    errors = fidelity.mse(candidates, truth[:, None])
    np.testing.assert_allclose(errors, [[0, 0.01]] * 3, atol=1e-12)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"\(4, 4, 3\) and \(8, 8, 3\)"):
        fidelity.mse(np.zeros((4, 4, 3)), np.zeros((8, 8, 3)))


def test_ssim_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    truth = rng.random((2, 13, 17, 3), np.float32)
    images = np.clip(truth + 0.2 * rng.standard_normal((2, 13, 17, 3), np.float32), 0, 1)
    expected = [
        skimage.metrics.structural_similarity(
            b,
            a,
            channel_axis=-1,
            data_range=1.0,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        for a, b in zip(images, truth)
    ]
    np.testing.assert_allclose(fidelity.ssim(images, truth), expected, atol=1e-5)
    np.testing.assert_allclose(fidelity.ssim(truth, truth), 1.0, atol=1e-6)
    with pytest.raises(ValueError, match="SSIM needs images of 11 pixels"):
        fidelity.ssim(truth[:, :8], truth[:, :8])
