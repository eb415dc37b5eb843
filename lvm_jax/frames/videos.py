"""Frames of videos as a player shows them, by PyAV.

That is: of the stream that a player chooses; without what edit lists hide, what cannot be decoded
and what is cut short; with square pixels, turned and mirrored as the file says, and laid over a
background where they are transparent.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image
from absl import logging

from lvm_jax import file_names
from lvm_jax.image_formats import image_files, samples

# FFmpeg's own decoders leave the transparency of these out.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# These find out by themselves where pictures are whole, which may be without any key frame.
_WAITING_DECODERS = frozenset(["h264", "hevc", "mpeg1video", "mpeg2video"])


def import_av(path: str, doing: str = "reading") -> Any:
    """PyAV, a module without types.

    Args:
        path: the file, for the error.
        doing: what with it.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{doing} the video {path} needs PyAV; install it with: pip install 'lvm_jax[video]'"
        ) from error
    return av


def open_frames(
    path: str, max_pixels: int, background: tuple[int, int, int]
) -> Iterator[Callable[[], np.ndarray]]:
    """What makes the picture of each frame, in the order shown; only wanted ones are converted.

    Packets that do not decode are passed over, as players do, and counted in the log.

    Raises:
        ImageError: the file has too many pixels.
        ValueError: PyAV is not installed, or there is no video stream.
        Exception: whatever PyAV raises for a file that it cannot read.
    """
    video = _Video(path)
    image_files.require_small(path, video.shown_size(video.stream), max_pixels)
    return _pictures(video, max_pixels, background)


def frames_per_second(path: str) -> float | None:
    """How fast a video is shown on average, as its file says; None if it does not."""
    video = _Video(path)
    with video.container:
        rate = video.stream.average_rate
    return float(rate) if rate else None


def _pictures(
    video: "_Video", max_pixels: int, background: tuple[int, int, int]
) -> Iterator[Callable[[], np.ndarray]]:
    with video.container:
        for frame in video.shown_frames():
            yield functools.partial(_picture, video, frame, max_pixels, background)


class _Video:
    """One file, opened for one pass from its start."""

    def __init__(self, path: str):
        self._av = import_av(path)
        self.path = path
        # Up to version 18, texts that are no UTF-8 stop the reading; later this is not an option.
        is_strict = int(self._av.__version__.split(".")[0]) < 19
        options = {"metadata_errors": "replace"} if is_strict else {}
        # Without its protocol, a name with a colon would be taken for one.
        self.container = self._av.open(f"file:{path}", **options)
        self.stream = self._chosen_stream()
        self._decoder = self._chosen_decoder()
        self._aspect = self.stream.sample_aspect_ratio

    def _chosen_stream(self) -> Any:
        """The one that players show, which is no cover art."""
        cover = self._av.stream.Disposition.attached_pic
        streams = [
            stream
            for stream in self.container.streams.video
            if stream.codec_context is not None and not stream.disposition & cover
        ]
        if not streams:
            raise ValueError("it has no video stream that can be decoded")
        best = self.container.streams.best("video")
        return best if best in streams else streams[0]

    def _chosen_decoder(self) -> Any:
        own = self.stream.codec_context
        name = _ALPHA_DECODERS.get(own.name)
        if name is None or self.stream.metadata.get("alpha_mode") != "1":
            return own
        return self._av.CodecContext.create(name, "r")

    def shown_size(self, sized: Any) -> tuple[int, int]:
        """Width and height of a frame or stream with square pixels; neither side shrinks."""
        width, height, aspect = sized.width, sized.height, self._aspect
        if not aspect or aspect < 0:
            return width, height
        if aspect > 1:
            return round(width * aspect.numerator / aspect.denominator), height
        return width, round(height * aspect.denominator / aspect.numerator)

    def shown_frames(self) -> Iterator[Any]:
        """PyAV's frames, from the first one that is whole."""
        frames = self._decoded_frames()
        first = next(frames, None)
        if first is None:
            return
        if first.key_frame or self._decoder.name in _WAITING_DECODERS or not self._has_key():
            yield first
        else:
            # The references of those in front were made up by the decoder.
            frames = itertools.dropwhile(lambda frame: not frame.key_frame, frames)
        yield from frames

    def _has_key(self) -> bool:
        other = _Video(self.path)
        with other.container:
            return any(frame.key_frame for frame in other._decoded_frames())

    def _decoded_frames(self) -> Iterator[Any]:
        packets = damaged = 0
        for packet in self._packets():
            packets += 1
            try:
                frames = self._decoder.decode(packet)
            except self._av.FFmpegError:
                damaged += 1
            else:
                yield from frames
        if damaged:
            _say_damaged(self.path, damaged, packets - 1)

    def _packets(self) -> Iterator[Any]:
        """Packets of the stream, and None that has the decoder give what it kept back."""
        last = None
        try:
            for packet in self.container.demux(self.stream):
                if not packet.size:
                    continue  # it would end the decoding
                if last is not None:
                    yield last
                last = packet
        except self._av.FFmpegError as error:
            _say_cut(self.path, str(error))
        if last is not None:
            if last.is_corrupt:
                _say_cut(self.path, "its last packet is cut short")
            else:
                yield last
        yield None


@functools.cache
def _say_damaged(path: str, damaged: int, packets: int) -> None:
    """Once, however often the file is read."""
    logging.warning(
        "video %s: %d of %d packets do not decode and are passed over",
        file_names.shown(path),
        damaged,
        packets,
    )


@functools.cache
def _say_cut(path: str, reason: str) -> None:
    logging.warning("video %s is read as far as it goes: %s", file_names.shown(path), reason)


def _picture(
    video: _Video, frame: Any, max_pixels: int, background: tuple[int, int, int]
) -> np.ndarray:
    size = video.shown_size(frame)
    image_files.require_small(video.path, size, max_pixels)
    pixel_format = frame.format
    has_alpha = pixel_format.name == "pal8" or any(c.is_alpha for c in pixel_format.components)
    stored = PIL.Image.fromarray(frame.to_ndarray(format="rgba" if has_alpha else "rgb24"))
    flat = samples.over(stored, background)
    if flat.size != size:
        flat = flat.resize(size, PIL.Image.Resampling.BICUBIC)
    return _turned(np.asarray(flat), _matrix(frame))


def _matrix(frame: Any) -> tuple[float, float, float, float]:
    """a, b, c, d of the display matrix: (x, y) of a pixel is shown at (ax + cy, bx + dy)."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV 18 knows no names for some side data, such as EXIF; turns can be asked for alone.
        angle = math.radians(frame.rotation)
        return math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    return a, b, c, d


def _turned(picture: np.ndarray, matrix: tuple[float, float, float, float]) -> np.ndarray:
    """A picture turned by quarters and mirrored, as is nearest to a display matrix."""
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, left, top = picture.swapaxes(0, 1), c, b
    else:
        left, top = a, d
    return np.ascontiguousarray(picture[:: -1 if top < 0 else 1, :: -1 if left < 0 else 1])
