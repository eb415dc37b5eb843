"""Faults: each takes a training that stands still, and starts and disturbs it or damages its files.

Every one says what it did, and raises a `DifferenceError` for an end that must not be.
"""

import math
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from lvm_jax.training import workdir as workdir_lib
from tests.campaign.toy_training import (
    JOIN_SECONDS,
    NUM_STEPS,
    DifferenceError,
    ToyTraining,
    require_codes,
    wait_for_all,
)

# From the fault to the end of the last process. The promise is 20 s; on a machine with other work
# to do the processes may need as long to be heard.
MOST_SECONDS = 40
_FINISHED, _FAILED, _REFUSED = 0, 1, 2
_SIGNALLED = {128 + signal.SIGTERM, 128 + signal.SIGINT}


def _wait_for_moment(training: ToyTraining, running, draw: random.Random) -> str:
    """Waits for a random step or, now and then, for a random time from the start."""
    begun, next_step = time.monotonic(), min(training.steps_done() + 1, NUM_STEPS)
    step = draw.randint(next_step, NUM_STEPS)
    seconds = draw.uniform(0, 6) if draw.random() < 0.3 else math.inf
    while all(process.poll() is None for process in running):
        if training.steps_done() >= step:
            return f"at step {training.steps_done()}"
        if time.monotonic() - begun > min(seconds, 200):
            return f"after {time.monotonic() - begun:.1f} s"
        time.sleep(0.003)
    return "after its end"


def kill(training: ToyTraining, draw: random.Random) -> str:
    """kill -9 of one process or of all."""
    running = training.start()
    when = _wait_for_moment(training, running, draw)
    hit = _some(running, draw)
    for number in hit:
        running[number].kill()
    # Those that never saw the one that is gone wait for it to come.
    wait_for_all(training, running, MOST_SECONDS + JOIN_SECONDS * ("after" in when))
    # Those that had ended by themselves before are finished.
    require_codes(training, running, {_FAILED, _FINISHED}, killed=set(hit))
    return f"killed {hit} {when}"


def kill_child(training: ToyTraining, draw: random.Random) -> str:
    """kill -9 of something that a process has started: its trainer, or a loader's process."""
    running = training.start()
    when = _wait_for_moment(training, running, draw)
    children = training.children(running)
    if children:
        os.kill(draw.choice(children), signal.SIGKILL)
    wait_for_all(training, running, MOST_SECONDS if children else 200)
    require_codes(training, running, {_FAILED, _FINISHED} if children else {_FINISHED})
    return f"killed one of {len(children)} children {when}"


def interrupt(training: ToyTraining, draw: random.Random) -> str:
    """SIGTERM or SIGINT to one process or to all."""
    finished = training.steps_done() == NUM_STEPS
    running = training.start()
    when = _wait_for_moment(training, running, draw)
    hit, number = _some(running, draw), draw.choice([signal.SIGTERM, signal.SIGINT])
    starting = finished or training.steps_done() == 0 or "after" in when
    for process in hit:
        running[process].send_signal(number)
    wait_for_all(training, running, 2 * MOST_SECONDS)
    allowed = _SIGNALLED | {_FINISHED}
    if starting:
        # Before the loop takes signals over they act as everywhere, and the others see a peer go.
        allowed |= {_FAILED, -signal.SIGTERM, -signal.SIGINT}
        for process in running:
            if process.returncode not in allowed:
                raise DifferenceError(f"{number.name} {when}: ended with {process.returncode}")
    else:
        require_codes(training, running, allowed)
        codes = {process.returncode for process in running}
        if len(codes) > 1:
            raise DifferenceError(
                f"{number.name} to {hit} {when}: the processes ended with {codes}"
            )
    return f"{number.name} to {hit} {when}"


def fill_disk(training: ToyTraining, draw: random.Random) -> str:
    """Files of process 0 can grow to a random size only."""
    limit = int(10 ** draw.uniform(2.5, 5.5))
    running = training.start(limit)
    wait_for_all(training, running, 200)
    require_codes(training, running, {_FINISHED, _FAILED, _REFUSED})
    return f"files up to {limit} bytes: {[process.returncode for process in running]}"


