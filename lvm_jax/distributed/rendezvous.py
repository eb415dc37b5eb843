"""How the processes of a run find each other: all call process 0 at the coordinator's address.

Process 0 listens there until everyone has come. Then the port is free for JAX's runtime, while the
connections that were made stay.
"""

import contextlib
import os
import selectors
import socket
import time
from typing import Any

from absl import logging

from lvm_jax.configs import ConfigError, Field
from lvm_jax.distributed import lines
from lvm_jax.distributed.distributed_config import Place

REMIND_EVERY = 30.0
"""Seconds between two lines about who is missing."""
_REFUSING_SECONDS = 10.0  # that a refusal is told to those who come a little later
_BIND_SECONDS = 10.0  # an earlier run may be about to let go of the port


def join(place: Place) -> tuple[lines.Line, dict[int, lines.Line]]:
    """Waits until all processes of the run are there.

    Returns:
        (this process's line to the hub, the hub's lines to all: empty but in process 0).

    Raises:
        RuntimeError: someone did not come within `place.timeout`.
        ValueError: the address cannot be used, or the processes do not fit together.
    """
    if place.index:
        return _Caller(place).join(), {}
    joined = _Gathering(place).join()
    line, joined[0] = lines.pair()
    return line, joined


class _Gathering:
    """Process 0 while the others arrive."""

    def __init__(self, place: Place):
        self._place = place
        self._joined: dict[int, lines.Line] = {}
        self._who: dict[int, str] = {0: _who()}
        self._refusal: ConfigError | None = None
        self._refused_at = 0.0
        self._selector = selectors.DefaultSelector()

    def join(self) -> dict[int, lines.Line]:
        listener, waiting = _listen(self._place), Waiting(self._place.timeout)
        with contextlib.closing(listener), contextlib.closing(self._selector):
            self._selector.register(listener, selectors.EVENT_READ)
            while missing := self._missing():
                self._look_at_the_clock(waiting, missing)
                for key, _ in self._selector.select(min(waiting.pause(), 1.0)):
                    if key.fileobj is listener:
                        self._accept(listener)
                    else:
                        self._hear(key.data)
        if self._refusal:
            raise self._refusal
        self._tell_all({"joined": True})
        return self._joined

    def _missing(self) -> list[int]:
        """Whom to wait for: after a refusal those that do not know of it, for a while."""
        if self._refusal and time.monotonic() - self._refused_at > _REFUSING_SECONDS:
            return []
        known = self._who if self._refusal else self._joined
        return [index for index in range(1, self._place.count) if index not in known]

    def _look_at_the_clock(self, waiting: "Waiting", missing: list[int]) -> None:
        who, address = self._place.names(missing), self._place.address
        if waiting.too_long():
            error = RuntimeError(
                f"{who} did not join at {address} within {self._place.timeout:g} s "
                "(distributed.timeout); look at why they did not start, then start all "
                "processes again"
            )
            self._tell_all({"refused": str(error), "code": 1})
            raise error
        if waiting.reminds():
            text = f"waiting for {who} to join at {address} ({waiting.seconds:.0f} s)"
            logging.info("%s", text)
            self._tell_all({"waiting": text})

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            line = lines.Line(listener.accept()[0])
            self._selector.register(line, selectors.EVENT_READ, line)

    def _hear(self, line: lines.Line) -> None:
        messages = line.receive()
        if messages is None:
            # Gone before all were there: it may be started again.
            self._selector.unregister(line)
            line.close()
            self._joined = {i: other for i, other in self._joined.items() if other is not line}
        for message in messages or ():
            if "hello" in message:
                self._welcome(line, message)

    def _welcome(self, line: lines.Line, hello: lines.Message) -> None:
        line.send({"welcome": True})
        misfit = self._misfit(hello)
        self._who[hello["hello"]] = hello["who"]
        if misfit and not self._refusal:
            self._refusal, self._refused_at = misfit, time.monotonic()
            self._tell_all({"refused": str(misfit), "code": 2})
        if self._refusal:
            line.send({"refused": str(self._refusal), "code": 2})
        else:
            self._joined[hello["hello"]] = line

    def _misfit(self, hello: lines.Message) -> ConfigError | None:
        """Why a process cannot be one of this run."""
        count, index = self._place.count, hello["hello"]
        if hello["count"] != count:
            return ConfigError(
                Field("num_processes"),
                f" is {count} on process 0 and {hello['count']} on process {index}; start all "
                "processes with the same config",
            )
        if index == 0 or index in self._joined:
            return ConfigError(
                Field("process_id"),
                f"={index} is that of {self._who[index]} and of {hello['who']}; give each process "
                "its own",
            )
        return None

    def _tell_all(self, message: lines.Message) -> None:
        for line in self._joined.values():
            line.send(message)


