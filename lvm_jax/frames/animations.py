"""Frames of animated pictures, by Pillow: GIF, PNG, WebP, AVIF and FLI.

GIF and PNG are composed here (see `composition`), since what Pillow makes of frames that are
cleared, restored or half transparent is not what their standards say.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator

import numpy as np
import PIL.Image
from PIL.ImageFile import ImageFile

from lvm_jax import file_kinds
from lvm_jax.frames import composition, gif_parts, png_parts
from lvm_jax.image_formats import image_files, samples

_FORMATS = ("GIF", "PNG", "WEBP", "AVIF", "FLI")


def is_animation(path: str | os.PathLike) -> bool:
    """Whether a file that is no video holds more than one frame.

    Files with the extension of a format without animations are not opened.
    """
    known = file_kinds.extension(path)
    if known in file_kinds.image_extensions() - _extensions():
        return False
    try:
        with open(path, "rb") as file:
            promised = png_parts.count_promised(file)
        if promised is not None:
            return promised > 1
        with image_files.opened(path, animated=True) as picture:
            return picture.image.format in _FORMATS and getattr(picture.image, "is_animated", False)
    except (OSError, image_files.ImageError):
        return False  # whoever reads the picture says what is wrong with it


@functools.cache
def _extensions() -> frozenset[str]:
    known = PIL.Image.registered_extensions().items()
    return frozenset(name for name, image_format in known if image_format in _FORMATS)


def open_frames(
    path: str, max_pixels: int, background: tuple[int, int, int]
) -> Iterator[Callable[[], np.ndarray]]:
    """What makes the picture of each frame, in order; to be called before the next is taken.

    Raises:
        ImageError: the file cannot be read, or has too many pixels.
        Exception: later, whatever Pillow raises where the file is damaged.
    """
    with contextlib.ExitStack() as stack:
        picture = stack.enter_context(image_files.opened(path, what="video", animated=True))
        image = picture.image
        image_files.require_small(path, image.size, max_pixels)
        file = stack.enter_context(open(path, "rb"))
        if image.format == "GIF":
            parts = gif_parts.read_parts(file)
        elif png_parts.count_promised(file):
            parts = png_parts.read_parts(file)
        else:
            parts = None
        if parts:
            made = composition.compose(path, image.size, parts, max_pixels, background)
        else:
            made = _pillow_frames(image, background)
        return _upright(stack.pop_all(), made, picture.orientation)


def frames_per_second(path: str) -> float | None:
    """How fast the first frame of an animation is followed by the second; None if unknown."""
    with image_files.opened(path, what="video", animated=True) as picture:
        milliseconds = picture.image.info.get("duration", 0)
    return 1000 / milliseconds if milliseconds else None


def _upright(
    stack: contextlib.ExitStack, made: Iterator[Callable[[], np.ndarray]], orientation: int
) -> Iterator[Callable[[], np.ndarray]]:
    try:
        for make in made:
            yield functools.partial(_turned, make, orientation)
    finally:
        stack.close()


def _turned(make: Callable[[], np.ndarray], orientation: int) -> np.ndarray:
    return image_files.upright(make(), orientation)


def _pillow_frames(
    image: ImageFile, background: tuple[int, int, int]
) -> Iterator[Callable[[], np.ndarray]]:
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        yield lambda: np.asarray(samples.to_rgb(image, background))
