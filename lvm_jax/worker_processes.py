"""Processes that work for another one, and end when it does."""

import multiprocessing
import os
import signal
import threading


def end_with_parent() -> None:
    """Makes this process end at once when the one that started it has gone, killed or not.

    A worker that waits for its parent would wait for ever. The memory that it shares is given back
    by the resource tracker of `multiprocessing`, when the last process that uses it has ended. In a
    process that is no worker nothing happens.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="end_with_parent").start()


def leave_signals_to_parent() -> None:
    """Ignores Ctrl-C and SIGTERM, which a terminal or a cluster sends to all processes at once.

    For a worker that its parent ends: the parent may want it a little longer, to reach a step after
    which it saves.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
