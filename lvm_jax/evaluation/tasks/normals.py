"""Surface normals in colors: angles to the true ones, of every picture and of all pixels pooled.

Legend: S side in pixels.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from lvm_jax.evaluation.metrics import normals
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.measured import MeasuredTask, NoOptions
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured, TaskKind

_POOLED = "pooled_"


def _metrics(per_example: bool) -> tuple[Metric, ...]:
    prefix, of = ("", "an example's pixels") if per_example else (_POOLED, "the pixels of all")
    angles = (
        Metric(
            name=f"{prefix}{word}_angle",
            unit="degrees",
            better="lower",
            per_example=per_example,
            about=f"The {word} angle to the true normal, over {of}.",
        )
        for word in ("mean", "median")
    )
    shares = (
        Metric(
            name=f"{prefix}within_{limit:g}",
            unit="",
            better="higher",
            per_example=per_example,
            about=f"Share of {of} within {limit:g} degrees of the true normal.",
        )
        for limit in normals.WITHIN_DEGREES
    )
    return (*angles, *shares)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normals(MeasuredTask):
    """The directions that colors stand for; see `metrics.normals`."""

    metrics: tuple[Metric, ...] = (*_metrics(True), *_metrics(False))

    def score(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 [S, S, 3]; where the truth is black, nothing counts."""
        angles_P = normals.angles(picture, example.answer)
        return Measured(values=normals.summary(angles_P), tally=normals.tally(angles_P))

    def summarize(self, tally: np.ndarray) -> Mapping[str, float]:
        """Of the pixels of all pictures together, as papers report them."""
        return {_POOLED + name: value for name, value in normals.summary_of_tally(tally).items()}


def _build(examples: Examples, options: NoOptions) -> Normals:
    return Normals(examples=examples)


KIND = TaskKind(
    name="normals",
    options=NoOptions,
    build=_build,
    about="surface normals as colors: mean and median angle, shares within 11.25, 22.5, 30 degrees",
)
