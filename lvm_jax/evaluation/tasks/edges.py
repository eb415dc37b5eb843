"""Contours: the best F over thresholds, with some tolerance for their place.

Legend: S side in pixels, T thresholds.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from lvm_jax.configs import ConfigError, Field
from lvm_jax.evaluation.metrics import edges
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.measured import MeasuredTask
from lvm_jax.evaluation.tasks.task import Example, Examples, Measured, TaskKind

OIS = Metric(
    name="f_ois",
    unit="",
    better="higher",
    per_example=True,
    about="Harmonic mean of precision and recall at the best threshold for each example.",
)
ODS = Metric(
    name="f_ods",
    unit="",
    better="higher",
    per_example=False,
    about="The same for all examples together, at the best threshold for all of them.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EdgesOptions:
    """How contours are drawn and compared.

    Attributes:
        tolerance: greatest distance of two edge pixels that are paired, as a share of the diagonal;
            0.0075 is that of BSDS.
        truth_threshold: of the brightest, from which on the truth's pixels are edges.
        dark: contours are dark on white instead of bright on black.
    """

    tolerance: float = edges.TOLERANCE
    truth_threshold: float = 0.5
    dark: bool = False

    def __post_init__(self):
        if not 0 <= self.tolerance < 1:
            raise ConfigError(Field("tolerance"), f"={self.tolerance} must lie in [0, 1)")
        if not 0 < self.truth_threshold <= 1:
            raise ConfigError(Field("truth_threshold"), f"={self.truth_threshold} must lie in 0..1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edges(MeasuredTask):
    """Lines that are thinned and paired one to one; see `metrics.edges`.

    Attributes:
        options: how contours are drawn and compared.
    """

    options: EdgesOptions
    metrics: tuple[Metric, ...] = (OIS, ODS)

    def _strength(self, picture: np.ndarray) -> np.ndarray:
        strength_SS = edges.strength(picture)
        return 1.0 - strength_SS if self.options.dark else strength_SS

    def score(self, picture: np.ndarray, example: Example) -> Measured:
        """Of a picture, uint8 [S, S, 3]; a truth without edges has no score."""
        truth_SS = edges.thin(self._strength(example.answer) >= self.options.truth_threshold)
        tolerance = self.options.tolerance * math.hypot(*truth_SS.shape)
        counts_T3 = edges.counts(self._strength(picture), truth_SS, tolerance)
        values = {OIS.name: edges.best_f(counts_T3)}
        return Measured(values=values, tally=counts_T3.ravel().astype(np.float64))

    def summarize(self, tally: np.ndarray) -> Mapping[str, float]:
        """Of the counts of all pictures together."""
        return {ODS.name: edges.best_f(tally.reshape(-1, 3))}


def _build(examples: Examples, options: EdgesOptions) -> Edges:
    return Edges(examples=examples, options=options)


KIND = TaskKind(
    name="edges",
    options=EdgesOptions,
    build=_build,
    about="contours: best F over thresholds with a tolerance, per picture (OIS) and for all (ODS)",
)
