"""Numbers of a run: JSON lines, a progress bar, and boards that are asked for.

The names are a promise. Counts are over all devices, unless they say otherwise; "since the line
before" is since the last line with train/... values.

train/loss                    nats per target with a loss (transformer); see the step for another's
train/accuracy, grad_norm, param_norm, ...        of the step itself, as the train step gives them
train/loss_by_kind/<kind>     nats per target of a kind of sentence, in all steps since the line
                              before; kinds that none of them had are left out
train/loss_by_image/<index>   the same of the ids of an image, counted from 0 in its sentence (in
                              its row in "stream" packing)
train/z_loss                  what a z-loss adds to train/loss
train/skipped, ...            1 if the update was left out; skipped_in_a_row, skipped_in_all
train/tokens                  targets with a loss, in the step
train/<unit>_seen             tokens with padding, or images, in all steps so far
train/tokens_with_loss_seen   targets with a loss, in all steps so far
train/flops_seen              model FLOPs of all steps so far, attention counted causally
eval/<evaluator>/...          of the state after the step
perf/sec_per_step             wall-clock of a step, mean since the line before, without compilation,
                              evaluation and saving
perf/<unit>_per_sec_per_device   from that, padding included
perf/mfu                      share of the devices' peak (`speed.Work`), attention counted causally
perf/mfu_full_attention       the same with every pair of positions counted, as some others do
perf/compile_sec              the first step of a start, tracing and compilation included; once
perf/checkpoint_wait_sec      that the loop stood for saving, sum since the line before
perf/evaluation_sec           that evaluations took, sum since the line before
data/wait_sec                 that a step waited for its batch, mean since the line before
data/epochs/<source>          passes over a source so far
goodput/fraction, ...         of the run since it was first started, see `goodput`
memory/in_use_bytes, peak_bytes, limit_bytes      of the fullest device of process 0, see `memory`
"""

import io
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from lvm_jax import atomic, progress_bar
from lvm_jax.storage import paths
from lvm_jax.training.boards import Board, Line
from lvm_jax.training.stored_lines import StoredLines

FILE = "metrics.jsonl"


class MetricsWriter:
    """Gives lines to workdir/metrics.jsonl and to boards.

    A line is whole or not there; on a store it comes late, see `stored_lines`. A resumed run drops
    the lines after the step it resumes from, so that every step appears once. Only process 0 should
    have a writer that is `active`.

    Attributes:
        last_evaluation: the last step before this start that has values of an evaluation.
        last_line: the last line before this start, though it may be dropped.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        start_step: int = 0,
        boards: Callable[[], Sequence[Board]] = tuple,
        active: bool = True,
    ):
        """Opens the file.

        Args:
            workdir: an existing directory.
            start_step: lines of later steps are dropped.
            boards: opens what else takes the lines.
            active: False makes every method do nothing.

        Raises:
            atomic.WriteError: the file cannot be written.
        """
        self.last_evaluation: int | None = None
        self.last_line: Line | None = None
        self._file: JsonLines | StoredLines | None = None
        self._boards: list[Board] = []
        if not active:
            return
        path = paths.path(workdir) / FILE
        lines = read_metrics(workdir)
        kept = [line for line in lines if line["step"] <= start_step]
        self.last_line = lines[-1] if lines else None
        self.last_evaluation = max(map(_step, filter(is_evaluation, kept)), default=None)
        _replace(path, kept)
        stored = paths.store_path(path)
        self._file = JsonLines(path) if stored is None else StoredLines(stored)
        for board in boards():
            self._boards.append(board)
            board.begin(kept)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line.

        Raises:
            atomic.WriteError: the disk is full or read-only; names the file.
            FileNotFoundError: somebody removed it.
        """
        if self._file is None:
            return
        line = {"step": step, "time": round(time.time(), 3), **values}
        self._file.write(line)
        for board in self._boards:
            board.write(line)

    def sync(self) -> None:
        """Returns when all lines are on disk, where they outlive the machine; raises as `write`."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        for output in (self._file, *self._boards):
            if output is not None:
                output.close()


class JsonLines:
    """A file of lines, each whole or not there."""

    def __init__(self, path: pathlib.Path):
        """Opens it to append.

        Raises:
            atomic.WriteError: it cannot be.
        """
        self._path = path
        try:
            # Unbuffered: a line is on disk or its write fails, and closing has nothing to write.
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise atomic.write_error(path, error) from error

    def write(self, line: Line) -> None:
        """Appends a line; raises as `MetricsWriter.write`."""
        if not self._path.exists():
            raise FileNotFoundError(f"{self._path} was removed while the run was on")
        try:
            _append(self._file, (json.dumps(line) + "\n").encode())
        except OSError as error:
            raise atomic.write_error(self._path, error) from error

    def sync(self) -> None:
        """Returns when all lines are on disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise atomic.write_error(self._path, error) from error

    def close(self) -> None:
        self._file.close()


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


def is_evaluation(line: Line) -> bool:
    """Whether a line has values of an evaluation."""
    return any(key.startswith("eval/") for key in line)


def _step(line: Line) -> int:
    return line["step"]


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """All whole lines of a run's metrics.jsonl; an empty list when there is none.

    What is no such line is left out with a warning that names file and line: a killed run may have
    left its last one unfinished.
    """
    path = paths.path(workdir) / FILE
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


def _replace(path: pathlib.Path, lines: Sequence[Line]) -> None:
    """Makes these the lines of a file."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    # Left alone where nothing is to be dropped: a full disk need not stop a run so early.
    if path.exists() and path.read_bytes() != text.encode():
        atomic.write_text(path, text)


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
