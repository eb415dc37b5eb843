"""What the loop does when disks, evaluations and updates fail."""

import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.training import checksums, metrics, speed, stopping
from lvm_jax.training import workdir as workdir_lib
from tests.training.toy import batches, run, step_function, steps_on_disk


def evaluator(state):
    yield "w", float(state["params"]["w"].mean())


def evaluations(workdir):
    lines = metrics.read_metrics(workdir)
    return [(line["step"], line["eval/toy/w"]) for line in lines if "eval/toy/w" in line]


def batches_with(at, do):
    """Batches; before that of step `at` something happens."""

    def source(start):
        for step, batch in enumerate(batches(start), start):
            if step == at:
                do()
            yield batch

    return source


def die():
    raise ValueError("out of batches")


def stop():
    os.kill(os.getpid(), signal.SIGTERM)


EVALUATED = {"evaluators": {"toy": evaluator}, "config": {"eval_every": 3, "checkpoint_every": 6}}


# A signal before the batch of step 5 stops before step 6, where an evaluation is due.
@pytest.mark.parametrize("at", [2, 3, 5, 6, 8, 10])
@pytest.mark.parametrize("end", [die, stop])
def test_every_evaluation_is_made_once(tmp_path, at, end):
    run(tmp_path / "straight", **EVALUATED)
    with pytest.raises(stopping.RunError):
        run(tmp_path / "ended", source=batches_with(at, end), **EVALUATED)
    run(tmp_path / "ended", **EVALUATED)
    assert [step for step, _ in evaluations(tmp_path / "ended")] == [3, 6, 9, 12]
    assert evaluations(tmp_path / "ended") == evaluations(tmp_path / "straight")


def test_a_run_stopped_twice_at_an_evaluation_makes_it_once(tmp_path):
    for source in (batches_with(5, stop), batches_with(6, stop)):
        with pytest.raises(stopping.RunStoppedError):
            run(tmp_path, source=source, **EVALUATED)
    run(tmp_path, **EVALUATED)
    assert [step for step, _ in evaluations(tmp_path)] == [3, 6, 9, 12]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bad_step", [9, 12])
def test_an_evaluation_that_is_not_finite_ends_the_run_unsaved(tmp_path, bad_step, value):
    def bad(state):
        yield "loss", value if int(state["step"]) == bad_step else 1.0

    options = {"evaluators": {"toy": bad}, "config": {"eval_every": 3, "checkpoint_every": 3}}
    with pytest.raises(stopping.RunError, match=rf"step {bad_step}: eval/toy/loss is -?") as error:
        run(tmp_path, **options)
    assert f"checkpoints/{bad_step - 3}; the same command" in str(error.value)
    assert workdir_lib.latest_step(tmp_path) == bad_step - 3
    assert "NaN" not in (tmp_path / metrics.FILE).read_text()


@pytest.mark.parametrize("part", ["params", "moments"])
def test_wrecked_arrays_are_not_saved_and_the_message_says_how_to_go_back(tmp_path, part):
    def wrecking(state, batch):
        state, values = step_function(state, batch)
        leaf = state[part]["w"] if part == "params" else state[part][0]
        wrecked = jnp.where(state["step"] == 10, jnp.inf, leaf)
        return {**state, part: {"w": wrecked} if part == "params" else (wrecked,)}, values

    with pytest.raises(stopping.RunError, match=rf"step 10: .* infinity in {part}/") as error:
        run(tmp_path, step=jax.jit(wrecking, donate_argnums=0))
    assert steps_on_disk(tmp_path) == [5]
    folder = tmp_path / workdir_lib.FOLDER
    assert f"remove {folder / '5'} to go on over, or choose another workdir" in str(error.value)


def test_a_failure_that_may_come_again_names_the_checkpoint_to_go_back_to(tmp_path):
    def poisoned(start):
        for step, batch in enumerate(batches(start), start):
            yield batch * np.float32(np.nan) if step == 11 else batch

    folder = tmp_path / workdir_lib.FOLDER
    with pytest.raises(stopping.RunError, match="step 12: loss is nan") as error:
        run(tmp_path, source=poisoned)
    assert f"remove {folder / '10'} to go on from {folder / '5'}" in str(error.value)
    assert "\n" not in str(error.value)
    shutil.rmtree(folder / "10")  # as it says
    run(tmp_path)
    assert [x["step"] for x in metrics.read_metrics(tmp_path)] == list(range(1, 13))


