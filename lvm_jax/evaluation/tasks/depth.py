"""Depth in colors: AbsRel, RMSE, log10 and the shares within factors of 1.25.

Legend: S side in pixels.
"""

import dataclasses

import numpy as np

from lvm_jax.evaluation.metrics import depth
from lvm_jax.evaluation.metrics.depth import Alignment
from lvm_jax.evaluation.metrics.depth_code import DepthCode
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.measured import MeasuredTask
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured, TaskKind

ABS_REL = Metric(
    name="abs_rel",
    unit="",
    better="lower",
    per_example=True,
    about="Mean of |depth - truth| / truth.",
)
RMSE = Metric(
    name="rmse",
    unit="",
    better="lower",
    per_example=True,
    about="Root of the mean squared error of depths, in the unit of near and far.",
)
LOG10 = Metric(
    name="log10",
    unit="",
    better="lower",
    per_example=True,
    about="Mean of |log10 depth - log10 truth|.",
)
DELTAS = tuple(
    Metric(
        name=f"delta{power}",
        unit="",
        better="higher",
        per_example=True,
        about=f"Share of the pixels within a factor of 1.25^{power} of the truth.",
    )
    for power in (1, 2, 3)
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthOptions(DepthCode):
    """How depth is drawn (see `DepthCode` for the other fields) and compared.

    Attributes:
        alignment: "none", or what an answer's depths are first brought to the truth's scale by:
            "median", "scale" or "scale_shift"; see `metrics.depth.aligned`.
    """

    alignment: Alignment = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Depth(MeasuredTask):
    """The depths that colors stand for.

    Attributes:
        options: how depth is drawn and compared.
    """

    options: DepthOptions
    metrics: tuple[Metric, ...] = (ABS_REL, RMSE, LOG10, *DELTAS)

    def score(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 [S, S, 3]; where the truth is nothing, nothing counts."""
        # What an answer takes for nothing counts as far away.
        depth_SS, _ = self.options.decode(picture)
        truth_SS, counted_SS = self.options.decode(example.answer)
        errors = depth.errors(depth_SS, truth_SS, counted_SS, self.options.alignment)
        return Measured(values=errors)


def _build(examples: Examples, options: DepthOptions) -> Depth:
    return Depth(examples=examples, options=options)


KIND = TaskKind(
    name="depth",
    options=DepthOptions,
    build=_build,
    about="depth in grays or in a colormap: AbsRel, RMSE, log10, delta",
)
