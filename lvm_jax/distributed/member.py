"""What a trainer asks of the other processes of its run.

In a run of one process everything here returns at once.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from lvm_jax import configs
from lvm_jax.distributed import lines
from lvm_jax.distributed.distributed_config import Place
from lvm_jax.distributed.hub import BEYOND, failure

_member: "_Member | None" = None
_count = 1


def attach(line: lines.Line, place: Place) -> None:
    """Makes this process the trainer of a supervisor."""
    global _member
    _member = _Member(line, place)


def set_count(count: int) -> None:
    """Says how many processes the run has: known before any device, and to supervisors."""
    global _count
    _count = count


def count() -> int:
    """How many processes the run has."""
    return _count


def attached() -> bool:
    """Whether a supervisor watches this process."""
    return _member is not None


def started_pid() -> int:
    """The process that was started and takes signals: this one, or its supervisor."""
    return os.getppid() if attached() else os.getpid()


def index() -> int:
    """Which process of its run this is."""
    return 0 if _member is None else _member.place.index


def share(name: str, value: Any = None) -> Any:
    """Waits until all processes have come here.

    Args:
        name: where, such as "the save of step 100", for who has to wait; the same everywhere.
        value: JSON-serialisable.

    Returns:
        Process 0's value.
    """
    return value if _member is None else _member.share(name, value)


def require_same(name: str, facts: Mapping[str, Any], remedy: str) -> None:
    """Makes sure that all processes have the same values, before any of them goes on.

    Args:
        name: as for `share`.
        facts: JSON-serialisable, in the order in which they are compared.
        remedy: what to do about a difference.

    Raises:
        ValueError: the first difference, with both values.
    """
    if _member is None:
        return
    own, place = json.loads(json.dumps(facts)), _member.place
    first = share(name, own)
    for key in own:
        for path, theirs, ours in configs.differences(first.get(key), own[key], key):
            raise ValueError(
                f"{path} is {configs.shorten(theirs)} on process 0 and {configs.shorten(ours)} on "
                f"process {place.index}; {remedy}"
            )
    share(f"{name}, compared")


def _attached() -> "_Member":
    assert _member is not None, "only where a supervisor watches"
    return _member


class Boundaries:
    """Moments at which a trainer can stop; a context manager around its loop.

    All trainers of a run come through the same moments in the same order, and number them alike.
    """

    def __enter__(self) -> "Boundaries":
        _attached().enter_boundary(0)
        return self

    def __exit__(self, *_) -> None:
        _attached().enter_boundary(BEYOND)

    def stop_at(self, moment: int) -> signal.Signals | None:
        """The signal to stop for at `moment`: for all processes at the same one."""
        return _attached().stop_at(moment)


def finish(line: str = "", code: int = 0) -> None:
    """Says that this trainer has reached its end, and waits until all have.

    Args:
        line: the last words, if any.
        code: the exit code.
    """
    if _member is not None:
        _member.share("the end of the run", None)
        _member.send({"say": "ended", "line": line, "code": code, "whole": True})


def fail(line: str, code: int) -> NoReturn:
    """Ends all processes; this one by its supervisor.

    Args:
        line: why, in one line.
        code: the exit code of all.
    """
    _attached().send(failure(line, code, whole=True))
    while True:
        time.sleep(1)


class _Member:
    """The trainer's end of the line to its supervisor."""

    def __init__(self, line: lines.Line, place: Place):
        self.place = place
        self._line = line
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._shared: dict[str, Any] = {}
        self._boundary: int | None = None
        self._halting = False
        self._stop: tuple[int, signal.Signals] | None = None
        threading.Thread(target=self._listen, name="member", daemon=True).start()

    def send(self, message: lines.Message) -> None:
        with self._sending:
            self._line.send(message)

    def share(self, name: str, value: Any) -> Any:
        self.send({"say": "share", "name": name, "value": value})
        with self._changed:
            self._changed.wait_for(lambda: name in self._shared)
            return self._shared.pop(name)

    def enter_boundary(self, moment: int) -> None:
        with self._changed:
            self._boundary = moment

    def stop_at(self, moment: int) -> signal.Signals | None:
        """The signal to stop for at this moment, once all agree where; None to go on."""
        with self._changed:
            # No further than what was answered, until it is decided where all stop.
            while self._halting and self._stop is None:
                self._changed.wait()
            if self._stop is not None and moment >= self._stop[0]:
                return self._stop[1]
            self._boundary = moment + 1
        return None

    def _listen(self) -> None:
        while True:
            messages = self._line.receive()
            if messages is None:
                os._exit(1)  # the supervisor was killed, and says no more
            for message in messages:
                self._hear(message)

    def _hear(self, message: lines.Message) -> None:
        with self._changed:
            match message["say"]:
                case "shared":
                    self._shared[message["name"]] = message["value"]
                case "halt":
                    self._halting = True
                    self.send({"say": "boundary", "moment": self._boundary})
                case "stop":
                    self._stop = message["moment"], signal.Signals(message["signal"])
            self._changed.notify_all()
