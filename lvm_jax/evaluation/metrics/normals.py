"""Surface normals drawn as colors: angles between two pictures' normals.

A normal (x, y, z) of length 1 is drawn as the color 255 * (0.5 + n / 2); where nothing is, black.
Which way the axes point does not matter, as long as both pictures agree.

Source: Eigen & Fergus 2015 and those after them report the mean and median angle and the shares
within 11.25, 22.5 and 30 degrees.

Legend: H height, W width in pixels; P pixels that count.
"""

from collections.abc import Mapping

import numpy as np

WITHIN_DEGREES = (11.25, 22.5, 30.0)
# The darkest normal, (-1, -1, -1) / sqrt(3), is drawn as 54 of 255 in every channel.
_NOTHING = 27
_BINS_PER_DEGREE = 100


def decode(picture: np.ndarray) -> np.ndarray:
    """The normals of colors: uint8 [H, W, 3] -> float64 [H, W, 3], each of length 1."""
    # Never zero: no byte lies at the middle of the range.
    vectors_HW3 = picture.astype(np.float64) / 127.5 - 1.0
    return vectors_HW3 / np.linalg.norm(vectors_HW3, axis=-1, keepdims=True)


def is_seen(picture: np.ndarray) -> np.ndarray:
    """Where a picture of normals shows something: uint8 [H, W, 3] -> bool [H, W]."""
    return picture.max(-1) >= _NOTHING


def angles(picture: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The angle between the normals of an answer and of the truth, wherever the truth has one.

    Args:
        picture, truth: uint8 [H, W, 3].

    Returns:
        float64 [P], degrees in [0, 180].
    """
    seen_HW = is_seen(truth)
    own_P3, true_P3 = decode(picture)[seen_HW], decode(truth)[seen_HW]
    # Kahan's form: exactly 0 for equal vectors, where the arc cosine of their product is not.
    apart_P = np.linalg.norm(own_P3 - true_P3, axis=-1)
    return np.degrees(2.0 * np.arctan2(apart_P, np.linalg.norm(own_P3 + true_P3, axis=-1)))


def summary(angles_P: np.ndarray) -> Mapping[str, float]:
    """Mean and median in degrees, and the shares within some; nan if there are no angles.

    Returns:
        "mean_angle", "median_angle", "within_11.25", "within_22.5", "within_30".
    """
    nothing = not angles_P.size
    nan = float("nan")
    shares = {
        f"within_{limit:g}": nan if nothing else float((angles_P < limit).mean())
        for limit in WITHIN_DEGREES
    }
    mean = nan if nothing else float(angles_P.mean())
    median = nan if nothing else float(np.median(angles_P))
    return {"mean_angle": mean, "median_angle": median, **shares}


def tally(angles_P: np.ndarray) -> np.ndarray:
    """What `summary_of_tally` takes of some angles; that of all is the sum of their parts'.

    Returns:
        float64 [n]: the sum of the angles, how many lie within each of `WITHIN_DEGREES`, and how
        many in every hundredth of a degree.
    """
    within = [(angles_P < limit).sum() for limit in WITHIN_DEGREES]
    counts, _ = np.histogram(angles_P, bins=180 * _BINS_PER_DEGREE, range=(0.0, 180.0))
    return np.concatenate([[angles_P.sum()], within, counts]).astype(np.float64)


def summary_of_tally(tally_n: np.ndarray) -> Mapping[str, float]:
    """As `summary`, of the sum of `tally`; medians are less than 0.01 degrees too small."""
    total, *within = tally_n[: 1 + len(WITHIN_DEGREES)]
    up_to = tally_n[1 + len(WITHIN_DEGREES) :].cumsum()
    number = up_to[-1]
    nan = float("nan")
    shares = {
        f"within_{limit:g}": float(count / number) if number else nan
        for limit, count in zip(WITHIN_DEGREES, within)
    }
    # The two in the middle, which are one of an odd number.
    middle = np.searchsorted(up_to, [(number - 1) // 2, number // 2], side="right")
    median = float(middle.mean()) / _BINS_PER_DEGREE if number else nan
    mean = float(total / number) if number else nan
    return {"mean_angle": mean, "median_angle": median, **shares}
