"""Decoded pictures, kept while they are in use."""

import collections
import threading

import numpy as np

from lvm_jax.sentences.spec import ImageRef, read_picture


class PictureCache:
    """Decoded pictures, the latest used ones, up to a number of bytes; threads share it.

    One picture serves many squares, and every image of a pair.
    """

    def __init__(self, max_bytes: int):
        self._max_bytes, self._bytes = max_bytes, 0
        self._pictures: collections.OrderedDict[tuple[str, int], np.ndarray] = (
            collections.OrderedDict()
        )
        self._lock = threading.Lock()

    def read(self, ref: ImageRef) -> np.ndarray:
        """As `spec.read_picture`."""
        key = ref.path, ref.frame
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        picture = read_picture(ref)
        with self._lock:
            if key not in self._pictures:
                self._pictures[key] = picture
                self._bytes += picture.nbytes
            while self._bytes > self._max_bytes and len(self._pictures) > 1:
                self._bytes -= self._pictures.popitem(last=False)[1].nbytes
        return picture