def test_the_first_error_is_reported_though_closing_fails_too(tmp_path, caplog, monkeypatch):
    class Failing(metrics.Progress):
        def close(self):
            super().close()
            raise OSError("closing failed too")

    monkeypatch.setattr(metrics, "Progress", Failing)
    with pytest.raises(stopping.RunError, match=r"out of batches; the last good .*/5; "):
        run(tmp_path, source=batches_with(7, die))
    assert "and then, in closing: closing failed too" in caplog.text
    with pytest.raises(stopping.RunError, match="failed: closing failed too"):
        run(tmp_path)


def test_a_full_disk_under_the_metrics_is_named_while_a_save_runs(tmp_path, monkeypatch):
    """The save fails as well, as on a disk of both."""

    def fill():
        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checksums, "note", full)
        monkeypatch.setattr(metrics, "_append", full)

    with pytest.raises(stopping.RunError) as error:
        run(tmp_path, source=batches_with(5, fill))
    assert f"cannot write {tmp_path / metrics.FILE}: No space left" in str(error.value)
    assert "free space or choose another place" in str(error.value)


def test_metrics_that_cannot_be_opened_are_named(tmp_path):
    (tmp_path / metrics.FILE).mkdir()
    with pytest.raises(stopping.RunError, match=r"metrics\.jsonl"):
        run(tmp_path)


@pytest.mark.parametrize("every", [1, 100])
def test_a_workdir_that_is_gone_is_said_to_be_gone(tmp_path, every):
    workdir = tmp_path / "run"
    moved = batches_with(7, lambda: workdir.rename(tmp_path / "moved"))
    with pytest.raises(stopping.RunError, match=r"failed: .*/run is gone: it was rem") as error:
        run(workdir, source=moved, config={"log_every": every})
    assert "make room" not in str(error.value) and "free space" not in str(error.value)


def test_removed_metrics_are_said_to_be_removed(tmp_path):
    remove = batches_with(7, (tmp_path / metrics.FILE).unlink)
    with pytest.raises(stopping.RunError, match=r"metrics\.jsonl was removed while the run was on"):
        run(tmp_path, source=remove)


def counting_step(state, batch):
    new, values = step_function(state, batch)
    return new, {**values, "tokens": (state["step"] % 3 + 1).astype(jnp.float32)}


def test_sums_over_all_steps_survive_a_resume(tmp_path):
    work = speed.Work(unit="tokens", units_per_step=5, totals={"tokens_with_loss_seen": "tokens"})
    options = {"step": jax.jit(counting_step, donate_argnums=0), "work": work}
    config = {"log_every": 4, "checkpoint_every": 5}
    run(tmp_path / "straight", config=config, **options)
    for end in (die, stop):
        with pytest.raises(stopping.RunError):
            run(tmp_path / "ended", source=batches_with(7, end), config=config, **options)
    run(tmp_path / "ended", config=config, **options)
    for name in ("straight", "ended"):
        lines = metrics.read_metrics(tmp_path / name)
        assert [line["train/tokens_seen"] for line in lines] == [20, 40, 60]
        sums = [sum(n % 3 + 1 for n in range(step)) for step in (4, 8, 12)]
        assert [line["train/tokens_with_loss_seen"] for line in lines] == sums


def test_a_sum_that_a_checkpoint_lacks_is_not_made_up(tmp_path):
    options = {"step": jax.jit(counting_step, donate_argnums=0)}
    run(tmp_path, 6, **options)
    work = speed.Work(unit="tokens", units_per_step=5, totals={"tokens_with_loss_seen": "tokens"})
    run(tmp_path, work=work, **options)
    assert not any("train/tokens_with_loss_seen" in x for x in metrics.read_metrics(tmp_path))
