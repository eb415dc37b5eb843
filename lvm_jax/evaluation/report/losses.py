"""Training and held-out loss of a transformer, and whether they have parted."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# The model has memorised when its held-out loss exceeds its training loss, or its own lowest value,
# by more than this many nats per id.
MOST_ABOVE_TRAINING = 1.0
MOST_ABOVE_LOWEST = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Losses:
    """Losses in nats per id.

    Attributes:
        training: mean over the last tenth of the logged steps.
        held_out: (step, loss) of every evaluation, in order; empty without held-out data.
    """

    training: float
    held_out: tuple[tuple[int, float], ...] = ()

    @property
    def last(self) -> float:
        """Held out, at the end of the training; there must have been an evaluation."""
        return self.held_out[-1][1]

    @property
    def lowest(self) -> tuple[int, float]:
        """(step, loss) of the best evaluation; there must have been one."""
        return min(self.held_out, key=lambda evaluation: evaluation[1])

    @property
    def memorised(self) -> bool:
        """Whether the held-out loss has parted from the training loss or left its own lowest."""
        if not self.held_out:
            return False
        above_training = self.last - self.training > MOST_ABOVE_TRAINING
        return above_training or self.last - self.lowest[1] > MOST_ABOVE_LOWEST


def from_metrics(lines: Sequence[Mapping[str, Any]]) -> Losses | None:
    """The losses in the lines of a metrics.jsonl; None where no training loss is."""
    training = [line["train/loss"] for line in lines if "train/loss" in line]
    if not training:
        return None
    last = training[-max(1, len(training) // 10) :]
    name = "eval/held_out/loss"
    held_out = tuple((line["step"], line[name]) for line in lines if name in line)
    return Losses(training=sum(last) / len(last), held_out=held_out)
