"""How close one image is to another: squared error, PSNR and SSIM.

`mse`, `decibels` and `psnr` take jax arrays, inside a program too, and answer in float32; or numpy
arrays and answer in float64, because differences of nearly equal images lose their last digits in
float32.

Letters: B images, H and W pixels; h and w the places where a whole window fits.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
# Constants that keep flat windows apart from a division by zero, as published.
_SSIM_MEANS, _SSIM_VARIANCES = 0.01**2, 0.03**2
_LEAST_ERROR = 1e-10  # 100 dB


def mse(images: Array | np.ndarray, others: Array | np.ndarray) -> Any:
    """Mean squared error of each pair of images, over pixels and channels.

    Args:
        images: floats in [0, 1] or uint8 in [0, 255], [..., H, W, 3].
        others: the same, of a shape that broadcasts to it.

    Returns:
        [...], in squared [0, 1] units: 0 is equal, 1 is black against white.

    Raises:
        ValueError: shapes that do not go together.
    """
    x, y = _unit(images), _unit(others)
    if x.shape[-3:] != y.shape[-3:]:
        raise ValueError(f"cannot compare images of shapes {x.shape} and {y.shape}")
    difference = x - y
    return (difference * difference).mean(axis=(-3, -2, -1))


def _unit(images: Array | np.ndarray) -> Array | np.ndarray:
    unit = images / 255.0 if images.dtype == np.uint8 else images
    return unit if isinstance(unit, jax.Array) else np.asarray(unit, np.float64)


def decibels(mean_squared_error: Any) -> Any:
    """The peak signal-to-noise ratio of images in [0, 1] with that error; at most 100 dB.

    So equal images count 100 dB, in means too.
    """
    library = jnp if isinstance(mean_squared_error, jax.Array) else np
    return -10.0 * library.log10(library.maximum(mean_squared_error, _LEAST_ERROR))


def psnr(images: Array | np.ndarray, others: Array | np.ndarray) -> Any:
    """Peak signal-to-noise ratio of each pair of images in dB, see `mse` and `decibels`."""
    return decibels(mse(images, others))


def ssim(
    images_BHWC: Float[Array | np.ndarray, "B H W 3"],
    others_BHWC: Float[Array | np.ndarray, "B H W 3"],
) -> Float[Array, " B"]:
    """Structural similarity of each pair of images: 1 for equal ones.

    Paper: Wang et al. 2004, with its Gaussian window of 11 pixels (sigma 1.5); the mean over
    channels and over the places where a whole window fits.

    Args:
        images_BHWC, others_BHWC: float32 in [0, 1]; sides of at least `SSIM_WINDOW`.

    Raises:
        ValueError: images smaller than the window.
    """
    return jnp.mean(_similarity(images_BHWC, others_BHWC), axis=(1, 2, 3))


def ssim_map(
    images_BHWC: Float[Array | np.ndarray, "B H W 3"],
    others_BHWC: Float[Array | np.ndarray, "B H W 3"],
) -> Float[Array, "B h w"]:
    """`ssim` before its mean over the places: the first one is centred on pixel (5, 5)."""
    return jnp.mean(_similarity(images_BHWC, others_BHWC), axis=3)


def _similarity(
    images_BHWC: Array | np.ndarray, others_BHWC: Array | np.ndarray
) -> Float[Array, "B h w 3"]:
    height, width = images_BHWC.shape[1:3]
    if min(height, width) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of {SSIM_WINDOW} pixels, not {images_BHWC.shape}")
    rows_hH, columns_wW = _window(height), _window(width)

    def local_mean(x_BHWC: Array | np.ndarray) -> Array:
        # Two small matrix products: XLA's CPU convolutions per channel are much slower.
        half_BhWC = jnp.einsum("hH,BHWC->BhWC", rows_hH, x_BHWC, precision="highest")
        return jnp.einsum("wW,BhWC->BhwC", columns_wW, half_BhWC, precision="highest")

    x, y = images_BHWC, others_BHWC
    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x = local_mean(x * x) - mean_x * mean_x
    variance_y = local_mean(y * y) - mean_y * mean_y
    covariance = local_mean(x * y) - mean_x * mean_y
    luminance = (2.0 * mean_x * mean_y + _SSIM_MEANS) / (mean_x**2 + mean_y**2 + _SSIM_MEANS)
    structure = (2.0 * covariance + _SSIM_VARIANCES) / (variance_x + variance_y + _SSIM_VARIANCES)
    return luminance * structure


def _window(length: int) -> np.ndarray:
    """float32 [length - 10, length]: row i averages pixels i..i+10 with the Gaussian's weights."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-0.5 * np.square(offsets / _SSIM_SIGMA))
    weights /= weights.sum()
    matrix = np.zeros((length - SSIM_WINDOW + 1, length), np.float32)
    for row in range(len(matrix)):
        matrix[row, row : row + SSIM_WINDOW] = weights
    return matrix
