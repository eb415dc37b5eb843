"""Annotations computed from a picture: gray, holes, edges.

Every derivation is a pure function: uint8 [H, W, 3] and parameters in, a new uint8 [H, W, 3] out.
Legend: H height, W width in pixels; G cells per side of a patch mask.
"""

import math

import numpy as np
import skimage.filters

from lvm_jax.draws import Draws, shuffled
from lvm_jax.pictures.derivations import derivation

HOLES = ("square", "patches")


@derivation
def gray(image: np.ndarray) -> np.ndarray:
    """The luma of a picture (ITU-R BT.601) in all three channels."""
    # Whole numbers: the same bytes on every machine.
    luma_HW = (image.astype(np.uint32) @ np.array([299, 587, 114], np.uint32) + 500) // 1000
    return np.repeat(luma_HW.astype(np.uint8)[..., None], 3, axis=2)


@derivation
def inpaint_hole(
    image: np.ndarray, *, seed: int, mask_ratio: float, hole: str = "square", grid: int = 16
) -> np.ndarray:
    """A picture with a black part, to be filled in.

    Args:
        image: uint8 [H, W, 3].
        seed: chooses the place of the hole.
        mask_ratio: share of the pixels that become black, in (0, 1).
        hole: "square", one square hole (as near a square as the picture allows), or "patches",
            cells of a grid chosen at random.
        grid: G, cells per side for "patches"; the share is then exact to one cell.

    Returns:
        uint8 [H, W, 3].
    """
    mask_HW = _MASKS[hole](image.shape[0], image.shape[1], seed, mask_ratio, grid)
    return np.where(mask_HW[..., None], np.uint8(0), image)


def _square_mask(height: int, width: int, seed: int, ratio: float, grid: int) -> np.ndarray:
    del grid
    area = ratio * height * width
    # The side that is exact when the other one is rounded comes last, which keeps the share true.
    rows = min(height, max(1, round(math.sqrt(area))))
    rows = max(rows, math.ceil(area / width))
    columns = min(width, max(1, round(area / rows)))
    draws = Draws("inpaint_hole", seed)
    top = draws.integer(height - rows + 1)
    left = draws.integer(width - columns + 1)
    mask_HW = np.zeros((height, width), bool)
    mask_HW[top : top + rows, left : left + columns] = True
    return mask_HW


def _patch_mask(height: int, width: int, seed: int, ratio: float, grid: int) -> np.ndarray:
    chosen = shuffled(grid * grid, "inpaint_patches", seed)[: max(1, round(ratio * grid * grid))]
    mask_GG = np.zeros(grid * grid, bool)
    mask_GG[chosen] = True
    rows = np.arange(height) * grid // height
    columns = np.arange(width) * grid // width
    return mask_GG.reshape(grid, grid)[rows[:, None], columns]


_MASKS = {"square": _square_mask, "patches": _patch_mask}


@derivation
def edges(image: np.ndarray, *, sigma: float = 1.0, gain: float = 4.0) -> np.ndarray:
    """White contours on black: the Sobel magnitude of the smoothed luma.

    Args:
        image: uint8 [H, W, 3].
        sigma: Gaussian smoothing beforehand, in pixels.
        gain: factor on the magnitude, which is clipped to [0, 1]; fixed rather than fitted to each
            picture, so that a flat picture has no edges.

    Returns:
        uint8 [H, W, 3].
    """
    luma_HW = gray(image)[..., 0].astype(np.float64) / 255
    strength_HW = skimage.filters.sobel(skimage.filters.gaussian(luma_HW, sigma)) * gain
    edges_HW = np.rint(np.clip(strength_HW, 0, 1) * 255).astype(np.uint8)
    return np.repeat(edges_HW[..., None], 3, axis=2)