def start_twice(training: ToyTraining, draw: random.Random) -> str:
    """The same command while it runs: the second start is refused, the first one goes on."""
    running = training.start()
    when = _wait_for_moment(training, running, draw)
    before = training.steps_done()
    second = training.twin()
    others = second.start()
    wait_for_all(second, others, 3 * MOST_SECONDS)
    codes = {process.returncode for process in others}
    ended = any(process.poll() is not None for process in running)
    # A finished training says so to whoever comes.
    if 0 < before < NUM_STEPS and not ended and codes != {_REFUSED}:
        raise DifferenceError(f"a second start {when} ended with {codes}: {second.last_line(0)}")
    require_codes(second, others, {_REFUSED, _FINISHED})
    wait_for_all(training, running, 200)
    require_codes(training, running, {_FINISHED, _REFUSED})
    return f"started twice {when}: {codes}"


def remove_workdir(training: ToyTraining, draw: random.Random) -> str:
    """The folder is gone while it runs; the next start begins anew."""
    running = training.start()
    when = _wait_for_moment(training, running, draw)
    shutil.rmtree(training.workdir, ignore_errors=True)
    wait_for_all(training, running, 200)
    require_codes(training, running, {_FAILED, _FINISHED, _REFUSED})
    shutil.rmtree(training.workdir, ignore_errors=True)
    return f"workdir removed {when}: {[process.returncode for process in running]}"


def damage_checkpoint(training: ToyTraining, draw: random.Random) -> str:
    """A file of the newest checkpoint is altered, cut or gone, or all of them are."""
    saved = sorted(workdir_lib.steps(training.workdir))
    if len(saved) < 2:
        return "no two checkpoints to damage one of"
    folder = training.workdir / workdir_lib.FOLDER / str(saved[-1])
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    path = draw.choice(files)
    how = draw.choice(["flip", "cut", "remove", "empty"])
    if how == "flip":
        content = bytearray(path.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    elif how == "cut":
        os.truncate(path, draw.randrange(path.stat().st_size))
    elif how == "remove":
        path.unlink()
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    return f"{how} {path.relative_to(training.workdir)}"


def damage_metrics(training: ToyTraining, draw: random.Random) -> str:
    """The end of metrics.jsonl is cut within a line, or followed by half a line or by bytes."""
    path = training.workdir / "metrics.jsonl"
    if not path.exists() or not path.stat().st_size:
        return "no metrics to damage"
    # Lines before a checkpoint are on disk.
    lost = training.steps_done() > max(workdir_lib.steps(training.workdir), default=0)
    how = draw.choice(["cut"] * lost + [b'{"step": 3, "trai', b"\xff\xfe\x00", b"\x00" * 17])
    if how == "cut":
        last = path.read_bytes().splitlines(keepends=True)[-1]
        os.truncate(path, path.stat().st_size - draw.randrange(1, len(last)))
    else:
        with path.open("ab") as file:
            file.write(how)
    return f"metrics {how!r}"


FAULTS: dict[str, Callable[[ToyTraining, random.Random], str]] = {
    "kill": kill,
    "child": kill_child,
    "signal": interrupt,
    "disk": fill_disk,
    "twice": start_twice,
    "remove": remove_workdir,
    "checkpoint": damage_checkpoint,
    "metrics": damage_metrics,
}
DAMAGES = {"checkpoint", "metrics"}
"""Faults of files, which the steps until `FEWEST_STEPS` must have written."""
FEWEST_STEPS = 12
# Kills and signals meet the moments that matter by chance alone: they come more often.
WEIGHTS = {"kill": 4, "child": 2, "signal": 4, "checkpoint": 3, "metrics": 2}


def _some(running: Sequence[subprocess.Popen], draw: random.Random) -> list[int]:
    return draw.choice([[number] for number in range(len(running))] + [list(range(len(running)))])
