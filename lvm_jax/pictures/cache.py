"""Decoded pictures, kept while they are in use."""

import collections
import threading
from collections.abc import Callable, Hashable

import numpy as np

from lvm_jax.frames.frame_readers import FrameReaders
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.pictures.render import Reader, read_picture


class PictureCache:
    """Decoded pictures, the latest used ones, up to a number of bytes; threads share it.

    One picture serves many squares, and every image of a pair. Videos stay open between frames, so
    that frames read in order are decoded once.

    Args:
        max_bytes: of pictures.
        read: gives a picture that is not here yet, unless it is a frame of a video.
        key: references of one key and frame share a picture; by default those of one file and one
            way to read its labels.
        frames: reads frames of videos.
    """

    def __init__(
        self,
        max_bytes: int,
        read: Reader = read_picture,
        key: Callable[[ImageRef], Hashable] = lambda ref: (ref.path, ref.labels),
        frames: FrameReaders | None = None,
    ):
        self._max_bytes, self._bytes = max_bytes, 0
        self._read, self._key = read, key
        self._frames = frames or FrameReaders()
        self._pictures: collections.OrderedDict[Hashable, np.ndarray] = collections.OrderedDict()
        self._lock = threading.Lock()

    def read(self, ref: ImageRef) -> np.ndarray:
        """As `spec.read_picture`."""
        key = self._key(ref), ref.frame
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        picture = self._frames.read(ref.path, ref.frame) if ref.frame >= 0 else self._read(ref)
        with self._lock:
            if key not in self._pictures:
                self._pictures[key] = picture
                self._bytes += picture.nbytes
            while self._bytes > self._max_bytes and len(self._pictures) > 1:
                self._bytes -= self._pictures.popitem(last=False)[1].nbytes
        return picture
