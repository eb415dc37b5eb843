"""Frames of videos and animations, decoded in order.

Frames are numbered from 0 in the order in which they are shown. A file is decoded from its start,
since seeking is exact in few formats; going forwards costs each frame once. What counts frames and
what reads them is one pass of `videos` or `animations`, so that every frame that is counted reads.
"""

import collections
import functools
import os
import threading
from collections.abc import Callable, Iterator

import numpy as np
from absl import logging

from lvm_jax import file_names
from lvm_jax.file_kinds import is_video
from lvm_jax.frames import animations, videos
from lvm_jax.image_formats import image_files, samples

_MOST_OPEN = 8
_MOST_COUNTED = 2**18


def holds_frames(path: str | os.PathLike) -> bool:
    """Whether a file is a video, or an animation of more than one frame."""
    return is_video(path) or animations.is_animation(path)


def frames_per_second(path: str | os.PathLike) -> float | None:
    """How fast a video or animation is shown, as its file says; None if it does not.

    Raises:
        ImageError: the file cannot be opened.
        ValueError: PyAV is not installed.
    """
    path = os.fspath(path)
    if not is_video(path):
        return animations.frames_per_second(path)
    videos.import_av(path)
    try:
        return videos.frames_per_second(path)
    # Whatever PyAV raises for bytes that are no video.
    except Exception as error:
        raise _open_error(path, error) from error


def count_frames(path: str | os.PathLike, max_pixels: int = image_files.MOST_PIXELS) -> int:
    """Frames of a video or animation that can be read, found out by decoding all of them.

    A file that is damaged holds the frames in front of the damage, or around it where a player
    would go on; the log says so.

    Args:
        path: the file.
        max_pixels: files with larger frames are refused.

    Raises:
        ImageError: the file cannot be opened or is too large, or no frame of it decodes.
        ValueError: PyAV is not installed.
    """
    path = os.fspath(path)
    if is_video(path):
        videos.import_av(path)
    try:
        state = os.stat(path)
    except OSError as error:
        raise _open_error(path, error) from error
    return _count(path, max_pixels, state.st_size, state.st_mtime_ns)


@functools.lru_cache(_MOST_COUNTED)
def _count(path: str, max_pixels: int, size: int, changed: int) -> int:
    del size, changed
    frames, number = _open(path, max_pixels, samples.WHITE), 0
    try:
        for _ in frames:
            number += 1
    # Whatever the libraries raise where a file is damaged.
    except Exception as error:
        if not number:
            raise _open_error(path, error) from error
        shown = file_names.shown(path)
        logging.warning("video %s ends after %d frames: %s", shown, number, _reason(error))
    if not number:
        raise _open_error(path, ValueError("no frame of it decodes"))
    return number


def read_frame(
    path: str | os.PathLike,
    frame: int,
    max_pixels: int = image_files.MOST_PIXELS,
    background: tuple[int, int, int] = samples.WHITE,
) -> np.ndarray:
    """One frame of a file that is opened for it alone; see `FrameReaders`."""
    reader = _FrameReader(os.fspath(path), max_pixels, background)
    try:
        return reader.read(frame)
    finally:
        reader.close()


class FrameReaders:
    """Reads frames of many files, the latest of which stay open; threads share it.

    Args:
        max_pixels: files with larger frames are refused.
        background: red, green, blue in 0..255 that transparent frames are laid over.
        most_open: files.
    """

    def __init__(
        self,
        max_pixels: int = image_files.MOST_PIXELS,
        background: tuple[int, int, int] = samples.WHITE,
        most_open: int = _MOST_OPEN,
    ):
        self._max_pixels, self._background = max_pixels, background
        self._most_open = most_open
        self._open: collections.OrderedDict[str, _FrameReader] = collections.OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: str, frame: int) -> np.ndarray:
        """A frame, from 0, as uint8 [H, W, 3]; cheap if it comes after the ones read before.

        Raises:
            ImageError: the file cannot be opened, has too many pixels, or does not decode
                that far; says how far.
            ValueError: PyAV is not installed.
        """
        closing = []
        with self._lock:
            if path not in self._open:
                self._open[path] = _FrameReader(path, self._max_pixels, self._background)
            self._open.move_to_end(path)
            reader = self._open[path]
            while len(self._open) > self._most_open:
                closing.append(self._open.popitem(last=False)[1])
        for old in closing:
            old.close()
        return reader.read(frame)


class _FrameReader:
    """One file, decoded forwards; begins again when an earlier frame is wanted."""

    def __init__(self, path: str, max_pixels: int, background: tuple[int, int, int]):
        self._path = path
        self._max_pixels, self._background = max_pixels, background
        self._frames: Iterator[Callable[[], np.ndarray]] | None = None
        self._next = 0
        self._decoding, self._waiting = threading.Lock(), threading.Lock()
        # Threads that wait for their turn say which frame they want, so that whoever decodes past
        # it keeps it for them.
        self._wanted: collections.Counter[int] = collections.Counter()
        self._passed: dict[int, np.ndarray] = {}

    def read(self, frame: int) -> np.ndarray:
        """`FrameReaders.read`, of this file."""
        with self._waiting:
            self._wanted[frame] += 1
        try:
            with self._decoding:
                if frame not in self._passed:
                    self._decode_to(frame)
                return self._passed[frame]
        finally:
            with self._waiting:
                self._wanted[frame] -= 1
                if not self._wanted[frame]:
                    del self._wanted[frame]
                    self._passed.pop(frame, None)

    def _decode_to(self, frame: int) -> None:
        if self._frames is None or frame < self._next:
            self._frames = _open(self._path, self._max_pixels, self._background)
            self._next = 0
        try:
            while self._next <= frame:
                make = next(self._frames)
                if self._wanted[self._next]:
                    self._passed[self._next] = make()
                self._next += 1
        except image_files.ImageError:
            self._frames = None
            raise
        # Whatever the libraries raise where a file is damaged.
        except Exception as error:
            self._frames = None
            reason = "it ends there" if isinstance(error, StopIteration) else _reason(error)
            last = f"past frame {self._next - 1}" if self._next else "at all"
            raise image_files.ImageError(
                f"video {self._path} does not decode {last} ({reason}), but frame {frame} is "
                "wanted; replace or exclude the file"
            ) from error

    def close(self) -> None:
        with self._decoding:
            self._frames = None  # the generator closes the file


def _open(
    path: str, max_pixels: int, background: tuple[int, int, int]
) -> Iterator[Callable[[], np.ndarray]]:
    """What makes the picture of each frame, in order; to be called before the next is taken."""
    if not is_video(path):
        return animations.open_frames(path, max_pixels, background)
    videos.import_av(path)
    try:
        return videos.open_frames(path, max_pixels, background)
    except image_files.ImageError:
        raise
    # Whatever PyAV raises for bytes that are no video.
    except Exception as error:
        raise _open_error(path, error) from error


def _open_error(path: str, error: BaseException) -> image_files.ImageError:
    return image_files.ImageError(
        f"cannot read video {path}: {_reason(error)}; remove, replace or exclude the file"
    )


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__
