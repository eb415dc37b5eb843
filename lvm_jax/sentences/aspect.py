"""Whether a picture and its annotation can lie on each other, from the headers of their files."""

import functools
import os

from lvm_jax import images
from lvm_jax.sentences import frames

_MOST_FILES = 2**16


def require_same(annotation: str, picture: str) -> None:
    """Refuses an annotation of another aspect ratio than its picture; another scale is fine.

    Files that cannot be read are passed over: whoever reads them says what is wrong.

    Args:
        annotation, picture: paths of images or videos.

    Raises:
        images.ImageError: names both files and their sizes.
    """
    sizes = _size(annotation), _size(picture)
    if None in sizes:
        return
    (width, height), (other_width, other_height) = sizes
    # When one was made from the other, its sides were rounded to whole pixels.
    most = max(width + height, other_width + other_height)
    if abs(height * other_width - width * other_height) > most:
        raise images.ImageError(
            f"annotation {annotation} has {width}x{height} pixels, but its picture {picture} has "
            f"{other_width}x{other_height}, which is another shape (as orientation tags turn "
            "them); make one from the other again or exclude both"
        )


def _size(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
        return _cached_size(path, state.st_size, state.st_mtime_ns)
    except (OSError, ValueError):
        return None


@functools.lru_cache(_MOST_FILES)
def _cached_size(path: str, size: int, changed: int) -> tuple[int, int]:
    """Width and height of the array that the file is read as."""
    del size, changed
    if frames.is_video(path):
        height, width, _ = frames.read_frame(path, 0).shape
        return width, height
    with images.opened(path) as picture:
        return picture.size
