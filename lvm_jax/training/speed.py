"""How fast a run is: work per step, wall-clock per step, utilisation."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping

import jax


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What one step amounts to, for speed and utilisation.

    Attributes:
        unit: "tokens" or "images".
        units_per_step: in the global batch.
        flops_per_step: of the model, over all devices; None when unknown.
        peak_flops_per_device: per second; None when unknown.
        totals: name -> the metric of a step whose sum over all steps is logged as train/<name>.
    """

    unit: str
    units_per_step: int
    flops_per_step: float | None = None
    peak_flops_per_device: float | None = None
    totals: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Speed:
    """Wall-clock per step, without compilation, evaluation and saving."""

    def __init__(self, work: Work):
        self._work = work
        self._last = time.monotonic()
        self._first = True
        self._seconds = self._waited = self._recent = 0.0
        self._steps = 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """The block takes a step's batch; the first one is where the first step begins."""
        before = time.monotonic()
        if self._first:
            self._last = before
        yield
        self._waited += time.monotonic() - before

    def step_done(self) -> float | None:
        """Counts a step; for the first one its seconds, which include compilation."""
        now, before = time.monotonic(), self._last
        self._last = now
        if self._first:
            self._first = False
            self._waited = 0.0
            return now - before
        self._steps += 1
        self._seconds += now - before
        self._recent = 0.9 * self._recent + 0.1 * (now - before) if self._recent else now - before
        return None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What the block does counts for nothing."""
        before = time.monotonic()
        yield
        self._last += time.monotonic() - before

    def recent(self) -> float | None:
        """Units per second over about the last ten steps, all devices together."""
        return self._work.units_per_step / self._recent if self._recent else None

    def take_window(self) -> dict[str, float]:
        """perf/ and data/ metrics since the last call."""
        if not self._steps:
            return {}
        seconds, work, devices = self._seconds / self._steps, self._work, jax.device_count()
        rate = work.units_per_step / seconds / devices
        window = {
            "perf/sec_per_step": seconds,
            f"perf/{work.unit}_per_sec_per_device": rate,
            "data/wait_sec": self._waited / self._steps,
        }
        if work.flops_per_step and work.peak_flops_per_device:
            per_device = work.flops_per_step / seconds / devices
            window["perf/mfu"] = per_device / work.peak_flops_per_device
        self._seconds, self._waited, self._steps = 0.0, 0.0, 0
        return window
