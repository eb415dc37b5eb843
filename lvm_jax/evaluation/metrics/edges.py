"""Edges: precision and recall of drawn contours, with some tolerance for their place.

Source: Martin et al. 2004 and Arbelaez et al. 2011 (BSDS): an answer is cut at every threshold and
thinned, its edge pixels are matched one to one with those of the truth within a distance, and F is
the harmonic mean of the shares that found a partner. Their code assigns at least cost; here it is a
matching of greatest size (a maximum flow, by SciPy), which pairs as many pixels as any assignment
can. With one threshold for all pictures the best F is called ODS, with the best one for
each picture OIS.

Legend: H height, W width in pixels; T thresholds, E pairs of pixels near each other.
"""

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.spatial
import skimage.morphology

# Of the diagonal, as for BSDS: 2.7 pixels of 256 x 256.
TOLERANCE = 0.0075
THRESHOLDS = tuple(number / 10 for number in range(1, 10))


def strength(picture: np.ndarray) -> np.ndarray:
    """How bright a picture is: uint8 [H, W, 3] -> float64 [H, W] in [0, 1]."""
    return picture.mean(-1) / 255.0


def thin(mask_HW: np.ndarray) -> np.ndarray:
    """Lines a pixel wide: bool [H, W] -> bool [H, W]."""
    return skimage.morphology.thin(mask_HW)


def matched(mask_HW: np.ndarray, truth_HW: np.ndarray, tolerance: float) -> int:
    """How many pixels of two masks can be paired one to one within a distance.

    Args:
        mask_HW, truth_HW: bool [H, W].
        tolerance: greatest distance of a pair, in pixels.
    """
    points, others = np.argwhere(mask_HW), np.argwhere(truth_HW)
    if not len(points) or not len(others):
        return 0
    near = scipy.spatial.KDTree(points).sparse_distance_matrix(
        scipy.spatial.KDTree(others), tolerance, output_type="ndarray"
    )
    # A unit of flow from the source through a point and one near it to the sink is a pair. SciPy's
    # `maximum_bipartite_matching` takes a thousand times as long where nearly all find a partner.
    own_E, other_E = 1 + near["i"], 1 + len(points) + near["j"]
    sink = 1 + len(points) + len(others)
    starts = np.concatenate([np.zeros(len(points), int), own_E, np.arange(1 + len(points), sink)])
    ends = np.concatenate([np.arange(1, 1 + len(points)), other_E, np.full(len(others), sink)])
    graph = scipy.sparse.csr_matrix(
        (np.ones(len(starts), np.int32), (starts, ends)), (sink + 1, sink + 1)
    )
    return int(scipy.sparse.csgraph.maximum_flow(graph, 0, sink).flow_value)


def counts(
    strength_HW: np.ndarray,
    truth_HW: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """What F is computed from, at each of THRESHOLDS; those of several pictures add up.

    Args:
        strength_HW: floats in [0, 1], the answer; a pixel is an edge if it is at least as strong as
            a threshold.
        truth_HW: bool [H, W], thinned.
        tolerance: greatest distance of a pair, in pixels.

    Returns:
        int64 [T, 3]: pairs, edge pixels of the answer, edge pixels of the truth.
    """
    rows = []
    for threshold in THRESHOLDS:
        mask_HW = thin(strength_HW >= threshold)
        pairs = matched(mask_HW, truth_HW, tolerance)
        rows.append((pairs, int(mask_HW.sum()), int(truth_HW.sum())))
    return np.array(rows, np.int64)


def f_scores(counts_T3: np.ndarray) -> np.ndarray:
    """The harmonic mean of precision and recall at every threshold: float64 [T].

    0 where nothing is matched; nan where the truth has no edge at all.
    """
    pairs_T, own_T, true_T = counts_T3.astype(np.float64).T
    # 2 / (own / pairs + true / pairs) without the division by no pairs.
    scores_T = 2.0 * pairs_T / np.maximum(own_T + true_T, 1.0)
    return np.where(true_T > 0, scores_T, np.nan)


def best_f(counts_T3: np.ndarray) -> float:
    """The best of `f_scores`: OIS of one picture's counts, ODS of the sum of those of many."""
    return float(f_scores(counts_T3).max())
