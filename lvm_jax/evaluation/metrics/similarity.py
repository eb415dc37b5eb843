"""How alike two pictures are, everywhere or inside a mask.

The squared error, PSNR and SSIM are those of `measures.fidelity`.

Legend: S side in pixels.
"""

from collections.abc import Mapping

import numpy as np

from lvm_jax import images
from lvm_jax.measures import fidelity

_MARGIN = fidelity.SSIM_WINDOW // 2


def everywhere(picture: np.ndarray, truth: np.ndarray) -> Mapping[str, float]:
    """Of whole pictures, uint8 [S, S, 3].

    Returns:
        "mse" in [0, 1] units, "psnr" in dB, at most 100, and "ssim" in [-1, 1]; that is nan for
        pictures smaller than its window of 11 pixels.
    """
    error = float(fidelity.mse(picture, truth))
    similarity = _ssim_map(picture, truth)
    return {"mse": error, "psnr": float(fidelity.decibels(error)), "ssim": _mean(similarity)}


def inside(picture: np.ndarray, truth: np.ndarray, mask_SS: np.ndarray) -> Mapping[str, float]:
    """Of the pixels of a mask; the windows of SSIM, which see around them, are centred there.

    Args:
        picture, truth: uint8 [S, S, 3].
        mask_SS: bool.

    Returns:
        "mse", "psnr" and "ssim"; nan for a mask without pixels, and the last one without pixels
        that have a whole window around them.
    """
    nan = float("nan")
    error, decibels = nan, nan
    if mask_SS.any():
        # Pixels in a row are a picture of their own to what averages over all of them.
        error = float(fidelity.mse(picture[mask_SS][None], truth[mask_SS][None]))
        decibels = float(fidelity.decibels(error))
    similarity = _ssim_map(picture, truth)
    middle = mask_SS[_MARGIN : len(mask_SS) - _MARGIN, _MARGIN : len(mask_SS) - _MARGIN]
    return {
        "mse": error,
        "psnr": decibels,
        "ssim": _mean(similarity[middle] if similarity.size else similarity),
    }


def _ssim_map(picture: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float32 [S - 10, S - 10]; empty for small pictures."""
    if min(picture.shape[:2]) < fidelity.SSIM_WINDOW:
        return np.zeros((0, 0), np.float32)
    pair = (images.to_float(image)[None] for image in (picture, truth))
    return np.asarray(fidelity.ssim_map(*pair))[0]


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
