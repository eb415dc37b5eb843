"""Files of those who use a page: gone when they leave, and with the page."""

import hashlib
import os
import pathlib
import shutil
import threading
import time

import numpy as np

from lvm_jax import images as images_lib

# An upload of which no handler has heard by then was not meant to be used.
_UNUSED_S = 600


class Sessions:
    """What every session has on disk, and whether it wants its answer to stop.

    A session is a tab of a browser. It has a folder of its own, and uploads beside it, which are
    named by their content: the same file given by two sessions is one.

    Args:
        root: folder that belongs to the page alone.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = pathlib.Path(root)
        self._there: set[str] = set()
        self._stopped: set[str] = set()
        self._users: dict[pathlib.Path, set[str]] = {}  # of uploads
        self._lock = threading.RLock()

    def begin(self, session: str) -> None:
        """Somebody opens the page."""
        with self._lock:
            self._there.add(session)

    def end(self, session: str) -> None:
        """Somebody leaves: removes what is theirs and nobody else's, and stops their answer."""
        self.stop(session)
        with self._lock:
            self._there.discard(session)
            shutil.rmtree(self._folder_of(session), ignore_errors=True)
            for users in self._users.values():
                users.discard(session)
            self._users = {path: users for path, users in self._users.items() if users}
            self._sweep()

    def _sweep(self) -> None:
        """Removes uploads that nobody uses: all if nobody is there, else those that are old."""
        own = {self._folder_of(session).name for session in self._there}
        used = {path.relative_to(self.root).parts[0] for path in self._users}
        newest = time.time() - _UNUSED_S
        for path in self.root.iterdir():
            if path.name in own | used or (self._there and path.stat().st_mtime > newest):
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _folder_of(self, session: str) -> pathlib.Path:
        # What a browser calls its session becomes no path.
        return self.root / hashlib.sha256(session.encode()).hexdigest()[:32]

    def keep(self, session: str, image: np.ndarray, name: str = "picture") -> str:
        """Writes uint8 [H, W, 3] as a PNG file of a session; returns its path."""
        return self.keep_bytes(session, images_lib.encode_png(image), f"{name}.png")

    def keep_bytes(self, session: str, data: bytes, name: str) -> str:
        """Writes a file of a session into a folder that its content names; returns its path.

        Raises:
            RuntimeError: the session is over, so nobody would remove it.
        """
        folder = self._folder_of(session) / hashlib.sha256(data).hexdigest()[:16]
        with self._lock:
            if session not in self._there:
                raise RuntimeError("This page was left or lost its connection: load it again.")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / name
            path.write_bytes(data)
        return str(path)

    def uses(self, session: str, upload: str) -> None:
        """Keeps an upload as long as the session."""
        path = pathlib.Path(upload)
        if self.root in path.parents:
            with self._lock:
                self._users.setdefault(path, set()).add(session)

    def begin_answer(self, session: str) -> None:
        """Takes back an earlier `stop`."""
        with self._lock:
            self._stopped.discard(session)

    def stop(self, session: str) -> None:
        """Makes the session's answer, begun or waiting, end with the image that is being made."""
        with self._lock:
            self._stopped.add(session)

    def is_stopped(self, session: str) -> bool:
        """Whether the session's answer is to stop."""
        with self._lock:
            return session in self._stopped
