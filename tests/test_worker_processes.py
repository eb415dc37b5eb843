"""Worker processes of a process that is killed end, and give back the memory that they share."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

CHILD = """
import sys
from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.data.feeding.pipeline import Pipeline

if __name__ == "__main__":
    config = DataConfig(shards=sys.argv[1], context=16, num_threads=1, num_workers=2)
    batches = Pipeline(config, seed=0, global_batch=8).iterate()
    next(batches)
    print("reading", flush=True)
    sys.stdin.readline()
    for _ in range(200):
        next(batches)
    batches.close()
    print("done", flush=True)
"""


def children_of(process):
    """pids of all processes below one."""
    pids = [process]
    for pid in pids:
        for tasks in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            pids += map(int, tasks.read_text().split())
    return pids[1:]


def shared_memory_of(processes):
    maps = "".join(pathlib.Path(f"/proc/{pid}/maps").read_text() for pid in processes)
    return {line.split()[5] for line in maps.splitlines() if "/dev/shm/" in line}


def ignores(pid, number):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    mask = int(status.split("SigIgn:")[1].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


def wait_until(happened, seconds=60):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


LINUX = pytest.mark.skipif(not pathlib.Path("/proc/self/maps").exists(), reason="looks into /proc")


@pytest.fixture
def reader(write_toy_shards, tmp_path):
    """A process that has read a batch that others made, and reads more when told to."""
    script = tmp_path / "read.py"
    script.write_text(CHILD)
    command = [sys.executable, str(script), write_toy_shards(tmp_path / "shards")]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    reader = subprocess.Popen(command, text=True, **pipes)
    assert reader.stdout.readline() == "reading\n"
    yield reader
    reader.kill()
    reader.wait()


@LINUX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_leave_it_to_their_parent_what_a_signal_means(reader, number):
    # Two workers and who tracks their memory; the second may still be about to begin.
    wait_until(lambda: sum(ignores(pid, number) for pid in children_of(reader.pid)) >= 3)
    for pid in children_of(reader.pid):
        os.kill(pid, number)
    said, complaints = reader.communicate("go on\n", timeout=100)
    assert said == "done\n" and reader.returncode == 0
    assert "Traceback" not in complaints, complaints


@LINUX
def test_a_killed_reader_leaves_no_process_and_no_shared_memory(reader):
    wait_until(lambda: shared_memory_of(children_of(reader.pid)))
    workers = children_of(reader.pid)
    shared = shared_memory_of(workers)
    assert len(workers) >= 3 and shared  # two workers, and who tracks their memory
    os.kill(reader.pid, signal.SIGKILL)
    reader.wait()
    alive = lambda: [pid for pid in workers if pathlib.Path(f"/proc/{pid}").exists()]
    try:
        wait_until(lambda: not alive())
    finally:
        for pid in alive():
            os.kill(pid, signal.SIGKILL)
    assert not any(pathlib.Path(name).exists() for name in shared)
