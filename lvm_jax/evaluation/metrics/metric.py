"""What a number says of answers, as a value: reports iterate over metrics and know none by name."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that a task measures.

    Attributes:
        name: such as "iou" or "abs_rel"; unique within a task. The key of its values everywhere.
        unit: "", "dB", "degrees", "nats per id", ...
        better: whether higher or lower values are.
        per_example: it is measured of every example and summed up as their mean, which has a
            standard error; otherwise only of all examples together.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    per_example: bool

    def gain(self, own: float, other: float) -> float:
        """By how much one value is better than another; negative where it is worse."""
        return own - other if self.better == "higher" else other - own

    @property
    def label(self) -> str:
        """Name and unit, for a reader."""
        words = self.name.replace("_", " ")
        return f"{words} [{self.unit}]" if self.unit else words
