"""What is decided in one place: a thread in the supervisor of process 0.

    it hears                        and tells everyone, once
    share: name, value              shared: process 0's value, when all have come to that name
    stop: signal                    halt, then stop: the moment that none has passed
    failed: reason, code            failed: the first reason, and whose
    done                            all_done

The end of a line before `all_done` is a failure too.
"""

import dataclasses
import selectors
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

from lvm_jax.distributed import lines
from lvm_jax.distributed.distributed_config import Place
from lvm_jax.distributed.rendezvous import Waiting

BEYOND = 2**62
"""The boundary of a trainer that stops at none any more."""
# A trainer's own words may be about a collective that broke off; what broke it, the death of
# another process, becomes known within this time and is what is told then.
_GRACE_SECONDS = 3.0
LOST = "is gone without a word; was it killed, or its machine lost?"
"""What is said of a process whose line has ended."""
_LINGER_SECONDS = 5.0


@dataclasses.dataclass
class _Meeting:
    """A point that all processes come to, and who has."""

    waiting: Waiting
    value: Any = None
    arrived: set[int] = dataclasses.field(default_factory=set)


def failure(reason: str, code: int = 1, *, whole: bool = False) -> lines.Message:
    """What is told about a failure.

    Args:
        reason: continues "process 1 of 2", or with `whole` is a trainer's own line, which says what
            to do, too.
        code: the exit code of all.
        whole: see `reason`.
    """
    return {"say": "failed", "reason": reason, "code": code, "whole": whole}


class Hub(threading.Thread):
    """Serves the lines to all supervisors until they have heard how the run ended."""

    def __init__(self, place: Place, line_of: Mapping[int, lines.Line]):
        super().__init__(name="hub", daemon=True)
        self._place, self._lines = place, dict(line_of)
        self._meetings: dict[str, _Meeting] = {}
        self._signal: int | None = None
        self._boundaries: dict[int, int] = {}
        self._done: set[int] = set()
        self._suspected: tuple[float, lines.Message] | None = None
        self._ended_at: float | None = None

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for index, line in self._lines.items():
                selector.register(line, selectors.EVENT_READ, index)
            while self._lines and not self._lingered():
                for key, _ in selector.select(0.5):
                    messages = self._lines[key.data].receive()
                    if messages is None:
                        selector.unregister(key.fileobj)
                        self._lost(key.data)
                    for message in messages or ():
                        self._hear(key.data, message)
                self._look_at_the_clock()

    def _lingered(self) -> bool:
        """Whether everyone had the time to read how the run ended.

        Who closes a connection with unread messages may take away what the other has yet to read.
        """
        ended = self._ended_at
        return ended is not None and time.monotonic() - ended > _LINGER_SECONDS

    def _tell_all(self, message: lines.Message) -> None:
        if self._ended_at is None:
            for line in list(self._lines.values()):
                line.send(message)

    def _end(self, message: lines.Message) -> None:
        self._tell_all(message)
        self._ended_at = self._ended_at or time.monotonic()

    def _fail(self, index: int | None, reason: str, code: int = 1) -> None:
        """Ends the run for a reason that only the hub knows; see `failure`."""
        self._end({**failure(reason, code), "process": index})

    def _lost(self, index: int) -> None:
        self._lines.pop(index).close()
        self._fail(index, LOST)

    def _hear(self, index: int, message: lines.Message) -> None:
        match message["say"]:
            case "share":
                self._meet(message["name"], index, message["value"])
            case "stop" if self._signal is None:
                self._signal = message["signal"]
                self._tell_all({"say": "halt"})
            case "boundary":
                self._boundaries[index] = message["moment"]
                self._choose_stop(index, message["moment"])
            case "failed":
                what = {**message, "process": index}
                if message["whole"] and message["code"] == 1:
                    self._suspected = self._suspected or (time.monotonic(), what)
                else:
                    self._end(what)
            case "done":
                self._done.add(index)
                self._meet("the end", index, None)
                if len(self._done) == self._place.count:
                    self._end({"say": "all_done"})

    def _meet(self, name: str, index: int, value: Any) -> None:
        meeting = self._meetings.setdefault(name, _Meeting(Waiting(self._place.timeout)))
        meeting.arrived.add(index)
        if index == 0:
            meeting.value = value
        if len(meeting.arrived) == self._place.count:
            del self._meetings[name]
            self._tell_all({"say": "shared", "name": name, "value": meeting.value})

    def _choose_stop(self, index: int, moment: int | None) -> None:
        signal_number = self._signal
        assert signal_number is not None, "boundaries answer a signal"
        if moment is None:
            # One that is not in its loop yet: there is nothing to save.
            name = signal.Signals(signal_number).name
            self._fail(None, f"stopped by {name} before the first step", 128 + signal_number)
        elif len(self._boundaries) == self._place.count:
            moment = max(self._boundaries.values())
            self._tell_all({"say": "stop", "moment": moment, "signal": signal_number})

    def _look_at_the_clock(self) -> None:
        if self._suspected and time.monotonic() - self._suspected[0] > _GRACE_SECONDS:
            self._end(self._suspected[1])
        for name, meeting in self._meetings.items():
            missing = [i for i in range(self._place.count) if i not in meeting.arrived]
            who, waiting = self._place.names(missing), meeting.waiting
            if waiting.too_long():
                limit = f"{self._place.timeout:g} s (distributed.timeout)"
                self._fail(None, f"{who} did not come to {name} within {limit}")
            elif waiting.reminds():
                text = f"waiting for {who} to come to {name} ({waiting.seconds:.0f} s)"
                self._tell_all({"say": "waiting", "text": text})
