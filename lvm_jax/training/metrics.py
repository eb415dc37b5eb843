"""Numbers of a run: JSON lines, TensorBoard, a progress bar.

train/loss, train/...            of the step itself, as the train step gives them
train/<unit>_seen                in all steps so far: tokens with padding, or images
train/tokens_with_loss_seen      in all steps so far: targets that carry loss, no padding
eval/<evaluator>/...             of the state after the step
perf/..., data/...               since the line before; tokens with padding
"""

import io
import json
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from lvm_jax import atomic, progress_bar
from lvm_jax.configs import ConfigError, Field

FILE = "metrics.jsonl"


class MetricsWriter:
    """Appends {"step": 10, "time": ..., "train/loss": ...} lines to workdir/metrics.jsonl.

    A line is whole or not there. A resumed run drops the lines after the step it resumes from, so
    that every step appears once; so do the points in TensorBoard, which is written anew from the
    lines. Only process 0 should have a writer that is `active`.

    Attributes:
        last_evaluation: the last step before this run that has values of an evaluation.
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
            atomic.WriteError: the file cannot be written.
        """
        self._path = pathlib.Path(workdir) / FILE
        self._file: io.FileIO | None = None
        self._board: Any = None
        self.last_evaluation: int | None = None
        if not active:
            return
        kept = _keep_until(self._path, start_step)
        for line in kept:
            if any(key.startswith("eval/") for key in line):
                self.last_evaluation = line["step"]
        try:
            # Unbuffered: a line is on disk or its write fails, and closing has nothing to write.
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise atomic.write_error(self._path, error) from error
        if tensorboard:
            self._board = _new_board(self._path.parent / "tensorboard")
            for line in kept:
                self._draw(line)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line.

        Raises:
            atomic.WriteError: the disk is full or read-only; names the file.
            FileNotFoundError: somebody removed it.
        """
        if self._file is None:
            return
        if not self._path.exists():
            raise FileNotFoundError(f"{self._path} was removed while the run was on")
        line = {"step": step, "time": round(time.time(), 3), **values}
        try:
            _append(self._file, (json.dumps(line) + "\n").encode())
        except OSError as error:
            raise atomic.write_error(self._path, error) from error
        if self._board is not None:
            self._draw(line)

    def _draw(self, line: Mapping[str, Any]) -> None:
        for name, value in line.items():
            if name not in ("step", "time"):
                self._board.add_scalar(name, value, line["step"], walltime=line["time"])

    def sync(self) -> None:
        """Returns when all lines are on disk, where they outlive the machine; raises as `write`."""
        if self._file is None:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise atomic.write_error(self._path, error) from error

    def close(self) -> None:
        for output in (self._file, self._board):
            if output is not None:
                output.close()


def _append(file: io.FileIO, data: bytes) -> None:
    """All of the bytes or, with an error, none of them."""
    length, written = os.fstat(file.fileno()).st_size, 0
    try:
        while written < len(data):
            # A disk that is nearly full takes a part, and says only then that it is full.
            written += file.write(data[written:])
    except OSError:
        if written:
            file.truncate(length)
        raise


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """All whole lines of a run's metrics.jsonl; an empty list when there is none.

    What is no such line is left out with a warning that names file and line: a killed run may have
    left its last one unfinished.
    """
    path = pathlib.Path(workdir) / FILE
    if not path.exists():
        return []
    *ended, last = path.read_bytes().split(b"\n")
    lines = []
    for number, text in enumerate([*ended, last] if last else ended, 1):
        line = _parse(text)
        if line is not None:
            lines.append(line)
        elif number > len(ended):
            logging.warning("%s: its last line, %d, is unfinished and left out", path, number)
        else:
            logging.warning("%s: line %d is damaged and left out: %.80r", path, number, text)
    return lines


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:  # no JSON, or no UTF-8
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


def training_seconds(lines: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of the steps behind such lines: no compilation, evaluation or pauses."""
    total, before = 0.0, 0
    for line in lines:
        if "perf/sec_per_step" in line:
            total += (line["step"] - before) * line["perf/sec_per_step"]
            before = line["step"]
    return total


def _keep_until(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
    """Makes a file's lines those that are whole and of no later step, and returns them."""
    kept = [line for line in read_metrics(path.parent) if line["step"] <= step]
    text = "".join(json.dumps(line) + "\n" for line in kept)
    # Left alone where nothing is to be dropped: a full disk need not stop a run so early.
    if path.exists() and path.read_bytes() != text.encode():
        atomic.write_text(path, text)
    return kept


def require_tensorboard() -> None:
    """Raises ConfigError when tensorboardX is missing."""
    _summary_writer()


def _summary_writer() -> Any:
    try:
        import tensorboardX
    except ImportError as error:
        raise ConfigError(
            Field("tensorboard"), "=True needs tensorboardX; install lvm_jax[tensorboard]"
        ) from error
    return tensorboardX.SummaryWriter


def _new_board(folder: pathlib.Path) -> Any:
    """A writer of event files in place of those that are there."""
    # tensorboardX writes late and cannot take back: a killed run leaves gaps and later steps.
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    return _summary_writer()(str(folder))


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
        self._bar = progress_bar.Bar(
            total=num_steps,
            initial=start_step,
            unit="step",
            desc="compiling",
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
