"""When a run evaluates and saves: a function of the step, or of the time since the last save."""

import time
from typing import TYPE_CHECKING

from lvm_jax.training import durations, processes

if TYPE_CHECKING:
    from lvm_jax.training.loop import LoopConfig


class Schedule:
    """What is due before a step; the same on every process.

    Times are looked at where lines are logged, by the clock of process 0, so that the other
    processes are not asked at every step.
    """

    def __init__(self, config: "LoopConfig"):
        """Begins now.

        Args:
            config: with durations in steps (`LoopConfig.resolve`).
        """
        self._log, self._evaluate, self._keep = map(
            durations.resolved, (config.log_every, config.eval_every, config.keep_every)
        )
        self._seconds = durations.seconds(config.checkpoint_every)
        self._save = 0 if self._seconds else durations.resolved(config.checkpoint_every)
        self._saved_at = time.monotonic()

    def is_logged(self, step: int) -> bool:
        """Whether a line is due after that many steps."""
        return _divides(self._log, step)

    def evaluates(self, step: int) -> bool:
        """Whether an evaluation is due."""
        return _divides(self._evaluate, step)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is due; every process asks at each step."""
        if _divides(self._save, step) or _divides(self._keep, step):
            return True
        if self._seconds is None or not _divides(self._log, step):
            return False
        late = time.monotonic() - self._saved_at >= self._seconds
        return processes.first_decides(f"the clock at step {step}", late)

    def saved(self) -> None:
        """Begins to count the time until the next save anew."""
        self._saved_at = time.monotonic()


def _divides(every: int, step: int) -> bool:
    return every > 0 and step > 0 and step % every == 0
