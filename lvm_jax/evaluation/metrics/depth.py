"""Depth: how far an answer's depths are from the true ones.

Source: Eigen et al. 2014 report these numbers, and those after them do. AbsRel and the shares delta
need no unit; RMSE has that of the depths.

Legend: H height, W width in pixels; P pixels that count.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

Alignment = Literal["none", "median", "scale", "scale_shift"]
_DELTA = 1.25
# An aligned depth at or behind the camera counts as this share of the smallest true one.
_LEAST = 1e-3


def errors(
    depth_HW: np.ndarray,
    truth_HW: np.ndarray,
    counted_HW: np.ndarray,
    alignment: Alignment = "none",
) -> Mapping[str, float]:
    """What depth maps are usually compared by, over the pixels that count.

    Args:
        depth_HW: floats, positive where they count.
        truth_HW: floats of the same unit, positive where they count.
        counted_HW: bool, where the truth is known; nothing else is looked at.
        alignment: see `aligned`.

    Returns:
        "abs_rel" mean of |d - t| / t; "rmse" in the depths' unit; "log10" mean of
        |log10 d - log10 t|; "delta1", "delta2", "delta3" shares of pixels whose ratio to the truth,
        whichever way round is greater than 1, is less than 1.25, 1.25^2 and 1.25^3. All nan if no
        pixel counts.

    Raises:
        ValueError: a depth that counts is not positive.
    """
    depth_P, truth_P = (np.asarray(d, np.float64)[counted_HW] for d in (depth_HW, truth_HW))
    if not truth_P.size:
        return dict.fromkeys(("abs_rel", "rmse", "log10", "delta1", "delta2", "delta3"), np.nan)
    if not (truth_P > 0).all() or not (depth_P > 0).all():
        raise ValueError("depths that count must be positive; leave out others by counted_HW")
    depth_P = aligned(depth_P, truth_P, alignment)
    ratio_P = np.maximum(depth_P / truth_P, truth_P / depth_P)
    return {
        "abs_rel": float((np.abs(depth_P - truth_P) / truth_P).mean()),
        "rmse": float(np.sqrt(np.square(depth_P - truth_P).mean())),
        "log10": float(np.abs(np.log10(depth_P) - np.log10(truth_P)).mean()),
        **{f"delta{n}": float((ratio_P < _DELTA**n).mean()) for n in (1, 2, 3)},
    }


def aligned(depth_P: np.ndarray, truth_P: np.ndarray, alignment: Alignment) -> np.ndarray:
    """Depths brought to the scale of the truth, for answers that cannot know it.

    Args:
        depth_P, truth_P: positive floats.
        alignment: "none" leaves them as they are; "median" multiplies by the ratio of the medians
            (Zhou et al. 2017); "scale" and "scale_shift" fit a factor, or a factor and a shift, by
            least squares in depth (as Ranftl et al. 2020 do in inverse depth).

    Returns:
        float64 [P], positive.
    """
    if alignment == "none":
        return depth_P
    if alignment == "median":
        return depth_P * (np.median(truth_P) / np.median(depth_P))
    columns = [depth_P] if alignment == "scale" else [depth_P, np.ones_like(depth_P)]
    terms = np.stack(columns, axis=1)
    factors, *_ = np.linalg.lstsq(terms, truth_P)
    return np.maximum(terms @ factors, _LEAST * truth_P.min())
