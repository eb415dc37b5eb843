"""What a number says of answers, as a value: reports iterate over metrics and know none by name."""

import dataclasses
import math
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that a task measures.

    Attributes:
        name: such as "iou" or "abs_rel"; unique within a task. The key of its values everywhere.
        unit: "", "dB", "degrees", "nats per id", ...
        better: whether higher or lower values are.
        per_example: it is measured of every example and summed up as their mean, which has a
            standard error; otherwise only of all examples together. A value that is not finite
            says that an example has none, and is left out.
        about: a sentence on what is measured, for the report.
        shown: reports show the mean, or exp of it: values are logarithms, as of perplexities.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    per_example: bool
    about: str = ""
    shown: Literal["mean", "exp"] = "mean"

    def gain(self, own: float, other: float) -> float:
        """By how much one value is better than another; negative where it is worse."""
        return own - other if self.better == "higher" else other - own

    def value(self, mean: float) -> float:
        """What a report shows of a mean."""
        return math.exp(mean) if self.shown == "exp" else mean

    @property
    def label(self) -> str:
        """Name and unit, for a reader."""
        words = self.name.replace("_", " ")
        return f"{words} [{self.unit}]" if self.unit and self.shown == "mean" else words
