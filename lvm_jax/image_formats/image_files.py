"""Image files of any format, opened and not decoded; whatever is wrong with one is one error."""

import contextlib
import dataclasses
import logging
import os
import warnings
from collections.abc import Iterator

import numpy as np
import PIL.Image
from PIL.ImageFile import ImageFile

from lvm_jax.image_formats import metadata

# Pillow refuses to open more, as it may be a small file that unpacks to fill the memory.
MOST_PIXELS = 178_956_970
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


@dataclasses.dataclass(frozen=True)
class OpenedPicture:
    """A file that is open and not decoded yet.

    Attributes:
        image: its pixels as they are stored, without any metadata.
        orientation: 1..8 as EXIF counts them; see `upright`.
        white_is_zero: what its numbers mean, if it is gray.
    """

    image: ImageFile
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


def require_small(path: str | os.PathLike, size: tuple[int, int], max_pixels: int) -> None:
    """Refuses a picture of too many pixels, width by height, before it is decoded.

    Raises:
        ImageError: names the file and the limit.
    """
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"image {os.fspath(path)} has {width}x{height} pixels, more than {max_pixels}; "
            "make it smaller, or raise max_pixels if the file can be trusted"
        )
