"""A decoded picture -> the square that a reference shows of it -> what is derived from that.

Legend: H height, W width of a picture, S side of a square, in pixels.
"""

import numpy as np

from lvm_jax import images
from lvm_jax.images import ImageConfig, ImageError

# degrade and derive are imported for the names that they give to references.
from lvm_jax.pictures import degrade, derivations, derive, drawings, palette  # noqa: F401
from lvm_jax.pictures.reference import ImageRef


def cut(ref: ImageRef, picture: np.ndarray, size: int, config: ImageConfig) -> np.ndarray:
    """The square of a picture that a reference shows, before anything is derived from it.

    Args:
        ref: which square.
        picture: uint8 [H, W, 3]; of a label map its labels, int32 [H, W], which are drawn in colors
            and never mixed.
        size: S.
        config: how pictures become squares.

    Returns:
        uint8 [S, S, 3].

    Raises:
        ImageError: the picture has not the shape that the reference's coordinates are of.
    """
    if ref.labels is not None:
        num_labels, _ = ref.labels
        labels_SS = view(ref, picture.shape, size, config).sample(picture)
        return palette.encode(labels_SS, num_labels)
    _require_shape(ref, picture)
    if ref.crop is not None:
        height, width = picture.shape[:2]
        left, top, side = ref.crop.box(height, width)
        picture = picture[top : top + side, left : left + side]
    square = images.RESIZES[config.resize](np.ascontiguousarray(picture), size)
    return np.ascontiguousarray(square[:, ::-1]) if ref.flip else square


def derived(ref: ImageRef, square: np.ndarray, config: ImageConfig) -> np.ndarray:
    """What a reference derives from its square: uint8 [S, S, 3] -> the same.

    This works at the final size, so that line widths and hole sizes do not depend on the resolution
    of the file.

    Args:
        ref: what is derived.
        square: what `cut` gave for it.
        config: what `cut` was given.
    """
    if not ref.derivation:
        return square
    if ref.derivation in drawings.DRAWINGS:
        assert ref.shape is not None, ref
        seen = view(ref, ref.shape, len(square), config)
        return drawings.DRAWINGS[ref.derivation](square, seen, **dict(ref.parameters))
    return derivations.DERIVATIONS[ref.derivation](square, **dict(ref.parameters))


def view(ref: ImageRef, shape: tuple[int, ...], size: int, config: ImageConfig) -> drawings.View:
    """The part of a picture of shape [H, W] that a reference shows as a square of side `size`."""
    height, width = shape
    left, top = 0.0, 0.0
    if ref.crop is not None:
        left, top, side = ref.crop.box(height, width)
        height = width = side
    elif config.resize == "crop":
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
        raise ImageError(
            f"image {ref.path} has {width}x{height} pixels, but its annotations are of one with "
            f"{ref.shape[1]}x{ref.shape[0]}; correct them or replace the file"
        )
