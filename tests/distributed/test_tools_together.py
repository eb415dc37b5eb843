"""tools/train.py, tools/train_tokenizer.py and tools/check_device.py in two real processes."""

import json
import signal
import sys

import pytest

from lvm_jax.training import workdir as workdir_lib
from tests.campaign.toy_training import NUM_STEPS, TOOLS, prepare
from tests.distributed.toy_runs import Run, free_address, losses


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    prepare(root)
    return root


@pytest.fixture
def start(root, tmp_path):
    """start(kind, flags of process 1) -> Run."""
    runs = []

    def start(kind, flags=()):
        workdir = tmp_path / "run"
        command = [sys.executable, f"tools/{TOOLS[kind]}", f"--config={root / kind}.py"]
        command += [f"--workdir={workdir}", "--config.distributed.mode=explicit"]
        command += [f"--config.distributed.coordinator_address={free_address()}"]
        command += ["--config.distributed.num_processes=2"]
        runs.append(
            Run(
                workdir,
                {
                    0: [*command, "--config.distributed.process_id=0"],
                    1: [*command, "--config.distributed.process_id=1", *flags],
                },
            )
        )
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


def test_killed_and_interrupted_on_one_both_end_and_resume(start):
    """The other training is in tests/tools/test_train.py and, without its model, in the toy's."""
    kind = "tokenizer"
    run = start(kind)
    run.wait_for_step(8)
    run.processes[1].kill()
    survivor, _ = run.end()
    assert survivor.code == 1, survivor.stderr
    assert survivor.last.startswith(f"{TOOLS[kind]}: process 1 of 2 is gone without a word")
    before = workdir_lib.latest_step(run.workdir)
    run = start(kind)
    run.wait_for_step(before + 7)
    run.processes[1].send_signal(signal.SIGINT)
    for one in run.end():
        assert one.code == 130, one.stderr
        assert f"stopped by SIGINT at step {workdir_lib.latest_step(run.workdir)};" in one.last
    assert [one.code for one in start(kind).end()] == [0, 0]
    assert [step for step, _ in losses(run.workdir)] == list(range(1, NUM_STEPS + 1))


@pytest.mark.parametrize(
    "kind, flags, message",
    [
        ("transformer", ["--config.optimizer.peak_lr=0.02"], "config.optimizer.peak_lr is 0.01 on"),
        ("transformer", ["--config.eval_data=none"], "config.eval_data is {'"),
        ("tokenizer", ["--config.seed=3"], "config.seed is 0 on process 0 and 3 on process 1;"),
    ],
)
def test_other_configs_are_refused_before_anything_is_written(start, kind, flags, message):
    run = start(kind, flags)
    for one in run.end():
        assert one.code == 2, one.stderr
        assert message in one.last
    assert not run.workdir.exists()


def test_devices_of_two_hosts_are_checked_together(tmp_path, root):
    """Neither can run the reference on a device of the other."""
    command = [sys.executable, "tools/check_device.py", f"--config={root / 'transformer'}.py"]
    command += ["--context=128", "--only=fsdp 2 2 micro-batches", f"--json={tmp_path / 'check'}"]
    command += ["--config.distributed.mode=explicit", "--config.distributed.num_processes=2"]
    command += [f"--config.distributed.coordinator_address={free_address()}"]
    commands = {i: [*command, f"--config.distributed.process_id={i}"] for i in range(2)}
    run = Run(tmp_path, commands, {i: {"JAX_NUM_CPU_DEVICES": "1"} for i in range(2)})
    for one in run.end():
        assert one.code == 0, one.stderr
    checked = json.loads((tmp_path / "check").read_text())
    assert checked["num_devices"] == 2
    assert [result["verdict"] for result in checked["results"]] == ["ok"]
