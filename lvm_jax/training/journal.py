"""What the steps of a run say: read one step late, so that the device never waits for the host."""

import math
from collections.abc import Callable, Mapping

import jax
from absl import logging

from lvm_jax.training import memory
from lvm_jax.training.goodput import Goodput
from lvm_jax.training.metrics import MetricsWriter, Progress
from lvm_jax.training.speed import Speed, Work


class Journal:
    """Checks the metrics of every step, sums them up, and writes those of some.

    Attributes:
        speed, goodput: of the run.
        totals: the sums of `Work.totals` over all steps that were read, by name.
    """

    def __init__(
        self,
        work: Work,
        *,
        totals: Mapping[str, int],
        writer: MetricsWriter,
        progress: Progress,
        is_logged: Callable[[int], bool],
        data_metrics: Callable[[int], Mapping[str, float]],
        goodput: Goodput,
    ):
        """Begins where the run does.

        Args:
            work: of a step.
            totals: sums over the steps before; what it does not name is not summed up.
            writer, progress: where steps are shown.
            is_logged: whether a step, counted from one, gets a line.
            data_metrics: step -> more values of its line.
            goodput: of the run.
        """
        self.speed, self.totals, self.goodput = Speed(work, goodput), dict(totals), goodput
        self._work, self._writer, self._progress = work, writer, progress
        self._is_logged, self._data_metrics = is_logged, data_metrics
        self._unread: tuple[int, Mapping[str, jax.Array]] | None = None

    def add(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Takes the metrics of `step`, which may not be computed yet, and reads those before."""
        self.read()
        self._unread = step, metrics

    def read(self) -> None:
        """Waits for the metrics of the newest step.

        Raises:
            FloatingPointError: a loss or a gradient is not finite.
        """
        if self._unread is None:
            return
        (step, arrays), self._unread = self._unread, None
        values = {key: float(value) for key, value in jax.device_get(dict(arrays)).items()}
        for key, value in values.items():
            if not math.isfinite(value) and ("loss" in key or key == "grad_norm"):
                raise FloatingPointError(
                    f"step {step}: {key} is {value}; lower optimizer.peak_lr or look at the batch "
                    f"of step {step - 1}"
                )
        for name in self.totals:
            self.totals[name] += round(values[self._work.totals[name]])
        first_seconds = self.speed.step_done()
        if first_seconds is not None:
            if jax.process_index() == 0:
                logging.info("first step took %.1f s, compilation included", first_seconds)
            self._progress.first_step_done()
        self._progress.update(values.get("loss"), self.speed.recent())
        if self._is_logged(step):
            self._write(step, values)

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        work = self._work
        seen = {f"{work.unit}_seen": step * work.units_per_step, **self.totals}
        if work.flops_per_step is not None:
            seen["flops_seen"] = step * work.flops_per_step
        line = {f"train/{name}": value for name, value in {**values, **seen}.items()}
        line |= self.speed.take_window() | dict(self._data_metrics(step))
        self._writer.write(step, line | self.goodput.metrics() | memory.metrics())
