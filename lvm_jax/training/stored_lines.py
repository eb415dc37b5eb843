"""A file of lines on a store, to which nothing can be added.

The lines are kept in memory and the whole object is written anew in the background, at most every
half minute, and before every checkpoint and in the end: a run that is killed loses at most the
lines of the last half minute, and none from before the checkpoint that it resumes from.
"""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from lvm_jax.storage.paths import StorePath

_FLUSH_SECONDS = 30.0
_SHARE_OF_TIME = 0.05  # that writing a long file again and again may take of its thread


class StoredLines:
    """`metrics.JsonLines` for a store. Every method raises a `StoreError` that names the object."""

    def __init__(self, path: StorePath):
        """Goes on with an object, or begins it."""
        self._path = path
        self._lines = bytearray(path.read_bytes() if path.exists() else b"")
        self._num_written = len(self._lines)
        self._changing, self._writing = threading.Lock(), threading.Lock()
        self._ended = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._flush_often, name="metrics", daemon=True)
        self._thread.start()

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends a line, which is on the store later; raises what was raised in the background."""
        if self._failure is not None:
            raise self._failure
        with self._changing:
            self._lines += (json.dumps(line) + "\n").encode()

    def sync(self) -> None:
        """Returns when all lines are on the store."""
        with self._writing:
            with self._changing:
                lines = bytes(self._lines)
            if len(lines) != self._num_written:
                self._path.write_bytes(lines)
                self._num_written = len(lines)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.sync()

    def _flush_often(self) -> None:
        pause = _FLUSH_SECONDS
        while not self._ended.wait(pause):
            begun = time.monotonic()
            try:
                self.sync()
            except OSError as error:  # raised where the next line comes
                self._failure = error
                return
            pause = max(_FLUSH_SECONDS, (time.monotonic() - begun) / _SHARE_OF_TIME)
