"""Images as arrays: read, resize, convert, write.

Legend: H height, W width in pixels; 3 is red, green, blue. A picture is `uint8 [0, 255]` between
files and the tokenizer, and `float32 [0, 1]` at every public interface that computes.
"""

import dataclasses
import io
import math
import os
import pathlib
from collections.abc import Callable
from typing import Literal

import numpy as np
import PIL.Image

from lvm_jax import atomic
from lvm_jax.configs import ConfigError, Field
from lvm_jax.image_formats import image_files
from lvm_jax.image_formats.image_files import MOST_PIXELS, ImageError
from lvm_jax.image_formats.samples import WHITE, to_rgb
from lvm_jax.storage import paths

# JPEG's blocks decode at these fractions without the rest being computed.
_JPEG_REDUCTIONS = (8, 4, 2, 1)
_JPEG = "JPEG"
# A picture is decoded with at least this many times the pixels per side that are needed: what is
# left to shrink makes the difference to decoding all of it invisible.
_JPEG_MARGIN = 2
_UNSEEN = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How files become square pictures; part of what shards are made from.

    Attributes:
        resize: "crop" scales the short side and takes the central square, antialiased; "squash"
            scales both sides, so that the whole picture is seen with another aspect ratio, as LVM
            did.
        background: red, green, blue in 0..255 that transparent pictures are laid over.
        max_pixels: larger pictures are refused before they are decoded.
        reduced_jpeg: decodes JPEG pictures that are much too large at 1/2, 1/4 or 1/8, which is
            several times faster and hardly shows. Other formats are always decoded whole.
    """

    resize: Literal["crop", "squash"] = "crop"
    background: tuple[int, int, int] = WHITE
    max_pixels: int = MOST_PIXELS
    reduced_jpeg: bool = True

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            known = ", ".join(RESIZES)
            raise ConfigError(Field("resize"), f"={self.resize!r} must be one of {known}")
        if len(self.background) != 3 or not all(0 <= v <= 255 for v in self.background):
            raise ConfigError(Field("background"), f"={self.background} must be three of 0..255")
        if not 1 <= self.max_pixels <= MOST_PIXELS:
            raise ConfigError(
                Field("max_pixels"), f"={self.max_pixels} must lie in 1..{MOST_PIXELS}"
            )

    def min_side(self, size: int, share: float = 1.0) -> int:
        """The short side that decoding must keep, for `read_image`.

        Args:
            size: pixels per side that are needed in the end.
            share: side of the square that is used over the short side of the picture.
        """
        return math.ceil(_JPEG_MARGIN * size / share) if self.reduced_jpeg else 0


def read_image(
    path: str | os.PathLike,
    max_pixels: int = MOST_PIXELS,
    *,
    background: tuple[int, int, int] = WHITE,
    min_side: int = 0,
) -> np.ndarray:
    """Reads the first frame of an image file as RGB.

    The orientation that its metadata states is applied, whatever else is wrong with them, and
    transparency is laid over the background; see `samples.to_rgb` for what samples become.

    Args:
        path: the file.
        max_pixels: larger pictures are refused before they are decoded, at most MOST_PIXELS.
        background: red, green, blue in 0..255.
        min_side: a JPEG may come back at 1/2, 1/4 or 1/8 of its size, as long as its short side
            keeps this many pixels; 0 takes every picture whole.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ImageError: the file is missing, is no image, is cut short or is too large.
    """
    with image_files.opened(path) as picture:
        image = picture.image
        image_files.require_small(path, image.size, max_pixels)
        if min_side and image.format == _JPEG:
            width, height = image.size
            reduction = jpeg_reduction(min(width, height), min_side)
            image.draft(image.mode, (width // reduction, height // reduction))
        rgb = to_rgb(image, background, white_is_zero=picture.white_is_zero)
        return image_files.upright(np.asarray(rgb), picture.orientation)


def jpeg_reduction(short_side: int, min_side: int) -> int:
    """1, 2, 4 or 8: by how much a JPEG shrinks while its short side keeps `min_side` pixels."""
    if not min_side:
        return 1
    return next((r for r in _JPEG_REDUCTIONS if short_side >= r * min_side), 1)


def jpeg_short_side(path: str | os.PathLike) -> int:
    """Pixels of the short side of a JPEG file, from its header; 0 for any other file."""
    try:
        with image_files.opened(path) as picture:
            return min(picture.size) if picture.image.format == _JPEG else 0
    except ImageError:
        return 0  # whoever reads the picture says what is wrong with it


def resize_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The central square at another resolution, antialiased: uint8 [H, W, 3] -> [size, size, 3]."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return _resize(image, size, (left, top, left + side, top + side))


def squash(image: np.ndarray, size: int) -> np.ndarray:
    """The whole picture, its aspect ratio given up: uint8 [H, W, 3] -> [size, size, 3]."""
    return _resize(image, size, (0, 0, image.shape[1], image.shape[0]))


def _resize(image: np.ndarray, size: int, box: tuple[float, float, float, float]) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be uint8 [H, W, 3], not {image.dtype} {image.shape}")
    # Pillow widens the filter when it shrinks, which is the antialiasing. A picture much too large
    # is first averaged down by a whole number, which hardly shows and is several times faster.
    resized = PIL.Image.fromarray(image).resize(
        (size, size), PIL.Image.Resampling.BICUBIC, box=box, reducing_gap=3.0
    )
    return np.asarray(resized)


RESIZES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "crop": resize_crop,
    "squash": squash,
}


def restored(square: np.ndarray, height: int, width: int, resize: str) -> np.ndarray:
    """A square back in the form of the picture that was resized to one.

    Where a picture was cropped, what lies beyond its middle was never seen and is gray.

    Args:
        square: uint8 [S, S, 3].
        height, width: of the picture.
        resize: how it became square, of `RESIZES`.

    Returns:
        uint8 [height, width, 3].
    """
    picture = PIL.Image.fromarray(square)
    if resize == "squash":
        return np.asarray(picture.resize((width, height), PIL.Image.Resampling.BICUBIC))
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    canvas = np.full((height, width, 3), _UNSEEN, np.uint8)
    middle = picture.resize((side, side), PIL.Image.Resampling.BICUBIC)
    canvas[top : top + side, left : left + side] = np.asarray(middle)
    return canvas


def to_float(image: np.ndarray) -> np.ndarray:
    """uint8 [0, 255] -> float32 [0, 1], any shape."""
    return np.asarray(image, np.uint8).astype(np.float32) / np.float32(255)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """float [0, 1] -> uint8 [0, 255], any shape; clips, then rounds to the nearest."""
    return np.rint(np.clip(np.asarray(image, np.float32), 0, 1) * 255).astype(np.uint8)


def encode_png(image: np.ndarray) -> bytes:
    """uint8 [H, W, 3] -> the bytes of a PNG file."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.asarray(image, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def written_format(path: str | os.PathLike) -> str:
    """The format in which `write_image` writes a file, by its extension.

    Raises:
        ImageError: an extension of no format that Pillow writes.
    """
    extension = paths.path(path).suffix
    image_format = PIL.Image.registered_extensions().get(extension.lower())
    if image_format not in PIL.Image.SAVE:
        raise ImageError(
            f"cannot write image {os.fspath(path)}: unknown extension {extension!r}; use .png"
        )
    return image_format


def write_to(file: pathlib.Path, image: np.ndarray, image_format: str) -> None:
    """Writes uint8 [H, W, 3] into a file that has another name meanwhile, see `written_format`."""
    PIL.Image.fromarray(np.asarray(image, np.uint8)).save(file, format=image_format)


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] in the format that the extension names; never a half file.

    Raises:
        ImageError: an unknown extension, or a disk that is full or read-only.
    """
    path = paths.path(path)
    image_format = written_format(path)
    try:
        with atomic.writing(path, parents=True) as partial:
            write_to(partial, image, image_format)
    except OSError as error:
        raise ImageError(f"cannot write image {path}: {error.strerror or error}") from error
