"""Frames of videos (PyAV) and animations (Pillow), decoded in order.

Frames are numbered from 0 in the order in which they are shown. A video is decoded from its start,
since seeking is exact in few formats; going forwards costs each frame once.
"""

import collections
import functools
import os
import threading
from collections.abc import Callable, Iterator

import numpy as np
import PIL.Image

from lvm_jax import file_kinds, images
from lvm_jax.file_kinds import is_video

_ANIMATION_EXTENSIONS = frozenset([".gif", ".webp"])
_MOST_OPEN = 8


def holds_frames(path: str | os.PathLike) -> bool:
    """Whether a file is a video, or an animation of more than one frame."""
    if is_video(path):
        return True
    known = file_kinds.extension(path)
    if known in file_kinds.image_extensions() - _ANIMATION_EXTENSIONS:
        return False
    try:
        with PIL.Image.open(path) as image:
            return getattr(image, "is_animated", False)
    except images.DECODE_ERRORS:
        return False  # whoever reads the picture says what is wrong with it


def count_frames(path: str | os.PathLike) -> int:
    """Frames of a video or animation: what its header says, or else what it holds.

    Raises:
        images.ImageError: the file cannot be opened.
        ValueError: PyAV is not installed.
    """
    path = os.fspath(path)
    if not is_video(path):
        try:
            with PIL.Image.open(path) as image:
                return getattr(image, "n_frames", 1)
        except images.DECODE_ERRORS as error:
            raise _open_error(path, error) from error
    av = _import_av(path)
    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            return stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
    except (av.FFmpegError, OSError, IndexError) as error:
        raise _open_error(path, error) from error


def read_frame(
    path: str | os.PathLike,
    frame: int,
    max_pixels: int = images.MOST_PIXELS,
    background: tuple[int, int, int] = images.WHITE,
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
        max_pixels: int = images.MOST_PIXELS,
        background: tuple[int, int, int] = images.WHITE,
        most_open: int = _MOST_OPEN,
    ):
        self._max_pixels, self._background = max_pixels, background
        self._most_open = most_open
        self._open: collections.OrderedDict[str, _FrameReader] = collections.OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: str, frame: int) -> np.ndarray:
        """A frame, from 0, as uint8 [H, W, 3]; cheap if it comes after the ones read before.

        Raises:
            images.ImageError: the file cannot be opened, has too many pixels, or does not decode
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
            self._frames = _frames(self._path, self._max_pixels, self._background)
            self._next = 0
        try:
            while self._next <= frame:
                make = next(self._frames)
                if self._wanted[self._next]:
                    self._passed[self._next] = make()
                self._next += 1
        except images.ImageError:
            self._frames = None
            raise
        except (*_decode_errors(self._path), StopIteration) as error:
            self._frames = None
            reason = "it ends there" if isinstance(error, StopIteration) else _reason(error)
            last = f"past frame {self._next - 1}" if self._next else "at all"
            raise images.ImageError(
                f"video {self._path} does not decode {last} ({reason}), but frame {frame} is "
                "wanted; replace or exclude the file"
            ) from error

    def close(self) -> None:
        with self._decoding:
            self._frames = None  # the generator closes the file


def _frames(
    path: str, max_pixels: int, background: tuple[int, int, int]
) -> Iterator[Callable[[], np.ndarray]]:
    """What makes the picture of each frame, in order; only wanted ones are converted."""
    if is_video(path):
        return _video_frames(path, max_pixels)
    return _animation_frames(path, max_pixels, background)


def _video_frames(path: str, max_pixels: int) -> Iterator[Callable[[], np.ndarray]]:
    av = _import_av(path)
    try:
        container = av.open(path)
    except (av.FFmpegError, OSError) as error:
        raise _open_error(path, error) from error
    with container:
        if not container.streams.video:
            raise _open_error(path, ValueError("it has no video stream"))
        stream = container.streams.video[0]
        images.require_small(path, stream.width, stream.height, max_pixels)
        for frame in container.decode(stream):
            yield functools.partial(_video_picture, frame)


def _video_picture(frame) -> np.ndarray:
    picture = frame.to_ndarray(format="rgb24")
    # Telephones store upright films lying on their side; the angle is counter-clockwise.
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))


def _animation_frames(
    path: str, max_pixels: int, background: tuple[int, int, int]
) -> Iterator[Callable[[], np.ndarray]]:
    try:
        image = PIL.Image.open(path)
    except images.DECODE_ERRORS as error:
        raise _open_error(path, error) from error
    with image:
        images.require_small(path, *image.size, max_pixels)
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            yield lambda: np.asarray(images.to_rgb(image, background))


def _import_av(path: str):
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"reading the video {path} needs PyAV; install it with: pip install 'lvm_jax[video]'"
        ) from error
    return av


def _decode_errors(path: str) -> tuple[type[BaseException], ...]:
    return (_import_av(path).FFmpegError, OSError) if is_video(path) else images.DECODE_ERRORS


def _open_error(path: str, error: BaseException) -> images.ImageError:
    return images.ImageError(
        f"cannot open video {path}: {_reason(error)}; remove, replace or exclude the file"
    )


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__
