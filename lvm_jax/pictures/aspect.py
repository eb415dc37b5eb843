"""Whether a picture and its annotation can lie on each other, from the headers of their files."""

import functools
import os
from collections.abc import Iterable
from concurrent import futures
from typing import NamedTuple

from lvm_jax.frames import frame_readers
from lvm_jax.image_formats import image_files
from lvm_jax.image_formats.metadata import UPRIGHT

_MOST_FILES = 2**18
_NUM_THREADS = 4


class Header(NamedTuple):
    """What is known of a picture before it is decoded.

    Attributes:
        width, height: of the array that it is read as.
        orientation: 1..8 as EXIF counts them, which is applied then.
    """

    width: int
    height: int
    orientation: int


def headers(paths: Iterable[str]) -> list[Header | None]:
    """Of many files, None for those that cannot be read."""
    with futures.ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(_header, paths))


def is_same(shape: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes have one aspect ratio, but for sides that were rounded to whole pixels."""
    return abs(shape[0] * other[1] - shape[1] * other[0]) <= max(sum(shape), sum(other))


def require_same(annotation: str, picture: str) -> None:
    """Refuses an annotation of another aspect ratio than its picture; another scale is fine.

    Files that cannot be read are passed over: whoever reads them says what is wrong.

    Args:
        annotation, picture: paths of images or videos.

    Raises:
        ImageError: names both files and their sizes.
    """
    own, other = _header(annotation), _header(picture)
    if own is None or other is None:
        return
    if not is_same(own[:2], other[:2]):
        raise image_files.ImageError(
            f"annotation {annotation} has {own.width}x{own.height} pixels, but its picture "
            f"{picture} has {other.width}x{other.height}, which is another shape (as orientation "
            "tags turn them); make one from the other again or exclude both"
        )


def _header(path: str) -> Header | None:
    try:
        state = os.stat(path)
        return _cached_header(path, state.st_size, state.st_mtime_ns)
    except (OSError, ValueError):
        return None


@functools.lru_cache(_MOST_FILES)
def _cached_header(path: str, size: int, changed: int) -> Header:
    del size, changed
    if frame_readers.is_video(path):
        height, width, _ = frame_readers.read_frame(path, 0).shape
        return Header(width, height, UPRIGHT)
    with image_files.opened(path) as picture:
        width, height = picture.size
        return Header(width, height, picture.orientation)
