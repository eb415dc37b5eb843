"""Label maps as colors and back.

Label 0 is black. The other colors lie on a lattice, each as far from the ones before as there is
room, so that few labels look very different and colors that a decoder blurred a little still give
the right label.
Legend: H height, W width in pixels; N labels.
"""

import functools
import os

import numpy as np

from lvm_jax.configs import ConfigError, Field
from lvm_jax.image_formats import image_files, samples

MOST_LABELS = 4096


@functools.lru_cache(maxsize=32)
def colors(num_labels: int) -> np.ndarray:
    """The color of every label: uint8 [N, 3], all different.

    Raises:
        ConfigError: fewer than 1 or more than MOST_LABELS labels.
    """
    if not 1 <= num_labels <= MOST_LABELS:
        raise ConfigError(Field("num_labels"), f"={num_labels} must lie in 1..{MOST_LABELS}")
    levels = next(n for n in range(2, 17) if n**3 >= num_labels)
    values = (2 * 255 * np.arange(levels) + levels - 1) // (2 * (levels - 1))
    lattice = np.stack(np.meshgrid(values, values, values, indexing="ij"), -1).reshape(-1, 3)
    chosen = np.zeros((num_labels, 3), np.int64)
    nearest = np.square(lattice).sum(-1)  # squared distance to the colors chosen so far
    for label in range(1, num_labels):
        # The first of equally far ones: the lattice's order is fixed.
        chosen[label] = lattice[np.argmax(nearest)]
        nearest = np.minimum(nearest, ((lattice - chosen[label]) ** 2).sum(-1))
    result = chosen.astype(np.uint8)
    result.flags.writeable = False
    return result


@functools.lru_cache(maxsize=32)
def line_colors(num_labels: int) -> np.ndarray:
    """Colors for lines on pictures, which are often white: `colors` without white.

    Args:
        num_labels: N, black included, less than MOST_LABELS.

    Returns:
        uint8 [N, 3], all different; not for `decode`.
    """
    result = np.delete(colors(num_labels + 1), 1, axis=0)  # white is farthest from black
    result.flags.writeable = False
    return result


def margin(num_labels: int) -> float:
    """How far a color may move (Euclidean, in 0..255) and still decode to its label."""
    levels = next(n for n in range(2, 17) if n**3 >= num_labels)
    return (255 // (levels - 1)) / 2


def encode(labels_HW: np.ndarray, num_labels: int) -> np.ndarray:
    """Integer labels [H, W] in 0..N-1 -> uint8 [H, W, 3].

    Raises:
        ValueError: a label outside of 0..N-1.
    """
    if labels_HW.size and not 0 <= labels_HW.min() <= labels_HW.max() < num_labels:
        raise ValueError(
            f"labels {labels_HW.min()}..{labels_HW.max()} do not lie in 0..{num_labels - 1}"
        )
    return colors(num_labels)[labels_HW]


def decode(image: np.ndarray, num_labels: int) -> np.ndarray:
    """The label of the nearest color at every pixel: uint8 [H, W, 3] -> int32 [H, W].

    The inverse of `encode`, also if no color moved by `margin` or more.
    """
    return nearest(image, colors(num_labels))


def nearest(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Which of some colors is nearest (Euclidean) at every pixel; the first of equally near ones.

    Args:
        image: uint8 [H, W, 3].
        table: uint8 [N, 3], any colors.

    Returns:
        int32 [H, W] in 0..N-1.
    """
    # Pictures have few different colors; the distances are computed once for each.
    packed = image.reshape(-1, 3).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    packed, places = np.unique(packed, return_inverse=True)
    different = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1)
    # Squared distances less a color's own square: whole numbers below 2^24, so exact in float32.
    scaled, squares = -2.0 * table.T.astype(np.float32), np.square(table, dtype=np.float32).sum(-1)
    labels = np.empty(len(different), np.int32)
    for start in range(0, len(different), 4096):
        part = different[start : start + 4096].astype(np.float32)
        labels[start : start + 4096] = (part @ scaled + squares).argmin(1)
    return labels[places].reshape(image.shape[:2])


def read_labels(
    path: str | os.PathLike,
    num_labels: int,
    ignored: int = -1,
    max_pixels: int = image_files.MOST_PIXELS,
) -> np.ndarray:
    """Reads a label map whose gray or palette numbers are the labels.

    The numbers are those that the file holds, never stretched to 8 bits nor inverted where it says
    that white is zero; see `samples.stored_labels`. Orientation is applied as to pictures.

    Args:
        path: a gray, palette or black-and-white image of 1 to 32 bits.
        num_labels: N.
        ignored: this number becomes 0; -1 for none.
        max_pixels: larger label maps are refused before they are decoded.

    Returns:
        int32 [H, W] in 0..N-1.

    Raises:
        ImageError: no such image, a color image, one that is too large, or a number beyond
            N-1; named.
    """
    with image_files.opened(path, what="label map") as picture:
        image = picture.image
        if image.mode not in samples.NUMBER_MODES:
            raise image_files.ImageError(
                f"label map {os.fspath(path)} is a {image.mode} image; the numbers of a gray "
                "or palette image are its labels"
            )
        image_files.require_small(path, image.size, max_pixels)
        labels_HW = samples.stored_labels(image)
    if ignored >= 0:
        labels_HW = np.where(labels_HW == ignored, 0, labels_HW)
    least, most = (labels_HW.min(), labels_HW.max()) if labels_HW.size else (0, 0)
    if least < 0 or most >= num_labels:
        raise image_files.ImageError(
            f"label map {os.fspath(path)} holds labels "
            f"{f'down to {least}' if least < 0 else f'up to {most}'}, but num_labels={num_labels}; "
            "raise num_labels or set ignored"
        )
    return image_files.upright(labels_HW.astype(np.int32), picture.orientation)
