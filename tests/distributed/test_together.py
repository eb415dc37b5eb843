"""Several real processes, over gloo: they fail, stop and refuse as one."""

import math
import os
import signal

import pytest

from lvm_jax.training import in_use, metrics
from lvm_jax.training import workdir as workdir_lib
from tests.distributed import metadata_server
from tests.distributed.toy_runs import losses


def faulty(toy_run, kind, process, where="batch", step=13, count=2, **options):
    fault = {"kind": kind, "process": process, "where": where, "step": step}
    return toy_run(count, fault=fault, **options)


@pytest.mark.parametrize(
    "kind, process, reason",
    [
        ("error", 0, "failed: training failed: shard 3 is damaged"),
        ("error", 1, "failed: training failed: shard 3 is damaged"),
        ("bug", 1, "failed: TypeError: ours"),
        ("exit", 0, "failed: SystemExit: 0"),
        ("vanish", 1, "ended with exit code 7 and without a reason"),
        ("-SIGKILL", 0, "was killed by SIGKILL (out of memory?)"),
        ("-SIGABRT", 1, "was killed by SIGABRT"),
        ("SIGKILL", 0, "is gone without a word"),
        ("SIGKILL", 1, "is gone without a word"),
    ],
)
def test_a_failure_of_one_is_a_failure_of_all(toy_run, kind, process, reason):
    run = faulty(toy_run, kind, process)
    ended = run.end()
    killed = kind == "SIGKILL"
    for index, one in enumerate(ended):
        if killed and index == process:
            assert one.code == -signal.SIGKILL
            continue
        assert one.code == 1, one.stderr
        own = index == process and kind in ("error", "bug", "exit")
        expected = reason.removeprefix("failed: ") if own else f"process {process} of 2 {reason}"
        assert one.last.startswith(f"toy_tool.py: {expected}"), one.stderr
        assert one.last.endswith("/run/checkpoints/10; the same command resumes from it")
    assert ("Traceback" in ended[process].stderr) == (kind in ("bug", "exit"))
    if not (killed and process == 0):
        assert in_use.read(run.workdir) is None


def test_all_of_three_end_when_the_first_is_killed(toy_run):
    ended = faulty(toy_run, "SIGKILL", 0, count=3).end()
    assert [one.code for one in ended] == [-signal.SIGKILL, 1, 1]
    for one in ended[1:]:
        assert "process 0 of 3 is gone without a word" in one.last


def test_what_is_found_before_training_ends_all_with_code_2(toy_run):
    ended = faulty(toy_run, "refusal", 1, "begin", 0).end()
    assert [one.code for one in ended] == [2, 2]
    assert ended[0].last == "toy_tool.py: process 1 of 2 failed: no such shards"
    assert ended[1].last == "toy_tool.py: no such shards"


