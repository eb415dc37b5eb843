"""How a reference becomes pixels."""

from collections.abc import Callable

import numpy as np

from lvm_jax import images
from lvm_jax.frames import frame_readers
from lvm_jax.pictures import aspect, derive, drawings, palette
from lvm_jax.pictures.reference import ImageRef


def read_picture(ref: ImageRef) -> np.ndarray:
    """The whole picture that a reference shows a square of: uint8 [H, W, 3].

    Of a label map, its labels: int32 [H, W].

    Raises:
        images.ImageError: the file cannot be read.
    """
    if ref.labels is not None:
        return palette.read_labels(ref.path, *ref.labels)
    if ref.frame >= 0:
        return frame_readers.read_frame(ref.path, ref.frame)
    return images.read_image(ref.path)


Reader = Callable[[ImageRef], np.ndarray]
Resize = Callable[[np.ndarray, int], np.ndarray]


def load(ref: ImageRef, size: int, read: Reader = read_picture) -> np.ndarray:
    """The pixels of an image reference.

    The derivation works at the final size, so that line widths and hole sizes do not depend on the
    resolution of the file.

    Args:
        ref: which image.
        size: the tokenizer's resolution.
        read: as `read_picture`; a caller that shows many squares of a picture passes that of a
            `pictures.PictureCache`.

    Returns:
        uint8 [size, size, 3].

    Raises:
        images.ImageError: the file cannot be read, or does not fit the one that it annotates.
    """
    return derived(ref, load_square(ref, size, read))


def load_square(
    ref: ImageRef,
    size: int,
    read: Reader = read_picture,
    resize: Resize = images.resize_crop,
) -> np.ndarray:
    """The square of a reference before anything is derived from it; see `load`.

    Args:
        ref, size, read: as for `load`.
        resize: `images.resize_crop`, or `images.squash` for pictures without a crop.
    """
    picture = read(ref)
    if ref.labels is not None:
        view = _view(ref, picture.shape, size, resize)
        return palette.encode(view.sample(picture), ref.labels[0])
    _require_shape(ref, picture)
    if ref.crop is not None:
        left, top, side = ref.crop.box(*picture.shape[:2])
        picture = picture[top : top + side, left : left + side]
    picture = resize(np.ascontiguousarray(picture), size)
    return np.ascontiguousarray(picture[:, ::-1]) if ref.flip else picture


def derived(ref: ImageRef, square: np.ndarray, resize: Resize = images.resize_crop) -> np.ndarray:
    """What a reference derives from its square: uint8 [size, size, 3] -> the same.

    Args:
        ref: which image.
        square: what `load_square` gave for it.
        resize: what `load_square` was given.

    Raises:
        images.ImageError: the picture that it annotates has another shape.
    """
    # Here and not with the square: references that share one may annotate different pictures.
    # Squashed whole, pictures of any shape lie on each other.
    if ref.annotates and not (ref.crop is None and resize is images.squash):
        aspect.require_same(ref.path, ref.annotates)
    if not ref.derivation:
        return square
    if ref.derivation in drawings.DRAWINGS:
        assert ref.shape is not None, ref
        view = _view(ref, ref.shape, len(square), resize)
        return drawings.DRAWINGS[ref.derivation](square, view, **dict(ref.parameters))
    return derive.DERIVATIONS[ref.derivation](square, **dict(ref.parameters))


def _view(ref: ImageRef, shape: tuple[int, int], size: int, resize: Resize) -> drawings.View:
    """The part of a picture of this (height, width) that a reference shows."""
    height, width = shape
    if ref.crop is not None:
        left, top, side = ref.crop.box(height, width)
        height = width = side
    elif resize is images.squash:
        left = top = 0
    else:
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        height = width = side
    return drawings.View(left=left, top=top, width=width, height=height, flip=ref.flip, size=size)


def _require_shape(ref: ImageRef, picture: np.ndarray) -> None:
    if ref.shape is None:
        return
    height, width = picture.shape[:2]
    # A picture that was made smaller while it was decoded is off by less than a pixel.
    if abs(height * ref.shape[1] - width * ref.shape[0]) > sum(ref.shape):
        raise images.ImageError(
            f"image {ref.path} has {width}x{height} pixels, but its annotations are of one with "
            f"{ref.shape[1]}x{ref.shape[0]}; correct them or replace the file"
        )
