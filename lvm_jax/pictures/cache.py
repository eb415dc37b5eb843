"""Decoded pictures, kept while they are in use."""

import collections
import threading
from collections.abc import Hashable

import numpy as np


class PictureCache:
    """The latest used of some pictures, up to a number of bytes; threads share it.

    Args:
        max_bytes: of pictures; one is kept however large it is.
    """

    def __init__(self, max_bytes: int):
        self._max_bytes, self._bytes = max_bytes, 0
        self._pictures: collections.OrderedDict[Hashable, np.ndarray] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> np.ndarray | None:
        """The picture that was put under a key, unless others took its place since."""
        with self._lock:
            if key not in self._pictures:
                return None
            self._pictures.move_to_end(key)
            return self._pictures[key]

    def put(self, key: Hashable, picture: np.ndarray) -> None:
        """Keeps a picture and lets go of those that were not used for longest."""
        with self._lock:
            if key not in self._pictures:  # another thread may have been first
                self._pictures[key] = picture
                self._bytes += picture.nbytes
            while self._bytes > self._max_bytes and len(self._pictures) > 1:
                self._bytes -= self._pictures.popitem(last=False)[1].nbytes
