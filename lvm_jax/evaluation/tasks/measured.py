"""What tasks share that measure pictures: their examples."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from lvm_jax.evaluation.tasks.task import Example, Examples


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuredTask:
    """The parts of `task.Task` that are the same in all of them.

    Attributes:
        examples: what is asked; the task has their name.
    """

    examples: Examples

    @property
    def name(self) -> str:
        return self.examples.name

    def example(self, seed: int, index: int) -> Example:
        """See `Examples.example`."""
        return self.examples.example(seed, index)

    def summarize(
        self, pictures: Sequence[np.ndarray], examples: Sequence[Example]
    ) -> Mapping[str, float]:
        """Nothing is measured of all examples together, unless a task says so."""
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Nothing can be chosen."""
