"""Errors of means, and laws through points, with intervals."""

from collections.abc import Hashable, Sequence

import numpy as np


def clustered_error(values: np.ndarray, clusters: Sequence[Hashable]) -> float:
    """Standard error of a mean whose values come in clusters that may vary together.

    Each cluster counts as one, by the sum of its deviations (the sandwich estimate); with clusters
    of one value it is the usual standard error.

    Args:
        values: float64 [n].
        clusters: of each value, [n]; at least two different ones.
    """
    numbers = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    of_value = np.array([numbers[name] for name in clusters])
    sums = np.bincount(of_value, weights=values - values.mean())
    count = len(numbers)
    if count < 2:
        return float("inf")
    return float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(values))
