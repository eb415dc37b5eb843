"""How far one image is from another: mean squared error, PSNR and SSIM, in [0, 1] units.

Legend: B images, H height, W width.
"""

import jax
import numpy as np

from lvm_jax.measures import fidelity


def mse(images: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean squared error per image, over pixels and channels.

    Args:
        images: float [0, 1] or uint8 [0, 255], [..., H, W, 3].
        truth: the same, of a shape that broadcasts to it.

    Returns:
        float64 [...], in squared [0, 1] units: 0 is equal, 1 is black against white.

    Raises:
        ValueError: shapes that do not go together.
    """
    a, b = _unit(images), _unit(truth)
    if a.shape[-3:] != b.shape[-3:]:
        raise ValueError(f"cannot compare images of shapes {a.shape} and {b.shape}")
    return np.mean(np.square(a - b), axis=(-3, -2, -1))


def psnr(mean_squared_error: np.ndarray | float) -> np.ndarray:
    """Peak signal-to-noise ratio of [0, 1] images in dB; infinite for equal images."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(np.asarray(mean_squared_error, np.float64))


def ssim(images: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Structural similarity per image (`fidelity.ssim`): 1 for equal images.

    Args:
        images: float [0, 1] or uint8 [0, 255], [..., H, W, 3]; H and W at least 11.
        truth: the same, of a shape that broadcasts to it.

    Returns:
        float32 [...].

    Raises:
        ValueError: shapes that do not go together, or images smaller than the window.
    """
    a, b = _unit(images), _unit(truth)
    if a.shape[-3:] != b.shape[-3:]:
        raise ValueError(f"cannot compare images of shapes {a.shape} and {b.shape}")
    if min(a.shape[-3:-1]) < fidelity.SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of {fidelity.SSIM_WINDOW} pixels, not {a.shape}")
    a, b = np.broadcast_arrays(a, b)
    flat = lambda x: x.reshape(-1, *x.shape[-3:]).astype(np.float32)
    return np.asarray(_ssim(flat(b), flat(a))).reshape(a.shape[:-3])


_ssim = jax.jit(fidelity.ssim)


def _unit(images: np.ndarray) -> np.ndarray:
    array = np.asarray(images)
    # float64: differences of nearly equal images would otherwise lose their last digits.
    return array / 255.0 if array.dtype == np.uint8 else array.astype(np.float64)
