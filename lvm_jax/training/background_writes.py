"""Checkpoints are written in the background; here a write that fails is known at once.

orbax tells of a failure when a save is waited for. Of several processes the one that failed then
first waits for the others, and these wait for a write that will never end. Its log has the failure
when it happens.
"""

import logging
import math
import pathlib
import threading
import time
from collections.abc import Callable

import jax
from orbax.checkpoint import AsyncCheckpointer

_LOOK_EVERY = 0.2
_GRACE_SECONDS = 2.0  # in which orbax may tell of a failure by itself, and in more words
_WRITER = pathlib.PurePath(AsyncCheckpointer.save.__code__.co_filename).name


class Watch(logging.Handler):
    """Watches the writes of one run's checkpoints until it is closed.

    Attributes:
        failure: of the first write that failed, if any.
    """

    def __init__(self):
        super().__init__(logging.ERROR)
        self.failure: BaseException | None = None
        logging.getLogger("absl").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Takes the exception from what orbax's writing thread logs."""
        if record.exc_info and record.filename == _WRITER:
            self.failure = self.failure or record.exc_info[1]

    def close(self) -> None:
        """Watches no more."""
        logging.getLogger("absl").removeHandler(self)
        super().close()

    def wait(self, finish: Callable[[], None], most_seconds: float = math.inf) -> None:
        """Returns when `finish` does, or raises what failed, even while `finish` still waits.

        Args:
            finish: waits for the writes.
            most_seconds: of several processes, that one waits; then it is a `TimeoutError`.
        """
        if jax.process_count() == 1:
            finish()
            return
        errors: list[BaseException] = []

        def run() -> None:
            try:
                finish()
            except BaseException as error:  # raised again by the thread that asked
                errors.append(error)

        thread = threading.Thread(target=run, name="waiting for a save", daemon=True)
        thread.start()
        deadline = time.monotonic() + most_seconds
        while thread.is_alive():
            thread.join(_LOOK_EVERY)
            if time.monotonic() > deadline:
                self.failure = self.failure or TimeoutError(
                    f"the save under way did not end within {most_seconds:.0f} s; it stays "
                    "unfinished"
                )
            if self.failure is not None:
                thread.join(_GRACE_SECONDS)
                raise errors[0] if errors else self.failure
        if errors:
            raise errors[0]
