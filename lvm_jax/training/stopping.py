"""How a run ends before its last step: by a failure, or by a signal."""

import contextlib
import itertools
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import logging

from lvm_jax.distributed import member, notice
from lvm_jax.storage import paths
from lvm_jax.storage.patience import StoreError
from lvm_jax.training import recovery, workdir


class RunError(RuntimeError):
    """A run failed after it began; the message says where its last checkpoint is."""

    exit_code = 1


class RunStoppedError(RunError):
    """A run was told to stop and saved its state."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopSignal:
    """Turns the first of `notice.SIGNALS` into a request.

    After it SIGINT acts as usual; the others, which clusters repeat, change nothing more. Of
    several processes, whichever gets the signal, all stop at the same moment.
    """

    def __init__(self):
        self._received: signal.Signals | None = None
        self._moments = 0
        self._previous: dict[signal.Signals, Any] = {}
        self._boundaries = member.Boundaries() if member.attached() else None

    def __enter__(self) -> "StopSignal":
        if self._boundaries is not None:
            self._boundaries.__enter__()
        # Processes without supervisors would stop at different steps.
        elif jax.process_count() == 1:
            with contextlib.suppress(ValueError):  # not in the main thread: no handlers
                self._previous = {s: signal.signal(s, self._receive) for s in notice.SIGNALS}
        return self

    def __exit__(self, *error) -> None:
        if self._boundaries is not None:
            self._boundaries.__exit__(*error)
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: Any) -> None:
        if self._received is not None:
            return
        self._received = signal.Signals(number)
        # Not through logging: a handler may interrupt a write to the same stream.
        os.write(2, f"\n{self._received.name}: saving after this step, then stopping\n".encode())
        signal.signal(signal.SIGINT, self._previous[signal.SIGINT])

    def requested(self) -> signal.Signals | None:
        """The signal to stop for now, if any.

        Every process asks at the same moments: between steps and between batches of evaluations.
        All get the same answer, and from the first signal on it is always that one.
        """
        self._moments += 1
        if self._boundaries is None:
            return self._received
        return self._boundaries.stop_at(self._moments)


class Closing:
    """Closes what was opened, the last first. The first error stays the one that is raised."""

    def __init__(self):
        self._closers: list[Callable[[], None]] = []

    def add(self, close: Callable[[], None]) -> None:
        """Something to call at the end."""
        self._closers.append(close)

    def __enter__(self) -> "Closing":
        return self

    def __exit__(self, _kind: Any, error: BaseException | None, _traceback: Any) -> None:
        failed_before = error is not None
        for close in reversed(self._closers):
            try:
                close()
            except Exception as later:
                if error is None:
                    error = later
                else:
                    logging.warning("and then, in closing: %s", _one_line(later))
        if error is not None and not failed_before:
            raise error


@contextlib.contextmanager
def explained(directory: pathlib.Path) -> Iterator[None]:
    """Adds to every failure of a run where its last whole checkpoint is and how to resume."""
    try:
        yield
    except RunError:
        raise
    except FloatingPointError as error:
        hint = resume_hint(directory, if_repeated=True)
        raise RunError(f"training failed: {_one_line(error)}; {hint}") from error
    except (OSError, ValueError, RuntimeError) as error:
        lost = isinstance(error, OSError) and not isinstance(error, StoreError)
        if lost and workdir.is_gone(directory):
            # Whatever could not be written first is no news.
            raise RunError(f"training failed: {resume_hint(directory)}") from error
        raise RunError(f"training failed: {_one_line(error)}; {resume_hint(directory)}") from error
    except Exception:
        # A bug of ours: its traceback matters, so only add to it.
        logging.error("training failed; %s", resume_hint(directory))
        raise


def resume_hint(
    directory: pathlib.Path, *, just_saved: int | None = None, if_repeated: bool = False
) -> str:
    """From where a run can go on, in one line without a full stop.

    Args:
        directory: the run's.
        just_saved: a step whose checkpoint needs no looking at.
        if_repeated: also how to go back further, as the same failure would come again from there.
    """
    try:
        return _resume_hint(directory, just_saved, if_repeated)
    except StoreError:
        return (
            f"{directory} cannot be looked at now; the same command resumes from the newest whole "
            "checkpoint there"
        )


def _resume_hint(directory: pathlib.Path, just_saved: int | None, if_repeated: bool) -> str:
    folder = paths.path(directory) / workdir.FOLDER
    if workdir.is_gone(directory):
        return (
            f"{directory} is gone: it was removed, moved or unmounted while the run was on; bring "
            "it back and the same command resumes, else it starts over"
        )
    if just_saved is not None:
        whole = [just_saved]
    else:
        whole = list(itertools.islice(_whole_steps(directory), 2 if if_repeated else 1))
    if not whole:
        return f"no whole checkpoint is in {folder}; the same command starts over"
    hint = f"the last good checkpoint is {folder / str(whole[0])}; the same command resumes from it"
    if if_repeated:
        earlier = (
            f"from {folder / str(whole[1])}" if whole[1:] else "over, or choose another workdir"
        )
        hint += (
            f"; if that ends the same way, its parameters may be spoiled already: remove "
            f"{folder / str(whole[0])} to go on {earlier}"
        )
    return hint


def _whole_steps(directory: pathlib.Path) -> Iterator[int]:
    """The newest first; reads no more than is asked for."""
    folder = paths.path(directory) / workdir.FOLDER
    # Several processes should end soon, and would all read the same.
    sizes_only = member.count() > 1
    for step in sorted(workdir.steps(directory), reverse=True):
        if recovery.find_damage(folder / str(step), sizes_only=sizes_only) is None:
            yield step


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:1000]