def test_a_full_disk_under_the_metrics_ends_all(toy_run):
    run = faulty(toy_run, "full", 0)
    ended = run.end()
    assert [one.code for one in ended] == [1, 1]
    for one in ended:
        assert f"training failed: cannot write {run.workdir}/metrics.jsonl: File" in one.last


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The losses of 40 undisturbed steps."""
    from toy_runs import ToyRun

    run = ToyRun(tmp_path_factory.mktemp("straight"), 2, num_steps=40)
    assert [one.code for one in run.end()] == [0, 0]
    return losses(run.workdir)


@pytest.mark.parametrize(
    "kind, process, where, step",
    [
        ("SIGINT", 0, "batch", 13),
        ("SIGTERM", 1, "batch", 0),  # with the first step's compilation before it
        ("SIGINT", 1, "evaluate", 10),
    ],
)
def test_a_signal_to_one_saves_and_stops_all(toy_run, straight, kind, process, where, step):
    run = faulty(toy_run, kind, process, where, step)
    number = signal.Signals[kind]
    for one in run.end():
        assert one.code == 128 + number, one.stderr
        assert f"stopped by {kind} at step" in one.last
        assert one.last.endswith("the same command resumes from it")
    stopped = workdir_lib.latest_step(run.workdir)
    assert step < stopped < 40
    assert [one.code for one in toy_run(2, num_steps=40).end()] == [0, 0]
    assert losses(run.workdir) == straight


def test_an_evaluation_is_given_up_at_once_by_all(toy_run, straight):
    """It would take a hundred seconds, of which the signal comes in the first."""
    run = faulty(toy_run, "SIGUSR1", 1, "evaluate", 10, eval_batches=1000)
    for one in run.end():
        assert one.code == 128 + signal.SIGUSR1, one.stderr
        assert "stopped by SIGUSR1 at step 10;" in one.last
    assert workdir_lib.latest_step(run.workdir) == 10
    evaluated = lambda: [x["step"] for x in metrics.read_metrics(run.workdir) if "eval/toy/w" in x]
    assert evaluated() == []
    assert [one.code for one in toy_run(2, num_steps=40).end()] == [0, 0]
    assert losses(run.workdir) == straight and evaluated() == [10, 20, 30, 40]


def test_a_machine_that_goes_stops_all_and_its_signals_may_be_repeated(toy_run):
    """One process is told by its platform, which goes on to send what it sends."""
    with metadata_server.serving() as metadata:
        run = toy_run(2, each={1: {"preemption_notice": metadata.address}})
        run.wait_for_step(5)
        metadata.said["preempted"] = "TRUE"
        run.wait_for_words(1, b"is about to be taken away (preempted=TRUE)")
        for _ in range(3):
            run.processes[1].send_signal(signal.SIGTERM)
        ended = run.end()
    for one in ended:
        assert one.code == 128 + signal.SIGTERM, one.stderr
        assert "stopped by SIGTERM at step" in one.last
    assert losses(run.workdir)[-1][0] == workdir_lib.latest_step(run.workdir)


def test_process_0_has_the_clock_of_all(toy_run):
    each = {0: {"checkpoint_every": "0.2 s"}, 1: {"checkpoint_every": "10 hours"}}
    run = toy_run(2, each=each)
    run.wait_for_step(60)  # a step takes 20 ms or more
    assert workdir_lib.steps(run.workdir)
    run.processes[1].send_signal(signal.SIGTERM)
    assert [one.code for one in run.end()] == [143, 143]


def test_a_terminal_sends_ctrl_c_to_all(toy_run):
    run = toy_run(3)
    run.wait_for_step(5)
    for process in run.processes.values():
        os.killpg(process.pid, signal.SIGINT)  # to trainers, too
    ended = run.end()
    assert [one.code for one in ended] == [130, 130, 130]
    assert len({one.last for one in ended}) == 1
    assert f"at step {workdir_lib.latest_step(run.workdir)};" in ended[0].last


def test_a_second_signal_ends_all_at_once(toy_run):
    fault = {"kind": "stuck", "process": 1, "where": "batch", "step": 13}
    run = toy_run(2, fault=fault)
    run.wait_for_step(12)
    run.processes[0].send_signal(signal.SIGINT)
    run.wait_for_words(0, b"SIGINT: saving")
    run.processes[0].send_signal(signal.SIGINT)
    ended = run.end()
    assert [one.code for one in ended] == [130, 130]
    for one in ended:
        assert "process 0 of 2 was interrupted by a second signal, SIGINT; " in one.last


def test_a_signal_before_training_ends_all(toy_run):
    ended = faulty(toy_run, "SIGTERM", 1, "begin", 0).end()
    assert [one.code for one in ended] == [143, 143]
    assert all("stopped by SIGTERM before the first step" in one.last for one in ended)


def test_different_configs_are_refused(toy_run):
    ended = toy_run(3, each={2: {"seed": 5}}).end()
    assert [one.code for one in ended] == [2, 2, 2]
    for one in ended:
        assert "config.seed is 0 on process 0 and 5 on process 2; start all" in one.last


def test_a_workdir_that_is_not_shared_is_refused(toy_run, tmp_path):
    other = tmp_path / "other"
    ended = toy_run(2, each={1: {"workdir": str(other)}}).end()
    assert [one.code for one in ended] == [2, 2]
    for one in ended:
        assert f"workdir {other} of process 1 is not the same directory as {tmp_path}" in one.last
    assert not other.exists()


def test_a_workdir_in_use_is_refused_until_its_run_is_killed(toy_run):
    run = toy_run(2)
    run.wait_for_step(5)
    owner = in_use.read(run.workdir)
    assert owner.pid == run.processes[0].pid  # a signal to it stops the run
    (alone,) = toy_run(1).end()
    assert alone.code == 2
    assert f"in use by process {owner.pid} on {owner.host} since {owner.since}" in alone.last
    ended = toy_run(2).end()
    assert [one.code for one in ended] == [2, 2]
    assert all("is in use by" in one.last for one in ended)
    run.kill()
    last = workdir_lib.latest_step(run.workdir) + 20
    (again,) = toy_run(1, num_steps=last).end()
    assert again.code == 0, again.stderr
    assert f"was in use by process {owner.pid}" in again.stderr
    assert [step for step, _ in losses(run.workdir)] == list(range(1, last + 1))
    assert all(math.isfinite(loss) for _, loss in losses(run.workdir))


@pytest.mark.parametrize(
    "only, message",
    [
        (0, "process 1 of 2 did not join at 127.0.0.1:"),
        (1, "process 0 of 2 was not found at 127.0.0.1:"),
    ],
)
def test_who_never_comes_is_named(toy_run, only, message):
    (ended,) = toy_run(2, only=[only], timeout=2.0).end()
    assert ended.code == 1
    assert message in ended.last
    assert "within 2 s (distributed.timeout)" in ended.last
    assert "Traceback" not in ended.stderr


def test_who_is_stuck_on_the_way_is_named(toy_run):
    # Before the save of step 10, which all come to.
    ended = faulty(toy_run, "stuck", 1, "evaluate", 10, timeout=5.0).end()
    assert [one.code for one in ended] == [1, 1]
    for one in ended:
        assert "process 1 of 2 did not come to the save of step 10 within 5 s" in one.last
