"""Repeated measurements of rivals, one after the other in turn, so that noise hits all alike."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of each repeat, in order.

    Attributes:
        wall: elapsed; what users wait for.
        cpu: of all threads of this process; steadier on a machine that others use too.
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the elapsed seconds."""
        return statistics.median(self.wall)

    @property
    def cpu_median(self) -> float:
        """Of the seconds of all threads."""
        return statistics.median(self.cpu)


def interleave(
    cases: Mapping[str, Callable[[], Any]], *, warmup: int, repeats: int
) -> dict[str, Times]:
    """Runs every case warmup + repeats times, alternating; each call must wait for its result."""
    wall, cpu = ({name: [] for name in cases} for _ in range(2))
    for turn in range(warmup + repeats):
        for name, case in cases.items():
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            case()
            if turn >= warmup:
                wall[name].append(time.perf_counter() - wall_start)
                cpu[name].append(time.process_time() - cpu_start)
    return {name: Times(tuple(wall[name]), tuple(cpu[name])) for name in cases}


def rows(
    times: Mapping[str, Times], tokens: int, reference: str | None = None
) -> list[dict[str, Any]]:
    """A result row per case: tokens/s, seconds and, with a reference, how many times as fast.

    The ratio is the median over turns of (reference's seconds / ours), each pair measured within
    seconds of each other.
    """
    table = []
    for name, measured in times.items():
        row = {
            "name": name,
            "tokens_per_second": tokens / measured.median,
            "seconds": measured.median,
            "fastest": min(measured.wall),
            "slowest": max(measured.wall),
            "cpu_seconds": measured.cpu_median,
        }
        if reference is not None:
            pairs = zip(times[reference].wall, measured.wall)
            row["speed_ratio"] = statistics.median(theirs / ours for theirs, ours in pairs)
            pairs = zip(times[reference].cpu, measured.cpu)
            row["cpu_ratio"] = statistics.median(theirs / ours for theirs, ours in pairs)
        table.append(row)
    return table
