"""How near answers are to the true pictures, pixel by pixel: for tasks without a measure of theirs.

Legend: S side in pixels.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.task import Example, Examples, TaskKind
from lvm_jax.measures import fidelity

MSE = Metric(
    name="mse",
    unit="",
    better="lower",
    per_example=True,
    about="Mean squared error against the truth, over pixels and channels in [0, 1].",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelOptions:
    """Nothing can be chosen."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
    """Answers as pictures.

    Attributes:
        examples: what is asked.
    """

    examples: Examples
    metrics: tuple[Metric, ...] = (MSE,)

    @property
    def name(self) -> str:
        return self.examples.name

    def example(self, seed: int, index: int) -> Example:
        """See `Examples.example`."""
        return self.examples.example(seed, index)

    def measure(self, picture: np.ndarray, example: Example) -> Mapping[str, float]:
        """Of a picture, uint8 or float [S, S, 3] in [0, 1]."""
        return {MSE.name: float(fidelity.mse(picture, example.answer))}

    def summarize(
        self, pictures: Sequence[np.ndarray], examples: Sequence[Example]
    ) -> Mapping[str, float]:
        """Nothing more."""
        return {}


KIND = TaskKind(
    name="pixels",
    options=PixelOptions,
    build=lambda examples, _: Pixels(examples=examples),
    about="any pairs of pictures: mean squared error",
)
