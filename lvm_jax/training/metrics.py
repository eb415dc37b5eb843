"""Numbers of a run: JSON lines, TensorBoard, a progress bar."""

import json
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tqdm
from absl import logging

from lvm_jax import atomic

FILE = "metrics.jsonl"


class MetricsWriter:
    """Appends {"step": 10, "time": ..., "train/loss": ...} lines to workdir/metrics.jsonl.

    A resumed run drops the lines after the step it resumes from, and a last line that was cut
    short, so that every step appears once. Only process 0 should have a writer that is `active`.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        start_step: int = 0,
        tensorboard: bool = False,
        active: bool = True,
    ):
        """Opens the file.

        Args:
            workdir: an existing directory.
            start_step: lines of later steps are dropped.
            tensorboard: also write event files to workdir/tensorboard.
            active: False makes every method do nothing.

        Raises:
            ValueError: `tensorboard` without the tensorboardX package.
        """
        self._path = pathlib.Path(workdir) / FILE
        self._file = self._board = None
        if not active:
            return
        _keep_until(self._path, start_step)
        # Unbuffered: a line is on disk or its write fails, and closing has nothing left to write.
        self._file = self._path.open("ab", buffering=0)
        if tensorboard:
            folder = pathlib.Path(workdir) / "tensorboard"
            self._board = _summary_writer()(str(folder), purge_step=start_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line.

        Raises:
            atomic.WriteError: the disk is full or read-only; names the file.
        """
        if self._file is None:
            return
        line = {"step": step, "time": round(time.time(), 3), **values}
        try:
            self._file.write((json.dumps(line) + "\n").encode())
        except OSError as error:
            raise atomic.write_error(self._path, error) from error
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        for output in (self._file, self._board):
            if output is not None:
                output.close()


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """All whole lines of a run's metrics.jsonl; an empty list when there is none."""
    path = pathlib.Path(workdir) / FILE
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            # A killed run may leave its last line unfinished.
            logging.warning("%s: dropped an unfinished line", path)
    return lines


def training_seconds(lines: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of the steps behind such lines: no compilation, evaluation or pauses."""
    total, before = 0.0, 0
    for line in lines:
        if "perf/sec_per_step" in line:
            total += (line["step"] - before) * line["perf/sec_per_step"]
            before = line["step"]
    return total


def _keep_until(path: pathlib.Path, step: int) -> None:
    if not path.exists():
        return
    kept = [line for line in read_metrics(path.parent) if line["step"] <= step]
    atomic.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def require_tensorboard() -> None:
    """Raises ValueError when tensorboardX is missing."""
    _summary_writer()


def _summary_writer() -> Any:
    try:
        import tensorboardX
    except ImportError as error:
        raise ValueError(
            "loop.tensorboard=True needs tensorboardX; install lvm_jax[tensorboard]"
        ) from error
    return tensorboardX.SummaryWriter


class Progress:
    """A progress bar on stderr with loss, speed and time left."""

    def __init__(self, *, start_step: int, num_steps: int, unit: str, active: bool = True):
        """Shows the bar.

        Args:
            start_step: steps done before this run.
            num_steps: steps of the whole run.
            unit: what speed counts, "tokens" or "images".
            active: False shows nothing.
        """
        self._unit = unit
        self._bar = tqdm.tqdm(
            total=num_steps,
            initial=start_step,
            unit="step",
            desc="compiling",
            dynamic_ncols=True,
            # A log file gets a line now and then instead of a moving bar.
            mininterval=0.2 if sys.stderr.isatty() else 10.0,
            disable=not active,
        )

    def first_step_done(self) -> None:
        """Starts the clock of the time left: compilation says nothing about what is to come."""
        self._bar.set_description("training", refresh=False)
        self._bar.unpause()

    def update(self, loss: float | None, units_per_sec: float | None) -> None:
        """One step further."""
        shown = {} if loss is None else {"loss": f"{loss:.4f}"}
        if units_per_sec:
            shown[f"{self._unit}/s"] = f"{units_per_sec:,.0f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(1)

    def close(self) -> None:
        self._bar.close()
