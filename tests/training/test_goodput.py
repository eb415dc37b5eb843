"""Seconds of a run by what they were spent on, across restarts, by a clock that stands still."""

import json

import pytest

from lvm_jax.training.goodput import KINDS, Goodput


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now

    def goes(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def spend(clock, goodput, kind, seconds):
    clock.goes(seconds)
    goodput.add(kind, seconds)


def line(clock, goodput):
    return {"step": 1, "time": clock.now, **goodput.metrics()}


def spent(goodput):
    return {kind: seconds for kind, seconds in goodput.seconds.items() if seconds}


def test_the_share_of_steps_in_all_time(clock):
    started = clock.now
    clock.goes(5)
    goodput = Goodput(started, clock=clock)
    for kind, seconds in (("compile", 15), ("step", 60), ("checkpoint", 20)):
        spend(clock, goodput, kind, seconds)
    values = goodput.metrics()
    assert values["goodput/fraction"] == 0.6 and values["goodput/total_sec"] == 100
    assert spent(goodput) == {"start": 5, "compile": 15, "step": 60, "checkpoint": 20}
    assert set(values) == {"goodput/fraction", "goodput/total_sec"} | {
        f"goodput/{kind}_sec" for kind in KINDS
    }


def test_steps_after_the_last_checkpoint_are_lost(clock):
    first = Goodput(clock=clock)
    spend(clock, first, "step", 50)
    record = json.loads(json.dumps(first.record()))  # as a checkpoint keeps it
    spend(clock, first, "step", 30)
    last = line(clock, first)
    clock.goes(15)  # after its last line it is killed, and stays away
    started = clock.now
    clock.goes(5)
    second = Goodput(started, record, last, clock)
    assert spent(second) == {"step": 50, "lost": 30, "down": 15, "start": 5}
    assert second.metrics()["goodput/total_sec"] == 100
    assert second.metrics()["goodput/fraction"] == 0.5


def test_a_run_that_is_killed_before_its_first_checkpoint_has_lost_all(clock):
    first = Goodput(clock=clock)
    spend(clock, first, "step", 40)
    last = line(clock, first)
    clock.goes(10)
    second = Goodput(clock.now, None, last, clock)
    assert spent(second) == {"lost": 40, "down": 10}
    third = Goodput(clock.now, None, line(clock, second), clock)
    assert spent(third) == {"lost": 50}
    assert third.metrics()["goodput/total_sec"] == 50


def test_a_stopped_run_loses_nothing(clock):
    first = Goodput(clock=clock)
    spend(clock, first, "step", 40)
    last = line(clock, first)
    clock.goes(1)
    record = first.record()
    clock.goes(9)
    assert spent(Goodput(clock.now, record, last, clock)) == {"step": 40, "down": 9}


def test_a_run_of_before_begins_to_count_now(clock):
    last = {"step": 5, "time": clock.now - 100, "train/loss": 1.0}
    assert spent(Goodput(clock.now, None, last, clock)) == {}
