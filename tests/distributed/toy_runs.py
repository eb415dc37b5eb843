"""Runs in several real processes."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

from lvm_jax.training import metrics

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = f"{ROOT}{os.pathsep}{ROOT / 'tools'}"
TOOL = pathlib.Path(__file__).with_name("toy_tool.py")
FOREVER = 100_000
PATIENCE = 300  # seconds; what is waited for takes some of them, on a busy machine tens


@dataclasses.dataclass
class Ended:
    """How one process ended."""

    code: int
    stderr: str

    @property
    def last(self) -> str:
        return self.stderr.rstrip("\n").splitlines()[-1]


def free_address() -> str:
    """host:port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class Run:
    """The processes of one run, with PATIENCE for what they should do."""

    def __init__(self, workdir, commands, environments=None):
        self.workdir = pathlib.Path(workdir)
        self.processes = {
            index: subprocess.Popen(
                list(map(str, command)),
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": PATH, **(environments or {}).get(index, {})},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            for index, command in commands.items()
        }

    def wait_for_step(self, step: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while not any(s >= step for s, _ in losses(self.workdir)):
            codes = [process.poll() for process in self.processes.values()]
            assert set(codes) == {None}, self.end()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def wait_for_words(self, index: int, words: bytes) -> None:
        """Reads what a process says until it says these."""
        said = b""
        while words not in said:
            more = os.read(self.processes[index].stderr.fileno(), 4096)
            assert more, said.decode()
            said += more

    def end(self) -> list[Ended]:
        """Waits for all processes, which must end by themselves."""
        try:
            return [
                Ended(stderr=process.communicate(timeout=PATIENCE)[1], code=process.returncode)
                for process in self.processes.values()
            ]
        finally:
            self.kill()

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()


class ToyRun(Run):
    """A run of the toy tool."""

    def __init__(self, workdir, count, num_steps=FOREVER, only=None, each=None, **toy):
        toy = {"workdir": str(workdir), "address": free_address(), "num_steps": num_steps, **toy}
        commands, environments = {}, {}
        for index in range(count) if only is None else only:
            values = {**toy, "count": count, "index": index, **(each or {}).get(index, {})}
            commands[index] = [sys.executable, TOOL]
            environments[index] = {"TOY": json.dumps(values)}
        super().__init__(workdir, commands, environments)


def losses(workdir) -> list[tuple[int, float]]:
    lines = metrics.read_metrics(workdir)
    return [(line["step"], line["train/loss"]) for line in lines if "train/loss" in line]
