"""Calls of a function in this process or in others, which say how far they are."""

import collections
import contextlib
import multiprocessing
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import connection
from typing import Any, TypeVar

from lvm_jax import worker_processes

T = TypeVar("T")
Moved = Callable[[int], None]
"""Takes how much was done since the last call."""


def run(
    function: Callable[[int, Moved], T], numbers: Sequence[int], num_workers: int, moved: Moved
) -> Generator[T, None, None]:
    """What a function makes of some numbers, in their order; to be closed if it is left early.

    Args:
        function: of a number and of what it calls now and then; pickled for other processes.
        numbers: what it is called with, without repeats.
        num_workers: processes that call it; 1 is this process itself.
        moved: called in this process with what the function says, whichever process it runs in.

    Raises:
        RuntimeError: a process died. What the function raises comes from here, too.
    """
    if num_workers == 1 or len(numbers) < 2:
        for number in numbers:
            yield function(number, moved)
        return
    with contextlib.ExitStack() as stack:
        count = min(num_workers, len(numbers))
        workers = [stack.enter_context(_Worker(function)) for _ in range(count)]
        yield from _in_order(workers, numbers, moved)


def _in_order(workers: Sequence["_Worker"], numbers: Sequence[int], moved: Moved) -> Iterator[Any]:
    """Keeps the workers busy; whichever number is done first, the results come in order."""
    waiting, idle = collections.deque(numbers), list(workers)
    busy: list[_Worker] = []
    ended: dict[int, _Ended] = {}
    for number in numbers:
        while number not in ended:
            while idle and waiting:
                idle[-1].give(waiting.popleft())
                busy.append(idle.pop())
            ready = connection.wait([worker.pipe for worker in busy])
            for worker in [worker for worker in busy if worker.pipe in ready]:
                message = worker.receive()
                if isinstance(message, _Ended):
                    ended[worker.number] = message
                    busy.remove(worker)
                    idle.append(worker)
                else:
                    moved(message)
        yield ended.pop(number).result()


class _Ended:
    """How a call ended."""

    def __init__(self, value: Any = None, error: Exception | None = None):
        self._value, self._error = value, error

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


class _Worker:
    """Another process: numbers go into the pipe, and what they move or how they end comes out.

    To be used as a context; leaving it ends the process, whatever that is doing: shards appear only
    when they are whole.

    Attributes:
        pipe: this end of it.
        number: that it was given last.
    """

    def __init__(self, function: Callable[[int, Moved], Any]):
        context = multiprocessing.get_context("spawn")
        self.pipe, self._theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(self._theirs, function), daemon=True)
        self.number = -1

    def __enter__(self) -> "_Worker":
        self._process.start()
        self._theirs.close()  # so that the pipe ends with the process
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def give(self, number: int) -> None:
        """Has a number worked on."""
        self.number = number
        with _alive():
            self.pipe.send(number)

    def receive(self) -> "int | _Ended":
        """How much was done since the last message, or how the call ended."""
        with _alive():
            return self.pipe.recv()


@contextlib.contextmanager
def _alive() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise RuntimeError(
            "a worker process died, perhaps for want of memory; the same command goes on, with a "
            "smaller num_workers if need be"
        ) from error


def _work(pipe: connection.Connection, function: Callable[[int, Moved], Any]) -> None:
    """What another process does until it is ended."""
    worker_processes.end_with_parent()
    worker_processes.leave_signals_to_parent()
    while True:
        number = pipe.recv()
        try:
            ended = _Ended(function(number, pipe.send))
        except Exception as error:
            error.add_note(f"In a worker process:\n{traceback.format_exc()}")
            ended = _Ended(error=error)
        pipe.send(ended)
