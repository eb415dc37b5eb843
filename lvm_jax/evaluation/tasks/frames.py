"""The next frame of a clip: PSNR, SSIM, squared error, and what a copy of the last frame gets.

A prompt of 2K + 1 frames is K pairs and a query to whoever asks: its frames follow each other.

Legend: S side in pixels.
"""

import dataclasses

import numpy as np

from lvm_jax.evaluation.metrics import similarity
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.measured import MeasuredTask, NoOptions
from lvm_jax.evaluation.tasks.pixels import MSE, PSNR
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured, TaskKind
from lvm_jax.measures import fidelity

SSIM = Metric(name="ssim", unit="", better="higher", per_example=True)
GAIN = Metric(
    name="gain_over_copy",
    unit="dB",
    better="higher",
    per_example=True,
    about="PSNR above that of the prompt's last frame, taken for the next one.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames(MeasuredTask):
    """Frames against frames."""

    metrics: tuple[Metric, ...] = (MSE, PSNR, SSIM, GAIN)

    def score(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 [S, S, 3]."""
        values = dict(similarity.everywhere(picture, example.answer))
        copied = float(fidelity.psnr(example.query, example.answer))
        return Measured(values=values | {GAIN.name: values[PSNR.name] - copied})


def _build(examples: Examples, options: NoOptions) -> Frames:
    return Frames(examples=examples)


KIND = TaskKind(
    name="frames",
    options=NoOptions,
    build=_build,
    about="the next frame of a clip: squared error, PSNR, SSIM, gain over a copy of the last one",
)
