"""Commands side by side: each has its share of the processors, its log file, and may fail alone."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass
class Task:
    """Commands of one name, one after the other.

    Attributes:
        name: of the log file, and in messages.
        commands: what is left to be run, the one that runs included.
        process: it.
        slot: which share of the processors it has.
    """

    name: str
    commands: list[list[str]]
    process: subprocess.Popen
    slot: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a task ended.

    Attributes:
        name: its.
        code: exit code of its last command; 0 is good.
        reason: last line of its log where the code is not 0.
    """

    name: str
    code: int
    reason: str = ""


class Pool:
    """Runs tasks, so many at a time; ends them when the program is told to end.

    Args:
        number: how many at a time.
        logs: folder of their log files.
        environment: variables of the commands, beside those of this process.
    """

    def __init__(self, number: int, logs: pathlib.Path, environment: Mapping[str, str]):
        self._logs = logs
        self._environment = {**os.environ, **environment}
        self._shares = _shares(number)
        self.running: list[Task] = []

    @property
    def has_room(self) -> bool:
        """Whether another task can begin."""
        return len(self.running) < len(self._shares)

    def begin(self, name: str, commands: Sequence[Sequence[str]]) -> None:
        """Starts a task; there must be room."""
        slot = min(set(range(len(self._shares))) - {task.slot for task in self.running})
        left = [list(command) for command in commands]
        self.running.append(Task(name, left, self._start(name, left[0], slot), slot))

    def ended(self) -> list[Ended]:
        """Goes on with tasks whose command is done; the ends of those that have no other."""
        ends = []
        for task in list(self.running):
            code = task.process.poll()
            if code is None:
                continue
            task.commands.pop(0)
            if code == 0 and task.commands:
                task.process = self._start(task.name, task.commands[0], task.slot)
                continue
            self.running.remove(task)
            reason = "" if code == 0 else self._last_line(task.name)
            ends.append(Ended(name=task.name, code=code, reason=reason))
        return ends

    def stop(self) -> None:
        """Tells all tasks to save and end, and waits for them."""
        for task in self.running:
            task.process.terminate()
        for task in self.running:
            task.process.wait()
        self.running.clear()

    def _start(self, name: str, command: Sequence[str], slot: int) -> subprocess.Popen:
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{name}.log").open("ab") as log, _on(self._shares[slot]):
            # In a group of its own: Ctrl-C reaches this process, which then tells the others.
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                process_group=0,
            )

    def _last_line(self, name: str) -> str:
        lines = (self._logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def _shares(number: int) -> list[set[int]]:
    """Processors for each of so many tasks; empty sets where all may use all."""
    known = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if number == 1 or number > len(known):
        return [set() for _ in range(number)]
    return [set(known[slot::number]) for slot in range(number)]


@contextlib.contextmanager
def _on(processors: set[int]) -> Iterator[None]:
    """What is started meanwhile runs on these processors."""
    if not processors:
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


class Stop:
    """Turns signals that end a program into a request."""

    def __init__(self):
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stop":
        for number in _SIGNALS:
            # What nohup ignores stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
            os.write(2, f"\n{self.received.name}: the runs save and stop\n".encode())

    def wait(self, seconds: float) -> None:
        """Sleeps, or returns early once a signal was received."""
        end = time.monotonic() + seconds
        while self.received is None and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))


def python(tool: str, *arguments: str) -> list[str]:
    """The command of a tool of this checkout."""
    return [sys.executable, str(pathlib.Path(__file__).parents[1] / tool), *arguments]
