"""A signal in the middle of an evaluation or a save, and checkpoints by the clock."""

import os
import signal
import types

import jax
import numpy as np
import pytest

from lvm_jax.training import checkpoints, metrics, schedule, stopping
from tests.training.test_loop_faults import batches_with, die, evaluations
from tests.training.toy import RESOLVED, batches, init_state, losses, run, steps_on_disk


class Evaluator:
    """Ten batches; one of them, of the evaluation at `at`, comes with a signal."""

    def __init__(self, at=0, number=signal.SIGTERM):
        self.at, self.number, self.seen = at, number, 0

    def __call__(self, state):
        for batch in range(10):
            self.seen += 1
            if int(state["step"]) == self.at and batch == 2:
                os.kill(os.getpid(), self.number)
            yield None
        yield "w", float(state["params"]["w"].mean())


CONFIG = {"eval_every": 4, "checkpoint_every": 100}


@pytest.mark.parametrize("at", [4, 8, 12])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_an_evaluation_is_given_up_and_made_by_the_next_start(tmp_path, at, number):
    evaluator = Evaluator(at, number)
    with pytest.raises(stopping.RunStoppedError, match=rf"at step {at};") as error:
        run(tmp_path / "run", evaluators={"toy": evaluator}, config=CONFIG)
    assert error.value.exit_code == 128 + number
    assert evaluator.seen == 10 * (at // 4 - 1) + 3
    assert steps_on_disk(tmp_path / "run") == [at]
    again = Evaluator()
    run(tmp_path / "run", evaluators={"toy": again}, config=CONFIG)
    run(tmp_path / "straight", evaluators={"toy": Evaluator()}, config=CONFIG)
    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "straight")
    assert losses(tmp_path / "run") == losses(tmp_path / "straight")
    unexpected = Evaluator()
    assert run(tmp_path / "run", evaluators={"toy": unexpected}, config=CONFIG) is None
    assert unexpected.seen == 0


def test_a_signal_that_is_repeated_does_not_end_a_save(tmp_path, monkeypatch):
    save = checkpoints.Checkpoints.save

    def interrupted(self, *args):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        save(self, *args)
        os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(checkpoints.Checkpoints, "save", interrupted)
    with pytest.raises(stopping.RunStoppedError, match="stopped by SIGTERM at step 6;"):
        run(tmp_path)
    monkeypatch.undo()
    # The save of step 5 was under way and is whole; at most one step was made after the signal.
    assert steps_on_disk(tmp_path) == [5, 6]
    straight = run(tmp_path / "straight")
    np.testing.assert_array_equal(run(tmp_path)["params"]["w"], straight["params"]["w"])


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(schedule, "time", clock)
    return clock


def timed(clock, seconds=10.0):
    def source(start):
        for batch in batches(start):
            clock.now += seconds
            yield batch

    return source


def test_checkpoints_follow_the_clock_where_lines_are_logged(tmp_path, clock):
    saved = []
    config = {"log_every": 2, "checkpoint_every": "25 s", "keep_every": 7}
    note = lambda step, state: saved.append(step)
    run(tmp_path, 16, source=timed(clock), config=config, after_save=note)
    # Every third step would be late by the clock; 7 and 14 stay, and begin the time anew.
    assert saved == [4, 7, 10, 14, 16]
    assert steps_on_disk(tmp_path) == [7, 14, 16]


def test_checkpoints_by_time_do_not_change_a_run(tmp_path, clock):
    config = {"log_every": 1, "checkpoint_every": "0.5 min"}
    with pytest.raises(stopping.RunError):
        dying = batches_with(8, die)
        tick = lambda start: (setattr(clock, "now", clock.now + 10) or b for b in dying(start))
        run(tmp_path / "run", source=tick, config=config)
    assert steps_on_disk(tmp_path / "run") == [3, 6]
    run(tmp_path / "run", source=timed(clock), config=config)
    run(tmp_path / "straight")
    assert losses(tmp_path / "run") == losses(tmp_path / "straight")


def test_kept_checkpoints_outlive_a_restart(tmp_path):
    config = {"checkpoint_every": 5, "keep_every": 4, "keep_checkpoints": 1}
    run(tmp_path, 9, config=config)
    assert steps_on_disk(tmp_path) == [4, 8, 9]
    run(tmp_path, 12, config=config)
    assert steps_on_disk(tmp_path) == [4, 8, 12]
    store = checkpoints.Checkpoints(tmp_path, RESOLVED, keep=1, keep_every=4)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), init_state())
    assert int(store.restore(abstract, 4)["step"]) == 4
    store.close()


def test_the_time_of_saving_and_evaluating_stands_in_the_lines(tmp_path):
    config = {"eval_every": 3, "checkpoint_every": 3, "log_every": 2}
    run(tmp_path, 8, evaluators={"toy": Evaluator()}, config=config)
    lines = [line for line in metrics.read_metrics(tmp_path) if "train/loss" in line]
    assert [line["perf/checkpoint_wait_sec"] > 0 for line in lines] == [False, True, False, True]
    assert [line["perf/evaluation_sec"] > 0 for line in lines] == [False, True, False, True]
    assert ["perf/compile_sec" in line for line in lines] == [True, False, False, False]
    assert all(0 < line["goodput/fraction"] < 1 for line in lines)
    totals = [line["goodput/checkpoint_sec"] for line in lines]
    assert totals == sorted(totals) and totals[0] == 0 < totals[-1]


def test_goodput_goes_on_after_a_kill(tmp_path):
    with pytest.raises(stopping.RunError):
        run(tmp_path, source=batches_with(8, die))
    before = metrics.read_metrics(tmp_path)[-1]
    run(tmp_path)
    after = metrics.read_metrics(tmp_path)[-1]
    assert after["goodput/lost_sec"] > 0 == before["goodput/lost_sec"]
    assert after["goodput/total_sec"] > before["goodput/total_sec"]
    known = sum(after[name] for name in after if name.startswith("goodput/") and "_sec" in name)
    assert known <= 2 * after["goodput/total_sec"] * (1 + 1e-6)  # of which one is the total
