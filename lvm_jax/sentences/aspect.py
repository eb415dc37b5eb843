"""Whether a picture and its annotation can lie on each other, from the headers of their files."""

import functools
import os

import PIL.Image

from lvm_jax import images
from lvm_jax.sentences import frames

_MOST_FILES = 2**16
_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)  # orientations that swap width and height


def require_same(annotation: str, picture: str, *, is_label_map: bool = False) -> None:
    """Refuses an annotation of another aspect ratio than its picture; another scale is fine.

    Files that cannot be read are passed over: whoever reads them says what is wrong.

    Args:
        annotation, picture: paths of images or videos.
        is_label_map: the annotation is read by `palette.read_labels`.

    Raises:
        images.ImageError: names both files and their sizes.
    """
    sizes = _size(annotation, is_label_map), _size(picture, False)
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


def _size(path: str, is_label_map: bool) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
        return _cached_size(path, is_label_map, state.st_size, state.st_mtime_ns)
    except images.DECODE_ERRORS:
        return None


@functools.lru_cache(_MOST_FILES)
def _cached_size(path: str, is_label_map: bool, size: int, changed: int) -> tuple[int, int]:
    """Width and height of the array that the file is read as."""
    del size, changed
    if frames.is_video(path):
        height, width, _ = frames.read_frame(path, 0).shape
        return width, height
    with PIL.Image.open(path) as image:
        width, height = image.size
        # Labels are read as they are stored, and Pillow has turned a TIFF by itself already. The
        # tags of a PNG without any in front would be looked for by decoding it.
        if is_label_map or image.format == "TIFF" or "exif" not in image.info:
            return width, height
        lying = image.getexif().get(_ORIENTATION) in _LYING
        return (height, width) if lying else (width, height)
