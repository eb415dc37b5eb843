"""The loop with a toy training: what it does does not depend on what it trains."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from lvm_jax.training import checkpoints, durations, loop, metrics, stopping
from lvm_jax.training import workdir as workdir_lib
from tests.training.toy import RESOLVED, batches, losses, run, steps_on_disk


def test_stopping_and_going_on_changes_nothing(tmp_path):
    straight = run(tmp_path / "straight")
    for num_steps in (4, 9, 12):
        pieces = run(tmp_path / "pieces", num_steps)
    for a, b in zip(jax.tree.leaves(straight), jax.tree.leaves(pieces)):
        np.testing.assert_array_equal(a, b)
    assert losses(tmp_path / "pieces") == losses(tmp_path / "straight")
    assert [step for step, _ in losses(tmp_path / "pieces")] == list(range(1, 13))


def test_a_finished_run_returns_at_once(tmp_path):
    run(tmp_path)
    before = (tmp_path / metrics.FILE).read_text()

    def unexpected(start):
        raise AssertionError("a finished run needs no batches")

    assert run(tmp_path, source=unexpected) is None
    assert (tmp_path / metrics.FILE).read_text() == before


def test_order_of_evaluating_saving_and_logging(tmp_path):
    events = []

    def evaluator(state):
        events.append(("evaluate", int(state["step"])))
        yield "w", float(state["params"]["w"].mean())

    def after_save(step, state):
        assert int(state["step"]) == step
        events.append(("save", step))

    config = {"eval_every": 5}
    run(tmp_path, evaluators={"toy": evaluator}, after_save=after_save, config=config)
    expected = [(what, step) for step in (5, 10, 12) for what in ("evaluate", "save")]
    assert events == expected
    evaluated = [line["step"] for line in metrics.read_metrics(tmp_path) if "eval/toy/w" in line]
    assert evaluated == [5, 10, 12]
    assert steps_on_disk(tmp_path) == [10, 12]


def test_lines_have_speed_and_totals(tmp_path):
    run(tmp_path, config={"log_every": 4})
    lines = metrics.read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert [line["train/images_seen"] for line in lines] == [8, 16, 24]
    for line in lines:
        assert line["perf/images_per_sec_per_device"] > 0
        assert line["data/wait_sec"] >= 0
    assert json.loads((tmp_path / workdir_lib.CONFIG).read_text()) == RESOLVED


@pytest.mark.parametrize("bad_update", [1, 8, 10, 12])
def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path, bad_update):
    def poisoned(start):
        for step, batch in enumerate(batches(start), start):
            yield batch * np.float32(np.nan) if step + 1 == bad_update else batch

    with pytest.raises(stopping.RunError, match=rf"step {bad_update}: loss is nan") as error:
        run(tmp_path, source=poisoned)
    good = (bad_update - 1) // 5 * 5
    assert "\n" not in str(error.value)
    assert workdir_lib.latest_step(tmp_path) == (good or None)
    if good:
        assert f"checkpoints/{good}; the same command resumes" in str(error.value)
    run(tmp_path)  # with good batches it goes on from there
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 13))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(tmp_path, number):
    def interrupted(start):
        for step, batch in enumerate(batches(start), start):
            if step == 7:
                os.kill(os.getpid(), number)
            yield batch

    before = signal.getsignal(number)
    with pytest.raises(stopping.RunStoppedError, match=r"step 8; .*/8; the same command") as error:
        run(tmp_path, source=interrupted)
    assert error.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    straight = run(tmp_path / "straight")
    np.testing.assert_array_equal(run(tmp_path)["params"]["w"], straight["params"]["w"])
    assert losses(tmp_path) == losses(tmp_path / "straight")


def test_a_failure_says_where_the_last_checkpoint_is(tmp_path):
    def broken(start):
        for step, batch in enumerate(batches(start), start):
            if step == 7:
                raise ValueError("shard 3 is damaged")
            yield batch

    with pytest.raises(stopping.RunError, match=r"shard 3 is damaged; .*checkpoints/5; the same"):
        run(tmp_path, source=broken)
    assert workdir_lib.latest_step(tmp_path) == 5


def test_a_bug_keeps_its_own_exception(tmp_path):
    def buggy(start):
        raise TypeError("ours")
        yield

    with pytest.raises(TypeError, match="ours"):
        run(tmp_path, source=buggy)


def test_another_runs_directory_is_refused_before_anything_is_touched(tmp_path):
    run(tmp_path)
    before = (tmp_path / metrics.FILE).read_text()
    with pytest.raises(ValueError, match=r"model\.dim was 4 and is 5"):
        run(tmp_path, 20, resolved={**RESOLVED, "model": {"dim": 5}})
    with pytest.raises(ValueError, match="accept_changed_data"):
        run(tmp_path, 20, resolved={**RESOLVED, "data_fingerprint": "b"})
    assert (tmp_path / metrics.FILE).read_text() == before


def test_changed_data_can_be_accepted(tmp_path):
    run(tmp_path)
    other = {**RESOLVED, "data_fingerprint": "b"}
    run(tmp_path, 14, resolved=other, config={"accept_changed_data": True})
    assert workdir_lib.latest_step(tmp_path) == 14


def test_durations_are_resolved_together():
    config = loop.LoopConfig(
        num_steps="2 epochs", log_every="1%", checkpoint_every="800 tokens", eval_every=0
    )
    rates = durations.Rates(examples_per_step=2, tokens_per_step=20, examples_per_epoch=100)
    steps = config.resolve(rates)
    assert (steps.num_steps, steps.log_every, steps.checkpoint_every) == (100, 1, 40)
    with pytest.raises(ValueError, match="num_steps='5%'"):
        loop.LoopConfig(num_steps="5%").resolve(rates)
    with pytest.raises(ValueError, match="keep_checkpoints=0"):
        loop.LoopConfig(num_steps=1, keep_checkpoints=0)
    with pytest.raises(ValueError, match="checkpoint_every='0 min' must be positive, or 0"):
        loop.LoopConfig(num_steps=1, checkpoint_every="0 min")
    with pytest.raises(ValueError, match="profile_steps='9:12' begins after the last step: num_st"):
        loop.LoopConfig(num_steps=9, profile_steps="9:12").resolve(rates)


def test_lines_are_on_disk_before_the_checkpoint_after_them(tmp_path, monkeypatch):
    done = []
    for owner, name in ((metrics.MetricsWriter, "sync"), (checkpoints.Checkpoints, "save")):
        plain = getattr(owner, name)

        def noting(self, *args, name=name, plain=plain):
            done.append((name, *args[:1]))
            return plain(self, *args)

        monkeypatch.setattr(owner, name, noting)
    run(tmp_path, 10)
    assert done == [("sync",), ("save", 5), ("sync",), ("save", 10)]
