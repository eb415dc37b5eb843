"""Processes that work for another one, and end when it does."""

import multiprocessing
import os
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
