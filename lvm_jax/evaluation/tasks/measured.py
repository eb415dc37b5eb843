"""What tasks share that measure pictures of 8 bits: their examples, and the rounding of answers.

Legend: S side in pixels.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from lvm_jax import images
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuredTask:
    """The parts of `task.Task` that are the same in all of them; a subclass has `metrics`.

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

    def measure(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 or float [S, S, 3] in [0, 1]."""
        return self.score(
            picture if picture.dtype == np.uint8 else images.to_uint8(picture), example
        )

    def score(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 [S, S, 3]."""
        raise NotImplementedError

    def summarize(self, tally: np.ndarray) -> Mapping[str, float]:
        """The other metrics; there are none, unless a task says so."""
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Nothing can be chosen."""
