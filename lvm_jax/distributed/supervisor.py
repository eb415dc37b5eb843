"""The process that was started: it stays outside while the trainer, its child, works.

A trainer can be caught in a collective, aborted by a library or killed; its supervisor hears from
the hub how the run ends, ends the trainer, says why in its last line and has the exit code.
"""

import ctypes
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from absl import logging

from lvm_jax.distributed import distributed_config as config_lib
from lvm_jax.distributed import lines, member, notice, rendezvous
from lvm_jax.distributed.hub import LOST, Hub, failure

# From its last words a trainer has this long to end by itself.
_END_SECONDS = 20.0
_LOOK_EVERY = 0.1
_PR_SET_PDEATHSIG = 1
_LOST_HUB = {**failure(LOST), "process": 0}


def start(
    config: config_lib.DistributedConfig,
    *,
    say: Callable[[str], None],
    hint: Callable[[], str] = str,
    clean_up: Callable[[], None] = lambda: None,
) -> config_lib.Place | None:
    """Joins the run; call once, before anything touches a device and `initialize_jax`.

    With several processes the caller forks: the child returns from here as the trainer, and the
    parent ends the program when the run has ended.

    Args:
        config: how the processes find each other.
        say: writes the last line of a program; a line break in front begins a new one.
        hint: what to do after a failure, such as where the last checkpoint is.
        clean_up: called when the trainer is gone, whatever the reason.

    Returns:
        This process's place; None for a run of one process.

    Raises:
        ValueError: the config cannot be used or differs between processes in what matters here.
        RuntimeError: someone did not come within `config.timeout`.
    """
    place = config_lib.find_place(config)
    if place is not None and place.count > 1:
        member.set_count(place.count)
        hub_line, line_of = rendezvous.join(place)
        ours, theirs = lines.pair()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        trainer = os.fork()
        if trainer:
            theirs.close()
            notice.watch(config.preemption_notice)
            _Supervisor(place, trainer, ours, hub_line, say, hint).watch(line_of, clean_up)
        # The lines end with the supervisor, whatever its children still hold.
        for line in (ours, hub_line, *line_of.values()):
            line.close()
        _become_trainer()
        member.attach(theirs, place)
    else:
        notice.watch(config.preemption_notice)
    return place


def start_unsupervised(config: config_lib.DistributedConfig) -> None:
    """Joins the run and starts JAX's runtime; the processes then fail each for itself."""
    place = config_lib.find_place(config)
    if place is not None and place.count > 1:
        hub_line, line_of = rendezvous.join(place)
        for line in (hub_line, *line_of.values()):
            line.close()
    config_lib.initialize_jax(place)


