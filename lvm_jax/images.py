"""Images as arrays: read, resize, convert, write.

Legend: H height, W width in pixels; 3 is red, green, blue. A picture is `uint8 [0, 255]` between
files and the tokenizer, and `float32 [0, 1]` at every public interface that computes.
"""

import contextlib
import dataclasses
import io
import logging
import math
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import PIL.Image

from lvm_jax import atomic
from lvm_jax.image_formats import metadata
from lvm_jax.image_formats.samples import WHITE, to_rgb

# Pillow refuses to open more, as it may be a small file that unpacks to fill the memory.
MOST_PIXELS = 178_956_970
# JPEG's blocks decode at these fractions without the rest being computed.
_JPEG_REDUCTIONS = (8, 4, 2, 1)
_JPEG = "JPEG"
# A picture is decoded with at least this many times the pixels per side that are needed: what is
# left to shrink makes the difference to decoding all of it invisible.
_JPEG_MARGIN = 2
# EXIF's orientations, and what makes the picture upright.
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)  # orientations that swap width and height

# What is wrong with a file is said by an error that names it, or does not matter.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageError(ValueError):
    """A file that cannot be read or written as an image; names the file, the reason, the remedy."""


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

    def __post_init__(self):
        if self.resize not in RESIZES:
            raise ValueError(f"images.resize={self.resize!r} must be one of {', '.join(RESIZES)}")
        if len(self.background) != 3 or not all(0 <= v <= 255 for v in self.background):
            raise ValueError(f"images.background={self.background} must be three of 0..255")
        if not 1 <= self.max_pixels <= MOST_PIXELS:
            raise ValueError(f"images.max_pixels={self.max_pixels} must lie in 1..{MOST_PIXELS}")

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
    transparency is laid over the background; see `image_samples.to_rgb` for what samples become.

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
    with opened(path) as picture:
        image = picture.image
        width, height = image.size
        require_small(path, width, height, max_pixels)
        if min_side and image.format == _JPEG:
            reduction = jpeg_reduction(min(width, height), min_side)
            image.draft(image.mode, (width // reduction, height // reduction))
        rgb = to_rgb(image, background, white_is_zero=picture.white_is_zero)
        return upright(np.asarray(rgb), picture.orientation)


@dataclasses.dataclass(frozen=True)
class OpenedPicture:
    """A file that is open and not decoded yet.

    Attributes:
        image: its pixels as they are stored, without any metadata.
        orientation: 1..8 as EXIF counts them; see `upright`.
        white_is_zero: what its numbers mean, if it is gray.
    """

    image: PIL.Image.Image
    orientation: int
    white_is_zero: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels when upright."""
        width, height = self.image.size
        return (height, width) if self.orientation in _LYING else (width, height)


@contextlib.contextmanager
def opened(
    path: str | os.PathLike, *, what: str = "image", animated: bool = False
) -> Iterator[OpenedPicture]:
    """Opens an image file; whatever fails until it is closed again is an `ImageError`.

    Args:
        path: the file.
        what: the file is called, in errors.
        animated: frames after the first are wanted, too.

    Raises:
        ImageError: the file is missing, is no image, or anything that is raised while it is open.
    """
    facts = ""
    try:
        with open(path, "rb") as file:
            bare = metadata.bare(file, animated=animated)
            facts = bare.facts
            bare.file.seek(0)
            with PIL.Image.open(bare.file) as image:
                orientation = bare.orientation
                if orientation is None:
                    orientation = metadata.orientation(
                        image.info.get("exif"), image.info.get("xmp")
                    )
                yield OpenedPicture(image, orientation, bare.white_is_zero)
    except ImageError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(
            f"{what} {os.fspath(path)} has more than {MOST_PIXELS} pixels; make it smaller"
        ) from error
    except FileNotFoundError as error:
        raise ImageError(f"{what} {os.fspath(path)} does not exist") from error
    except PIL.UnidentifiedImageError as error:
        others = f"that is supported ({facts})" if facts else "of a kind that is supported"
        reason = f"not an image {others}"
        raise _unreadable(what, path, reason) from error
    # The boundary of the libraries that decode files: damaged ones make them raise almost anything,
    # down to MemoryError for sizes that are nonsense.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _unreadable(what, path, reason) from error


def _unreadable(what: str, path: str | os.PathLike, reason: str) -> ImageError:
    return ImageError(f"cannot read {what} {os.fspath(path)}: {reason}; remove or replace the file")


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels, uint8 [H, W, 3] or int32 [H, W], turned as EXIF's orientation 1..8 says."""
    if orientation not in _TURNS:
        return stored
    return np.asarray(PIL.Image.fromarray(stored).transpose(_TURNS[orientation]))


def require_small(path: str | os.PathLike, width: int, height: int, max_pixels: int) -> None:
    """Refuses a picture of too many pixels, before it is decoded.

    Raises:
        ImageError: names the file and the limit.
    """
    if width * height > max_pixels:
        raise ImageError(
            f"image {os.fspath(path)} has {width}x{height} pixels, more than {max_pixels}; "
            "make it smaller, or raise max_pixels if the file can be trusted"
        )


def jpeg_reduction(short_side: int, min_side: int) -> int:
    """1, 2, 4 or 8: by how much a JPEG shrinks while its short side keeps `min_side` pixels."""
    if not min_side:
        return 1
    return next((r for r in _JPEG_REDUCTIONS if short_side >= r * min_side), 1)


def jpeg_short_side(path: str | os.PathLike) -> int:
    """Pixels of the short side of a JPEG file, from its header; 0 for any other file."""
    try:
        with opened(path) as picture:
            return min(picture.size) if picture.image.format == _JPEG else 0
    except ImageError:
        return 0  # whoever reads the picture says what is wrong with it


def read_square(
    path: str | os.PathLike, size: int, config: ImageConfig | None = None
) -> np.ndarray:
    """A file of any size and mode as the tokenizer wants it: uint8 [size, size, 3].

    Raises:
        ImageError: as `read_image`.
    """
    config = config or ImageConfig()
    picture = read_image(
        path, config.max_pixels, background=config.background, min_side=config.min_side(size)
    )
    return RESIZES[config.resize](picture, size)


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
    extension = pathlib.Path(path).suffix
    found = PIL.Image.registered_extensions().get(extension.lower())
    if found not in PIL.Image.SAVE:
        raise ImageError(
            f"cannot write image {os.fspath(path)}: unknown extension {extension!r}; use .png"
        )
    return found


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] in the format that the extension names; never a half file.

    Raises:
        ImageError: an unknown extension, or a disk that is full or read-only.
    """
    path = pathlib.Path(path)
    image_format = written_format(path)
    try:
        with atomic.writing(path, parents=True) as partial:
            PIL.Image.fromarray(np.asarray(image, np.uint8)).save(partial, format=image_format)
    except OSError as error:
        raise ImageError(f"cannot write image {path}: {error.strerror or error}") from error


def grid(rows: Sequence[Sequence[np.ndarray | None]], gap: int = 2) -> np.ndarray:
    """Lays pictures out in rows on white.

    Args:
        rows: uint8 [H, W, 3] pictures; None leaves a cell empty; rows may differ in length.
        gap: white pixels around every cell.

    Returns:
        uint8 [H, W, 3]; every cell has the size of the largest picture, pictures at top left.
    """
    pictures = [picture for row in rows for picture in row if picture is not None]
    if not pictures:
        raise ValueError("a grid needs at least one picture")
    height = max(picture.shape[0] for picture in pictures) + gap
    width = max(picture.shape[1] for picture in pictures) + gap
    columns = max(len(row) for row in rows)
    canvas = np.full((len(rows) * height + gap, columns * width + gap, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            if picture is not None:
                top, left = i * height + gap, j * width + gap
                canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas
