"""tools/train.py as a user runs it: killed and started again, and fed with mistakes."""

import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.training import metrics, stored_params
from lvm_jax.training import workdir as workdir_lib

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 40


@pytest.fixture(scope="module")
def shards(tmp_path_factory, write_toy_shards):
    return write_toy_shards(tmp_path_factory.mktemp("shards"))


def command(*flags):
    return [sys.executable, "tools/train.py", *map(str, flags)]


def debug_flags(workdir, shards):
    return [
        f"--config=experiments/debug.py:steps={STEPS}",
        f"--workdir={workdir}",
        f"--config.data.shards={shards}",
        "--config.data.context=16",
    ]


def run(*flags):
    return subprocess.run(command(*flags), cwd=ROOT, capture_output=True, text=True, timeout=300)


def losses(workdir):
    lines = metrics.read_metrics(workdir)
    return [(x["step"], x["train/loss"], x["train/tokens"]) for x in lines if "train/loss" in x]


def stop_at(process, workdir, step, number):
    """Sends a signal once the run has logged a step."""
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if any(line[0] >= step for line in losses(workdir)):
            process.send_signal(number)
            break
        time.sleep(0.005)
    output, _ = process.communicate(timeout=100)
    return output


@pytest.fixture(scope="module")
def straight(shards, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("straight")
    done = run(*debug_flags(workdir, shards), "--profile_steps=2:4")
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_a_dry_run_shows_the_first_batch_and_touches_nothing(shards, tmp_path):
    workdir = tmp_path / "run"
    flags = (*debug_flags(workdir, shards), "--dry_run", "--topology=cpu:4")
    done = run(*flags, "--config.mesh.tensor=2")
    assert done.returncode == 0, done.stderr
    assert not workdir.exists()
    config = DataConfig(shards=str(shards), context=16)
    batches = Pipeline(config, seed=0, global_batch=8).iterate(0)
    first = next(batches)
    batches.close()
    ids, targets = (", ".join(map(str, first[key][0, :8])) for key in ("inputs", "targets"))
    for text in (
        "mesh: data 1 x fsdp 2 x context 1 x tensor 2",
        "attention: xla",
        "layers/mlp/up/kernel",
        f"run: {STEPS} steps, {STEPS * 8 * 16:,} ids",
        f"{int(first['weights'].sum()):,} targets with loss",
        f"first row: [{ids}, ...] -> [{targets}, ...]",
        "memory of a cpu",
    ):
        assert text in done.stdout, text


def test_tells_what_it_does(straight):
    workdir, done = straight
    assert [step for step, *_ in losses(workdir)] == list(range(1, STEPS + 1))
    for text in (
        "parameters",
        "mesh: data 1",
        "starting: 40 steps",
        "finished at step 40",
        "tokens/s",
        "model FLOPs: ",
        f"profile in {workdir}/profile;",
    ):
        assert text in done.stderr
    assert list(workdir.glob("profile/plugins/profile/*/*.xplane.pb"))
    assert "orbax" not in done.stderr


def test_killed_and_started_again_is_bitwise_the_same(straight, shards, tmp_path):
    popen = lambda: subprocess.Popen(
        command(*debug_flags(tmp_path, shards)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # Once without warning, at a step that differs from run to run, and once with one.
    stop_at(popen(), tmp_path, random.randint(1, STEPS // 2), signal.SIGKILL)
    assert workdir_lib.latest_step(tmp_path) != STEPS
    stopped = popen()
    output = stop_at(stopped, tmp_path, STEPS // 2 + 5, signal.SIGTERM)
    assert stopped.returncode == 128 + signal.SIGTERM, output
    assert "the same command resumes from it" in output.splitlines()[-1]
    assert f"/{workdir_lib.latest_step(tmp_path)};" in output.splitlines()[-1]
    resumed = run(*debug_flags(tmp_path, shards))
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from the checkpoint of step" in resumed.stderr
    # Equal losses and weights at every step: the same rows, once each, and the same arithmetic.
    assert losses(tmp_path) == losses(straight[0])


@pytest.mark.parametrize("axis", ["fsdp", "context"])
def test_two_processes_killed_go_on_as_one(straight, shards, tmp_path, axis):
    """Over JAX's own runtime and gloo: each has half the rows of a batch, or half of every row."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    explicit = ["mode=explicit", f"coordinator_address={address}", "num_processes=2"]
    flags = debug_flags(tmp_path, shards)
    together = [
        *flags,
        f"--config.mesh.{axis}=2",
        *(f"--config.distributed.{flag}" for flag in explicit),
    ]
    processes = []
    for i in range(2):
        with open(tmp_path / f"{i}.log", "w") as log:
            arguments = command(*together, f"--config.distributed.process_id={i}")
            processes.append(
                subprocess.Popen(arguments, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            )
    try:
        deadline, last = time.monotonic() + 200, random.randint(STEPS // 3, STEPS - 10)
        while not any(step >= last for step, *_ in losses(tmp_path)):
            assert time.monotonic() < deadline
            assert processes[0].poll() is None, (tmp_path / "0.log").read_text()
            time.sleep(0.005)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert "2 x cpu in 2 process(es)" in (tmp_path / "0.log").read_text()
    assert workdir_lib.latest_step(tmp_path) not in (None, STEPS)
    resumed = run(*flags)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from the checkpoint of step" in resumed.stderr
    actual, expected = losses(tmp_path), losses(straight[0])
    # The same rows in the same steps; sums over two processes round in another order.
    assert [(step, tokens) for step, _, tokens in actual] == [(s, t) for s, _, t in expected]
    for (_, one, _), (_, other, _) in zip(actual, expected):
        assert one == pytest.approx(other, abs=1e-4)


def test_a_finished_run_says_so(straight, shards):
    again = run(*debug_flags(straight[0], shards))
    assert again.returncode == 0
    assert f"is at step {STEPS}; raise loop.num_steps" in again.stderr


def test_mistakes_are_one_line_and_code_2(straight, shards, tmp_path):
    flags = debug_flags(tmp_path / "new", shards)
    (tmp_path / "file").write_text("")
    mistakes = {
        "unknown key --config.optimizer.peak_rl": [*flags, "--config.optimizer.peak_rl=1"],
        "Unknown command line flag 'wrkdir'": [*flags, "--wrkdir=x"],
        "--workdir is required": flags[:1],
        "--profile_steps='5' must be FIRST:LAST": [*flags, "--profile_steps=5"],
        "--config.loop.wandb.mode='of' must be one of": [*flags, "--config.loop.wandb.mode=of"],
        "--config.batch_size=7 must be a multiple": [
            *flags,
            "--config.batch_size=7",
            "--config.accumulation=2",
        ],
        "cannot be written": [flags[0], f"--workdir={tmp_path}/file/run", *flags[2:]],
        "holds another run: its model.": [
            flags[0],
            f"--workdir={straight[0]}",
            *flags[2:],
            "--config.model.num_layers=3",
        ],
    }
    for message, arguments in mistakes.items():
        done = run(*arguments)
        assert done.returncode == 2, (message, done.stderr)
        last = done.stderr.splitlines()[-1]
        assert last.startswith("train.py: ") and message in last, done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(straight, shards, tmp_path):
    workdir = shutil.copytree(straight[0], tmp_path / "run")
    flags = [*debug_flags(workdir, shards), "--config.loop.num_steps=50"]
    # The same schedule, so that the step is the one compiled before.
    flags += [f"--config.optimizer.decay_steps={STEPS}"]
    # Files may grow to 60 kB: enough for config and metrics, not for a checkpoint of 300 kB.
    limited = ["bash", "-c", 'trap "" XFSZ; ulimit -f 60; exec "$@"', "-", *command(*flags)]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    # Not the last line of all: orbax's writer threads may complain once more as Python shuts down.
    (last,) = [line for line in done.stderr.splitlines() if "training failed" in line]
    assert f"cannot write checkpoints to {workdir}/checkpoints" in last and "make room" in last
    # A busy machine may write a checkpoint in pieces that are all small enough: then it is good.
    newest = workdir_lib.latest_step(workdir)
    assert newest in (STEPS, STEPS + 5)
    assert f"the last good checkpoint is {workdir}/checkpoints/{newest}; the same command" in last
    stored_params.load_params(workdir)


def test_help_is_readable():
    done = run("--help")
    assert done.returncode == 0
    for text in ("python tools/train.py --config", "--workdir:", "--config.section.key=value"):
        assert text in done.stdout
    assert len(done.stdout.splitlines()) < 25
