"""Checkpoints are written in the background; here the first write that fails is known at once.

orbax tells of a failure when a save is waited for. Of several processes the one that failed then
first waits for the others, and these wait for a write that will never end.
"""

import threading
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp

# What each kind of handler saves and restores by.
_ARGUMENTS = {
    ocp.StandardCheckpointHandler: (ocp.args.StandardSave, ocp.args.StandardRestore),
    ocp.JsonCheckpointHandler: (ocp.args.JsonSave, ocp.args.JsonRestore),
}
_LOOK_EVERY = 0.2
_GRACE_SECONDS = 2.0  # in which orbax may tell of a failure by itself, and in more words


class Watch:
    """Watches the writes of one run's checkpoints.

    Attributes:
        failure: of the first write that failed, if any.
    """

    def __init__(self):
        self.failure: BaseException | None = None

    def handlers(self, **items: type[Any]) -> ocp.handlers.CheckpointHandlerRegistry:
        """Handlers of these classes for the items of a checkpoint, watched."""
        registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
        for item, handler_class in items.items():
            handler = self._watched(handler_class)
            for arguments in _ARGUMENTS[handler_class]:
                registry.add(item, arguments, handler)
        return registry

    def _watched(self, handler_class: type[Any]) -> Any:
        watch = self

        class Watched(handler_class):
            async def async_save(self, *args: Any, **kwargs: Any) -> list[ocp.future.Future]:
                futures = await super().async_save(*args, **kwargs)
                return [_WatchedFuture(future, watch) for future in futures or ()]

        return Watched()

    def wait(self, finish: Callable[[], None]) -> None:
        """Returns when `finish` does, or raises what failed, even while `finish` still waits."""
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
        while thread.is_alive():
            thread.join(_LOOK_EVERY)
            if self.failure is not None:
                thread.join(_GRACE_SECONDS)
                raise errors[0] if errors else self.failure
        if errors:
            raise errors[0]


class _WatchedFuture:
    """A write that is under way; orbax asks for its result in a thread of its own."""

    def __init__(self, future: ocp.future.Future, watch: Watch):
        self._future, self._watch = future, watch

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self._future.result(timeout=timeout)
        except BaseException as error:
            self._watch.failure = self._watch.failure or error
            raise

    def cancel(self) -> bool | None:
        return self._future.cancel()
