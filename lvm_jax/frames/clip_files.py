"""Frames -> a clip: an animated GIF by Pillow, or a video by PyAV.

Legend: H height, W width in pixels.
"""

import fractions
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from lvm_jax import atomic, file_kinds
from lvm_jax.frames import videos
from lvm_jax.image_formats.image_files import ImageError

GIF = ".gif"
# What plays everywhere; MP4 and its kin by H.264, WebM by VP9. Numbers are of nearly lossless.
_H264 = ("libx264", {"crf": "12"})
_VP9 = ("libvpx-vp9", {"crf": "12", "b": "0"})
_CODECS = {".mp4": _H264, ".m4v": _H264, ".mov": _H264, ".mkv": _H264, ".webm": _VP9}
_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
EXTENSIONS = (GIF, *_CODECS)
# A GIF counts hundredths of seconds, and browsers play what is faster than this at a tenth of it.
_LEAST_HUNDREDTHS = 2


def is_clip(path: str | os.PathLike) -> bool:
    """Whether `write_clip` knows the extension."""
    return file_kinds.extension(path) in EXTENSIONS


def check(path: str | os.PathLike) -> None:
    """Refuses a clip that could not be written, before anything is drawn for it.

    Raises:
        ImageError: an unknown extension.
        ValueError: PyAV is not installed.
    """
    if not is_clip(path):
        raise ImageError(
            f"cannot write the clip {os.fspath(path)}: unknown extension "
            f"{file_kinds.extension(path)!r}; use one of {', '.join(EXTENSIONS)}"
        )
    if file_kinds.extension(path) != GIF:
        videos.import_av(os.fspath(path), doing="writing")


def write_clip(
    path: str | os.PathLike, frames: Sequence[np.ndarray], frames_per_second: float
) -> None:
    """Writes a clip in the format that the extension names; never half a file.

    Videos have colors at half the resolution, and even sides: a picture with an odd one repeats its
    last row or column. A GIF has 256 colors a frame and is repeated for ever.

    Args:
        path: .gif, or a video, see `EXTENSIONS`.
        frames: uint8 [H, W, 3] each, of one size.
        frames_per_second: a GIF rounds the time of a frame to hundredths of seconds.

    Raises:
        ImageError: an unknown extension.
        ValueError: PyAV is not installed.
        WriteError: the disk does not take it.
    """
    check(path)
    with atomic.writing(path, parents=True) as partial:
        write_to(partial, frames, frames_per_second, file_kinds.extension(path))


def write_to(
    file: pathlib.Path, frames: Sequence[np.ndarray], frames_per_second: float, extension: str
) -> None:
    """`write_clip` into a file that has another name meanwhile."""
    if extension == GIF:
        _write_gif(file, frames, frames_per_second)
    else:
        _write_video(file, frames, frames_per_second, extension)


def _write_gif(file: pathlib.Path, frames: Sequence[np.ndarray], frames_per_second: float) -> None:
    hundredths = max(_LEAST_HUNDREDTHS, round(100 / frames_per_second))
    # A palette for each frame and no dithering: what does not move does not flicker.
    first, *rest = [PIL.Image.fromarray(frame).quantize() for frame in frames]
    with open(file, "wb") as opened:
        first.save(
            opened, "GIF", save_all=True, append_images=rest, duration=10 * hundredths, loop=0
        )


def _write_video(
    file: pathlib.Path, frames: Sequence[np.ndarray], frames_per_second: float, extension: str
) -> None:
    av: Any = videos.import_av(os.fspath(file), doing="writing")
    codec, options = _CODECS[extension]
    rate = fractions.Fraction(frames_per_second).limit_denominator(1001)
    height, width = frames[0].shape[:2]
    with av.open(f"file:{file}", "w", format=_FORMATS[extension]) as output:
        stream = output.add_stream(codec, rate=rate, options=dict(options))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            output.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        output.mux(stream.encode())
