"""What a hole hides: PSNR and SSIM inside of it and of whole pictures.

Legend: S side in pixels.
"""

import dataclasses

import numpy as np

from lvm_jax.configs import require_at_least
from lvm_jax.evaluation.metrics import similarity
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.measured import MeasuredTask
from lvm_jax.evaluation.tasks.references import HOLE
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured, TaskKind

_HOLE_PREFIX = "hole_"
_PARTS = {"psnr": "dB", "ssim": ""}


def _metrics(prefix: str, of: str) -> tuple[Metric, ...]:
    return tuple(
        Metric(
            name=prefix + name,
            unit=unit,
            better="higher",
            per_example=True,
            about=f"{name.upper()} of {of}.",
        )
        for name, unit in _PARTS.items()
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InpaintingOptions:
    """Where the hole is, if only pictures say so.

    Attributes:
        least_change: a pixel lies in the hole if a channel of the query differs by more from the
            answer, in 0..255.
    """

    least_change: int = 16

    def __post_init__(self):
        require_at_least(self, 0, "least_change")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inpainting(MeasuredTask):
    """Pictures against pictures, in the hole and everywhere.

    Attributes:
        options: where the hole is.
    """

    options: InpaintingOptions
    metrics: tuple[Metric, ...] = (
        *_metrics(_HOLE_PREFIX, "the pixels in the hole"),
        *_metrics("", "the whole picture"),
    )

    def score(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 [S, S, 3]."""
        hole_SS = example.truth.get(HOLE)
        if hole_SS is None:
            change_SS = np.abs(example.query.astype(int) - example.answer.astype(int)).max(-1)
            hole_SS = change_SS > self.options.least_change
        inside = similarity.inside(picture, example.answer, hole_SS)
        whole = similarity.everywhere(picture, example.answer)
        values = {_HOLE_PREFIX + name: inside[name] for name in _PARTS}
        return Measured(values=values | {name: whole[name] for name in _PARTS})


def _build(examples: Examples, options: InpaintingOptions) -> Inpainting:
    return Inpainting(examples=examples, options=options)


KIND = TaskKind(
    name="inpainting",
    options=InpaintingOptions,
    build=_build,
    about="what a hole hides: PSNR and SSIM in the hole and of the whole picture",
)
