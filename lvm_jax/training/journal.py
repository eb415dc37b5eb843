"""What the steps of a run say: read one step late, so that the device never waits for the host."""

import math
from collections.abc import Callable, Mapping

import jax
import numpy as np
from absl import logging

from lvm_jax.training import memory
from lvm_jax.training.goodput import Goodput
from lvm_jax.training.group_sums import GroupSums
from lvm_jax.training.metrics import MetricsWriter, Progress
from lvm_jax.training.speed import Speed, Work

_NORM = "grad_norm"


class Journal:
    """Checks the metrics of every step, sums them up, and writes those of some.

    Attributes:
        speed, goodput: of the run.
        totals: the sums of `Work.totals` over all steps that were read, by name.
        groups: the sums of `Training.labels` since the last line.
    """

    def __init__(
        self,
        work: Work,
        *,
        totals: Mapping[str, int],
        groups: GroupSums,
        most_skipped: int,
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
            groups: with what the steps before left.
            most_skipped: see `Training`.
            writer, progress: where steps are shown.
            is_logged: whether a step, counted from one, gets a line.
            data_metrics: step -> more values of its line.
            goodput: of the run.
        """
        self.speed, self.totals, self.goodput = Speed(work, goodput), dict(totals), goodput
        self.groups, self._most_skipped = groups, most_skipped
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
        arrays = jax.device_get(dict(arrays))
        self.groups.add(arrays)
        values = {key: float(value) for key, value in arrays.items() if not np.ndim(value)}
        self._check(step, values)
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

    def _check(self, step: int, values: dict[str, float]) -> None:
        """Ends the run where it must; of an update that was left out, drops what is no number."""
        bad = [k for k in values if not math.isfinite(values[k]) and ("loss" in k or k == _NORM)]
        if not values.get("skipped"):
            for key in bad:
                raise FloatingPointError(
                    f"step {step}: {key} is {values[key]}; lower optimizer.peak_lr or look at the "
                    f"batch of step {step - 1}"
                )
            return
        in_a_row = round(values["skipped_in_a_row"])
        if in_a_row > self._most_skipped:
            raise FloatingPointError(
                f"step {step}: {in_a_row} updates in a row were left out (the last with loss "
                f"{values['loss']:.4g}, {_NORM} {values[_NORM]:.4g}), more than "
                f"skip.max_in_a_row={self._most_skipped}; lower optimizer.peak_lr, or look at the "
                f"batches of steps {step - in_a_row} to {step - 1}"
            )
        if jax.process_index() == 0:
            logging.warning(
                "step %d: its update was left out: loss %.4g, %s %.4g",
                *(step, values["loss"], _NORM, values[_NORM]),
            )
        for key in bad:
            del values[key]

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        work = self._work
        seen = {f"{work.unit}_seen": step * work.units_per_step, **self.totals}
        if work.flops_per_step is not None:
            seen["flops_seen"] = step * work.flops_per_step
        values = {**values, **seen, **self.groups.take()}
        line = {f"train/{name}": value for name, value in values.items()}
        line |= self.speed.take_window() | dict(self._data_metrics(step))
        self._writer.write(step, line | self.goodput.metrics() | memory.metrics())
