"""How fast a run is: work per step, wall-clock per step, utilisation."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Literal

import jax

from lvm_jax.training.goodput import Goodput


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What one step amounts to, for speed and utilisation.

    Attributes:
        unit: "tokens" or "images".
        units_per_step: in the global batch.
        flops_per_step: of the model, over all devices, attention counted causally; None when
            unknown.
        full_attention_flops_per_step: the same with every pair of positions counted.
        peak_flops_per_device: per second; None when unknown.
        totals: name -> the metric of a step whose sum over all steps is logged as train/<name>.
    """

    unit: str
    units_per_step: int
    flops_per_step: float | None = None
    full_attention_flops_per_step: float | None = None
    peak_flops_per_device: float | None = None
    totals: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def utilization(self, seconds: float) -> dict[str, float]:
        """perf/mfu of a step of so many seconds, in both conventions, as far as they are known."""
        flops = {
            "perf/mfu": self.flops_per_step,
            "perf/mfu_full_attention": self.full_attention_flops_per_step,
        }
        peak = (self.peak_flops_per_device or 0.0) * jax.device_count()
        return {name: each / seconds / peak for name, each in flops.items() if each and peak}

    def summary(self) -> list[str]:
        """How utilisation is computed, in one line; none for a work without FLOPs."""
        if self.flops_per_step is None:
            return []
        per_unit = self.flops_per_step / self.units_per_step
        line = (
            f"model FLOPs: {self.flops_per_step:.4g} per step, {per_unit:.4g} per "
            f"{self.unit.removesuffix('s')}: 3 x forward products, attention causal, recomputation "
            "left out"
        )
        if self.full_attention_flops_per_step:
            line += f" ({self.full_attention_flops_per_step:.4g} with full attention)"
        if self.peak_flops_per_device is None:
            return [f"{line}; perf/mfu is not logged: the peak of these devices is not known"]
        peak = self.peak_flops_per_device / 1e12
        return [f"{line}; perf/mfu = FLOPs / seconds / ({jax.device_count()} x {peak:.4g} TFLOP/s)"]


class Speed:
    """Wall-clock per step, without compilation, evaluation and saving; tells all to `Goodput`."""

    def __init__(self, work: Work, goodput: Goodput | None = None):
        self._work = work
        self._goodput = goodput or Goodput()
        self._made = time.monotonic()
        self._once: dict[str, float] = {}
        self._paused = dict.fromkeys(("checkpoint", "evaluation", ""), 0.0)
        self._waited_in_step = 0.0
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
            self._goodput.add("start", before - self._made - sum(self._paused.values()))
        yield
        self._waited_in_step += time.monotonic() - before

    def step_done(self) -> float | None:
        """Counts a step; for the first one its seconds, which include compilation."""
        now, before = time.monotonic(), self._last
        waited, self._waited_in_step = self._waited_in_step, 0.0
        self._last = now
        self._goodput.add("data_wait", waited)
        self._goodput.add("compile" if self._first else "step", now - before - waited)
        if self._first:
            self._first = False
            self._once = {"perf/compile_sec": now - before - waited}
            return now - before
        self._steps += 1
        self._waited += waited
        self._seconds += now - before
        self._recent = 0.9 * self._recent + 0.1 * (now - before) if self._recent else now - before
        return None

    @contextlib.contextmanager
    def paused(self, kind: Literal["checkpoint", "evaluation", ""] = "") -> Iterator[None]:
        """What the block does counts for no step; `kind` is what it counts for."""
        before = time.monotonic()
        yield
        seconds = time.monotonic() - before
        self._last += seconds
        self._paused[kind] += seconds
        if kind:
            self._goodput.add(kind, seconds)

    def recent(self) -> float | None:
        """Units per second over about the last ten steps, all devices together."""
        return self._work.units_per_step / self._recent if self._recent else None

    def take_window(self) -> dict[str, float]:
        """perf/ and data/ metrics since the last call."""
        window, self._once = self._once, {}
        if not self._steps:
            return window
        seconds, work, devices = self._seconds / self._steps, self._work, jax.device_count()
        rate = work.units_per_step / seconds / devices
        window |= {
            "perf/sec_per_step": seconds,
            f"perf/{work.unit}_per_sec_per_device": rate,
            "perf/checkpoint_wait_sec": self._paused["checkpoint"],
            "perf/evaluation_sec": self._paused["evaluation"],
            "data/wait_sec": self._waited / self._steps,
            **work.utilization(seconds),
        }
        self._seconds, self._waited, self._steps = 0.0, 0.0, 0
        self._paused = dict.fromkeys(self._paused, 0.0)
        return window
