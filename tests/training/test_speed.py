import dataclasses
import types

import jax

from lvm_jax.training import speed
from lvm_jax.training.goodput import Goodput


def test_the_first_step_is_timed_from_its_batch_on(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(speed, "time", clock)

    def step(measured, wait, seconds):
        with measured.waiting():
            clock.now += wait
        clock.now += seconds
        return measured.step_done()

    goodput = Goodput(clock=lambda: 0.0)
    measured = speed.Speed(speed.Work(unit="images", units_per_step=12), goodput)
    clock.now += 100  # the state is made or restored
    with measured.paused():
        clock.now += 10  # an evaluation that was due
    assert step(measured, wait=3, seconds=20) == 23
    assert measured.take_window() == {"perf/compile_sec": 20}
    assert step(measured, wait=1, seconds=2) is None
    with measured.paused("checkpoint"):
        clock.now += 10
    with measured.paused("evaluation"):
        clock.now += 5
    assert step(measured, wait=2, seconds=4) is None
    assert measured.take_window() == {
        "perf/sec_per_step": 4.5,
        "perf/images_per_sec_per_device": 12 / 4.5 / jax.device_count(),
        "perf/checkpoint_wait_sec": 10,
        "perf/evaluation_sec": 5,
        "data/wait_sec": 1.5,
    }
    seconds = {"start": 100, "compile": 20, "step": 6, "data_wait": 6}
    spent = {kind: value for kind, value in goodput.seconds.items() if value}
    assert spent == {**seconds, "checkpoint": 10, "evaluation": 5}


def test_utilisation_has_both_conventions_and_says_how():
    devices = jax.device_count()
    work = speed.Work(
        unit="tokens",
        units_per_step=4,
        flops_per_step=8e12,
        full_attention_flops_per_step=10e12,
        peak_flops_per_device=1e12,
    )
    assert work.utilization(2.0) == {
        "perf/mfu": 4 / devices,
        "perf/mfu_full_attention": 5 / devices,
    }
    (line,) = work.summary()
    assert (
        "8e+12 per step, 2e+12 per token" in line
        and "attention causal" in line
        and "1e+13 with full" in line
    )
    assert f"perf/mfu = FLOPs / seconds / ({devices} x 1 TFLOP/s)" in line
    unknown = dataclasses.replace(work, peak_flops_per_device=None)
    assert (
        unknown.utilization(2.0) == {}
        and "peak of these devices is not known" in (unknown.summary()[0])
    )
    assert speed.Work(unit="images", units_per_step=4).summary() == []
