"""Where the wall-clock of a run went since it was first started, its restarts included.

    goodput/fraction = goodput/step_sec / goodput/total_sec

Only steps that count are in `step`: those that a killed run made after its last checkpoint are made
again, and that time is `lost`. A checkpoint carries the seconds up to it, and the lines of
metrics.jsonl show how long the run lived after it.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

KINDS = ("step", "data_wait", "compile", "evaluation", "checkpoint", "start", "lost", "down")
"""step        steps, without what is listed below
data_wait   the loop stood for a batch
compile     first steps of all starts, tracing and compilation included
evaluation  evaluations
checkpoint  the loop stood for saving
start       from every start of the loop to its first step: workdir, state, first batch
lost        from the checkpoint that a start went on from to the last line before that start
down        from there to that start: nothing ran, or it imported, found the others, opened data"""


class Goodput:
    """Seconds by kind, since the run began and since the line before.

    Attributes:
        seconds: kind -> seconds since the run began.
    """

    def __init__(
        self,
        started: float | None = None,
        record: Mapping[str, Any] | None = None,
        last_line: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ):
        """Begins, or goes on after what an earlier start of the run left.

        Args:
            started: when this start began, by `clock`; now if None.
            record: what `record` gave at the checkpoint that this start goes on from, if any.
            last_line: the last line of metrics.jsonl before this start, if any, dropped or not.
            clock: seconds since the epoch.
        """
        self._clock = clock
        started = clock() if started is None else started
        self.seconds = dict.fromkeys(KINDS, 0.0)
        self._begun, alive = started, started
        if last_line is not None and "goodput/total_sec" in last_line:
            alive = min(last_line["time"], started)
            self._begun = alive - last_line["goodput/total_sec"]
        saved_at = self._begun
        if record is not None:
            self._begun, saved_at = record["begun"], record["saved_at"]
            self.seconds |= {kind: record["seconds"].get(kind, 0.0) for kind in KINDS}
            alive = min(max(saved_at, last_line["time"] if last_line else 0.0), started)
        self.add("lost", max(alive - saved_at, 0.0))
        self.add("down", max(started - alive, 0.0))
        self.add("start", max(clock() - started, 0.0))

    def add(self, kind: str, seconds: float) -> None:
        """Counts time of one of `KINDS`."""
        self.seconds[kind] += seconds

    def metrics(self) -> dict[str, float]:
        """goodput/... of a line."""
        total = max(self._clock() - self._begun, 1e-9)
        return {
            "goodput/fraction": self.seconds["step"] / total,
            "goodput/total_sec": total,
            **{f"goodput/{kind}_sec": self.seconds[kind] for kind in KINDS},
        }

    def record(self) -> dict[str, Any]:
        """What a checkpoint keeps; JSON-serialisable."""
        return {"begun": self._begun, "saved_at": self._clock(), "seconds": dict(self.seconds)}
