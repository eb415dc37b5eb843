"""How close reconstructions are to their originals: PSNR and SSIM, for training and evaluation.

Letters: B images, H and W pixels; h and w the places where a whole window fits.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
# Constants that keep flat windows apart from a division by zero, as published.
_SSIM_MEANS, _SSIM_VARIANCES = 0.01**2, 0.03**2


def psnr(
    images_BHWC: Float[Array, "B H W 3"], decoded_BHWC: Float[Array, "B H W 3"]
) -> Float[Array, " B"]:
    """Peak signal-to-noise ratio of each image in dB; pixels in [0, 1], the decoded ones clipped.

    Identical images give 100 dB.
    """
    difference = jnp.clip(decoded_BHWC, 0.0, 1.0) - images_BHWC
    return -10.0 * jnp.log10(jnp.mean(jnp.square(difference), axis=(1, 2, 3)) + 1e-10)


def ssim(
    images_BHWC: Float[Array, "B H W 3"], decoded_BHWC: Float[Array, "B H W 3"]
) -> Float[Array, " B"]:
    """Structural similarity of each image, at most 1; the decoded pixels are clipped to [0, 1].

    Paper: Wang et al. 2004, with its Gaussian window of 11 pixels (sigma 1.5); the mean over
    channels and over the places where a whole window fits.

    Args:
        images_BHWC, decoded_BHWC: float32; sides of at least `SSIM_WINDOW`.
    """
    height, width = images_BHWC.shape[1:3]
    assert min(height, width) >= SSIM_WINDOW, images_BHWC.shape
    rows_hH, columns_wW = _window(height), _window(width)

    def local_mean(x_BHWC: Array) -> Array:
        # Two small matrix products: XLA's CPU convolutions per channel are much slower.
        half_BhWC = jnp.einsum("hH,BHWC->BhWC", rows_hH, x_BHWC, precision="highest")
        return jnp.einsum("wW,BhWC->BhwC", columns_wW, half_BhWC, precision="highest")

    x, y = images_BHWC, jnp.clip(decoded_BHWC, 0.0, 1.0)
    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x = local_mean(x * x) - mean_x * mean_x
    variance_y = local_mean(y * y) - mean_y * mean_y
    covariance = local_mean(x * y) - mean_x * mean_y
    luminance = (2.0 * mean_x * mean_y + _SSIM_MEANS) / (mean_x**2 + mean_y**2 + _SSIM_MEANS)
    structure = (2.0 * covariance + _SSIM_VARIANCES) / (variance_x + variance_y + _SSIM_VARIANCES)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def _window(length: int) -> np.ndarray:
    """float32 [length - 10, length]: row i averages pixels i..i+10 with the Gaussian's weights."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-0.5 * np.square(offsets / _SSIM_SIGMA))
    weights /= weights.sum()
    matrix = np.zeros((length - SSIM_WINDOW + 1, length), np.float32)
    for row in range(len(matrix)):
        matrix[row, row : row + SSIM_WINDOW] = weights
    return matrix