class _Caller:
    """Any other process until process 0 says that all are there."""

    def __init__(self, place: Place):
        self._place = place
        self._waiting = Waiting(place.timeout)
        self._reason: Any = "no answer"

    def join(self) -> lines.Line:
        place = self._place
        while True:
            line = self._call()
            if line is not None and self._wait(line):
                return line
            if self._waiting.too_long():
                raise RuntimeError(
                    f"{place.name(0)} was not found at {place.address} within {place.timeout:g} s "
                    f"(distributed.timeout): {self._reason}; start it, or correct "
                    "distributed.coordinator_address"
                )
            if self._waiting.reminds():
                logging.info(
                    "waiting for %s at %s (%.0f s): %s",
                    *(place.name(0), place.address, self._waiting.seconds, self._reason),
                )
            time.sleep(min(0.3, self._waiting.pause()))

    def _call(self) -> lines.Line | None:
        try:
            line = lines.Line(socket.create_connection(self._place.host_and_port, timeout=5))
        except OSError as error:
            self._reason = error.strerror or error
            return None
        line.send({"hello": self._place.index, "count": self._place.count, "who": _who()})
        return line

    def _wait(self, line: lines.Line) -> bool:
        """Whether all are there; False when this was not process 0 of such a run."""
        welcome = False
        with selectors.DefaultSelector() as selector:
            selector.register(line, selectors.EVENT_READ)
            # Once welcome, process 0 watches the clock.
            while welcome or not self._waiting.too_long():
                if not selector.select(1.0):
                    continue
                messages = line.receive()
                if messages is None:
                    break
                for message in messages:
                    welcome |= "welcome" in message
                    if "waiting" in message:
                        logging.info("%s", message["waiting"])
                    if "refused" in message:
                        kind = ValueError if message["code"] == 2 else RuntimeError
                        raise kind(message["refused"])
                    if "joined" in message:
                        return True
        if welcome:
            raise RuntimeError(
                f"{self._place.name(0)} at {self._place.address} ended before all had joined; see "
                "its log, then start all processes again"
            )
        self._reason = "something else answers there"
        line.close()
        return False


class Waiting:
    """Since when somebody is awaited."""

    def __init__(self, timeout: float):
        self._begun = time.monotonic()
        self._timeout, self._next = timeout, REMIND_EVERY

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def too_long(self) -> bool:
        return self.seconds >= self._timeout

    def reminds(self) -> bool:
        """True once every `REMIND_EVERY` seconds."""
        due = self.seconds >= self._next
        self._next += REMIND_EVERY if due else 0
        return due

    def pause(self) -> float:
        """Seconds until there is something to say, at least a few milliseconds."""
        return max(min(self._next, self._timeout) - self.seconds, 0.01)


def _listen(place: Place) -> socket.socket:
    """Like JAX's service on all interfaces, so that what is open for it is open for this."""
    _, port = place.host_and_port
    deadline = time.monotonic() + _BIND_SECONDS
    while True:
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(
                    ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
                )
            return socket.create_server(("", port), backlog=1024)
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConfigError(
                    Field("coordinator_address"),
                    f"={place.address}: cannot listen on port {port} ({error.strerror or error}); "
                    "choose a free one, the same for all processes",
                ) from error
            time.sleep(0.2)


def _who() -> str:
    return f"pid {os.getpid()} on {socket.gethostname()}"
