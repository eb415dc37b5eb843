"""Values by group, such as losses by kind of sentence: summed over steps, divided at the end.

Shapes: G groups.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Labels = Mapping[str, tuple[str, ...]]
"""A value -> the names of its groups, such as {"loss_by_kind": ("depth", "edges")}."""


class GroupSums:
    """Weighted sums and weights of every group since the last `take`.

    Args:
        labels: the values and their groups.
        saved: what `saved` gave before, to go on with it.
    """

    def __init__(self, labels: Labels, saved: Mapping[str, Any] | None = None):
        self._labels, self._sums = labels, self._zeros(labels)
        for name, groups in (saved or {}).items():
            for group, pair in groups.items():
                # Of groups that there no longer are, nothing is to be said.
                if group in labels.get(name, ()):
                    self._sums[name][:, labels[name].index(group)] = pair

    @staticmethod
    def _zeros(labels: Labels) -> dict[str, np.ndarray]:
        return {name: np.zeros((2, len(groups))) for name, groups in labels.items()}

    def add(self, values: Mapping[str, Any]) -> None:
        """Adds arrays [2, G] by name: weighted sums and weights; other names are left alone."""
        for name, sums in self._sums.items():
            sums += np.asarray(values[name], np.float64)

    def take(self) -> dict[str, float]:
        """Means such as "loss_by_kind/depth" of the groups that have weight; sums begin anew."""
        means = {
            f"{name}/{group}": float(total / weight)
            for name, groups in self._labels.items()
            for group, total, weight in zip(groups, *self._sums[name], strict=True)
            if weight > 0
        }
        self._sums = self._zeros(self._labels)
        return means

    def saved(self) -> dict[str, dict[str, list[float]]]:
        """What there is of them, as JSON: name -> group -> [weighted sum, weight]."""
        kept = {
            name: {
                group: [float(total), float(weight)]
                for group, total, weight in zip(groups, *self._sums[name], strict=True)
                if weight > 0
            }
            for name, groups in self._labels.items()
        }
        return {name: groups for name, groups in kept.items() if groups}