def _become_trainer() -> None:
    # Signals are the supervisor's to judge: a terminal or a cluster sends them to both. Not
    # SIG_IGN, which programs that are started from here would inherit.
    for number in notice.SIGNALS:
        signal.signal(number, lambda *_: None)
    # A supervisor that is killed takes its trainer along at once, where the system can do that;
    # elsewhere the trainer notices the end of its line.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Supervisor:
    """Between a trainer and the hub."""

    def __init__(
        self,
        place: config_lib.Place,
        trainer: int,
        trainer_line: lines.Line,
        hub_line: lines.Line,
        say: Callable[[str], None],
        hint: Callable[[], str],
    ):
        self._place, self._trainer = place, trainer
        self._trainer_line, self._hub_line = trainer_line, hub_line
        self._say, self._hint = say, hint
        self._signals: list[int] = []
        self._stopping = self._reported = False
        self._status: int | None = None  # the trainer's exit status, when it is gone
        self._told: lines.Message | None = None  # how its work ended, in its own words
        self._told_at = 0.0
        self._outcome: tuple[str, int] | None = None  # the last words and the exit code

    def watch(self, line_of: dict[int, lines.Line], clean_up: Callable[[], None]) -> NoReturn:
        """Until the run has ended; then ends the program."""
        for number in notice.SIGNALS:
            signal.signal(number, lambda received, _: self._signals.append(received))
        hub = Hub(self._place, line_of)
        if line_of:
            hub.start()
        line, code = self._loop()
        if self._status is None:
            os.kill(self._trainer, signal.SIGKILL)
            os.waitpid(self._trainer, 0)
        clean_up()
        if line:
            # Without last words of its own it leaves its progress bar without an end.
            self._say(line if self._told and self._told["whole"] else f"\n{line}")
        self._hub_line.close()
        if line_of:
            hub.join()
        os._exit(code)

    def _loop(self) -> tuple[str, int]:
        hear = {self._hub_line: self._hear_hub, self._trainer_line: self._hear_trainer}
        with selectors.DefaultSelector() as selector:
            for line in hear:
                selector.register(line, selectors.EVENT_READ, line)
            while self._outcome is None:
                for key, _ in selector.select(_LOOK_EVERY):
                    line: lines.Line = key.data
                    messages = line.receive()
                    if messages is None:
                        selector.unregister(line)
                        messages = [_LOST_HUB] if line is self._hub_line else []
                    for message in messages:
                        hear[line](message)
                self._judge_signals()
                self._judge_trainer()
        return self._outcome

    def _hear_hub(self, message: lines.Message) -> None:
        match message["say"]:
            case "failed":
                self._outcome = self._outcome or (self._last_words(message), message["code"])
            case "all_done":
                assert self._told is not None, "all have told of their end"
                self._outcome = self._told["line"], self._told["code"]
            case "waiting":
                logging.info("%s", message["text"])
            case _:
                self._trainer_line.send(message)

    def _last_words(self, message: lines.Message) -> str:
        who, reason, whole = message["process"], message["reason"], message["whole"]
        if who is not None and (who != self._place.index or not whole):
            verb = "failed: " if whole else ""
            reason = f"{self._place.name(who)} {verb}{reason}"
        if whole:
            return reason
        try:
            return f"{reason}; {self._hint()}"
        except OSError as error:  # a disk that is gone is no reason to say nothing
            return f"{reason}; {error}"

    def _hear_trainer(self, message: lines.Message) -> None:
        if message["say"] in ("failed", "ended"):
            self._told, self._told_at = message, time.monotonic()
        else:
            self._hub_line.send(message)

    def _judge_signals(self) -> None:
        while self._signals:
            name = signal.Signals(number := self._signals.pop(0)).name
            if self._stopping and number != signal.SIGINT:
                logging.info("%s: is stopping already", name)  # clusters say it more than once
            elif self._stopping:
                reason = f"was interrupted by a second signal, {name}"
                self._report(failure(reason, 128 + number))
            else:
                self._stopping = True
                logging.info("%s: saving after this step, then stopping", name)
                self._hub_line.send({"say": "stop", "signal": number})

    def _judge_trainer(self) -> None:
        """Tells the hub how the trainer has ended."""
        if self._status is None:
            pid, status = os.waitpid(self._trainer, os.WNOHANG)
            if pid:
                self._status = status
                self._told = self._told or _unsaid(status)
                self._told_at = self._told_at or time.monotonic()
        if self._told is None or self._reported:
            return
        if self._told["say"] == "failed":
            self._report(self._told)
        elif self._status is not None or time.monotonic() - self._told_at > _END_SECONDS:
            self._report({"say": "done"})

    def _report(self, message: lines.Message) -> None:
        self._reported = True
        self._hub_line.send(message)


def _unsaid(status: int) -> lines.Message:
    """A trainer's end without last words, as if it had said so."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        number = signal.Signals(-code)
        reason = f"was killed by {number.name}"
        reason += " (out of memory?)" if number == signal.SIGKILL else ""
    else:
        reason = f"ended with exit code {code} and without a reason"
    return failure(reason)
