"""Keypoints drawn as blobs of known colors: where they are, and how many are in the right place.

Source: PCK, the share of correct keypoints, of Yang & Ramanan 2013: those within alpha times the
longer side of the thing from where they should be.

Legend: H height, W width in pixels; K keypoints, N colors.
"""

import numpy as np
import skimage.measure

from lvm_jax.pictures import palette

# A blurred blob keeps this much of its color in the middle, of 255.
MOST_AWAY = 96.0


def locate(
    picture: np.ndarray,
    colors_K3: np.ndarray,
    others_N3: np.ndarray,
) -> np.ndarray:
    """The middle of the largest blob of each color.

    Args:
        picture: uint8 [H, W, 3].
        colors_K3: uint8, one for every keypoint.
        others_N3: uint8, what else is drawn, such as limbs and the background: a pixel belongs to
            whichever color is nearest to its own; farther than MOST_AWAY (Euclidean, in 0..255)
            from all of them, to none.

    Returns:
        float64 [K, 2], x and y in pixels, of which the first one's centre is (0.5, 0.5); nan where
        there is no such blob.
    """
    table = np.concatenate([colors_K3, others_N3]).astype(np.uint8)
    nearest_HW = palette.nearest(picture, table)
    away_HW = np.linalg.norm(picture.astype(float) - table[nearest_HW].astype(float), axis=-1)
    points_K2 = np.full((len(colors_K3), 2), np.nan)
    for number in range(len(colors_K3)):
        parts_HW = skimage.measure.label(
            (nearest_HW == number) & (away_HW <= MOST_AWAY), connectivity=2
        )
        sizes = np.bincount(parts_HW.ravel())[1:]
        if sizes.size:
            rows, columns = np.nonzero(parts_HW == 1 + int(np.argmax(sizes)))
            points_K2[number] = columns.mean() + 0.5, rows.mean() + 0.5
    return points_K2


def pck(points_K2: np.ndarray, truth_K2: np.ndarray, tolerance: float) -> float:
    """The share of the true keypoints that were found in their place.

    Args:
        points_K2: x and y in pixels; nan for one that was not found, which counts as wrong.
        truth_K2: the same; nan for one that is not there, which does not count.
        tolerance: greatest distance in pixels.

    Returns:
        A share in [0, 1]; nan if no keypoint counts.
    """
    counted_K = ~np.isnan(truth_K2).any(-1)
    if not counted_K.any():
        return float("nan")
    # Comparing with nan is false: what was not found is wrong.
    away_K = np.linalg.norm(points_K2[counted_K] - truth_K2[counted_K], axis=-1)
    return float((away_K <= tolerance).mean())


def extent(truth_K2: np.ndarray) -> float:
    """The longer side of the box around the true keypoints, in pixels; nan if there is none."""
    counted = truth_K2[~np.isnan(truth_K2).any(-1)]
    return float((counted.max(0) - counted.min(0)).max()) if len(counted) else float("nan")
