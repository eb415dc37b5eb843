"""How a run ends before its last step: by a failure, or by a signal."""

import contextlib
import os
import signal
from typing import Any

import jax


class RunError(RuntimeError):
    """A run failed after it began; the message says where its last checkpoint is."""

    exit_code = 1


class RunStoppedError(RunError):
    """A run was told to stop and saved its state."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopSignal:
    """Turns the first SIGTERM or SIGINT into a request; a second one acts as usual."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self._received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignal":
        # Several processes must agree on a step, which jax's preemption service arranges; its own
        # SIGTERM handler stays.
        if jax.process_count() == 1:
            with contextlib.suppress(ValueError):  # not in the main thread: no handlers
                self._previous = {s: signal.signal(s, self._receive) for s in self._SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: Any) -> None:
        self._received = signal.Signals(number)
        # Not through logging: a handler may interrupt a write to the same stream.
        os.write(2, f"\n{self._received.name}: saving after this step, then stopping\n".encode())
        self.__exit__()

    def requested(self, step: int) -> signal.Signals | None:
        """The signal to stop for before `step`, agreed on by all processes."""
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            return signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else None
        return self._received
