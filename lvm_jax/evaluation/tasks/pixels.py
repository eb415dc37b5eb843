"""How near answers are to the true pictures, pixel by pixel: for tasks without a measure of theirs.

Legend: S side in pixels.
"""

import dataclasses

import numpy as np

from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.measured import MeasuredTask, NoOptions
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured, TaskKind
from lvm_jax.measures import fidelity

MSE = Metric(
    name="mse",
    unit="",
    better="lower",
    per_example=True,
    about="Mean squared error against the truth, over pixels and channels in [0, 1].",
)

PSNR = Metric(name="psnr", unit="dB", better="higher", per_example=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels(MeasuredTask):
    """Answers as pictures."""

    metrics: tuple[Metric, ...] = (MSE,)

    def measure(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 or float [S, S, 3] in [0, 1]; nothing is rounded."""
        return Measured(values={MSE.name: float(fidelity.mse(picture, example.answer))})


def _build(examples: Examples, options: NoOptions) -> Pixels:
    return Pixels(examples=examples)


KIND = TaskKind(
    name="pixels",
    options=NoOptions,
    build=_build,
    about="any pairs of pictures: mean squared error",
)
