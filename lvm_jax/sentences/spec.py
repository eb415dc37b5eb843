"""What a visual sentence is: an ordered row of image references, and how one becomes pixels.

Paper: Bai et al. 2023, section 3.1 (images and their annotations as sequences of images).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from lvm_jax import images
from lvm_jax.sentences import aspect, derive, drawings, frames, palette


@dataclasses.dataclass(frozen=True)
class Crop:
    """A square of a picture, in 65536ths, so that it fits a picture and its annotation alike.

    Attributes:
        left: share of the horizontal room that lies left of the square, 0..65536.
        top: share of the vertical room that lies above the square, 0..65536.
        side: side over the short side of the picture, 1..65536.
    """

    left: int
    top: int
    side: int

    UNIT = 1 << 16

    def __post_init__(self):
        assert 0 <= self.left <= self.UNIT and 0 <= self.top <= self.UNIT, self
        assert 0 < self.side <= self.UNIT, self

    def box(self, height: int, width: int) -> tuple[int, int, int]:
        """(left, top, side) in whole pixels of a picture of this size."""
        side = max(1, (min(height, width) * self.side + self.UNIT // 2) // self.UNIT)
        left = ((width - side) * self.left + self.UNIT // 2) // self.UNIT
        top = ((height - side) * self.top + self.UNIT // 2) // self.UNIT
        return left, top, side


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRef:
    """One image of a sentence: a file, a square of it, and what is derived from it.

    Attributes:
        path: the image file, or a video's.
        frame: which frame of a video, from 0; -1 for an image file.
        crop: the square that is used; None takes the central one.
        flip: mirrored left to right.
        derivation: name in `derive.DERIVATIONS` or `drawings.DRAWINGS`; "" leaves the picture as it
            is.
        parameters: (name, value) pairs for the derivation.
        shape: (height, width) that coordinates in the parameters refer to; the picture must have
            this aspect ratio.
        labels: (number of labels, ignored number) if the file is a label map, which is drawn in
            colors and resized without mixing them; see `palette.read_labels`.
        annotates: the picture that this file is an annotation of; both must have one aspect ratio.
            No part of the key, since it does not change pixels.
    """

    path: str
    frame: int = -1
    crop: Crop | None = None
    flip: bool = False
    derivation: str = ""
    parameters: tuple[tuple[str, int | float | str], ...] = ()
    shape: tuple[int, int] | None = None
    labels: tuple[int, int] | None = None
    annotates: str = ""

    @property
    def key(self) -> str:
        """Equal keys mean equal pixels: unique images are tokenized once by it."""
        crop = f"{self.crop.left},{self.crop.top},{self.crop.side}" if self.crop else "center"
        given = ",".join(f"{name}={value!r}" for name, value in self.parameters)
        frame = f"#{self.frame}" if self.frame >= 0 else ""
        more = "".join(
            f"|{name}={value[0]},{value[1]}"
            for name, value in (("shape", self.shape), ("labels", self.labels))
            if value is not None
        )
        flip = "flip" if self.flip else ""
        # A name with the signs that part a key could be taken for a name and what follows it.
        marked = any(sign in self.path for sign in "#|")
        path = f"|{len(self.path)}|{self.path}" if marked else self.path
        return f"{path}{frame}|{crop}|{flip}|{self.derivation}({given}){more}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentence:
    """An ordered row of images with a kind.

    Attributes:
        kind: what the row is, such as "colorization".
        source: name of the source in the config.
        key: the pictures shown, named relative to their folder; splits by identity use it.
        images: the row.
    """

    kind: str
    source: str
    key: str
    images: tuple[ImageRef, ...]


def read_picture(ref: ImageRef) -> np.ndarray:
    """The whole picture that a reference shows a square of: uint8 [H, W, 3].

    Of a label map, its labels: int32 [H, W].

    Raises:
        images.ImageError: the file cannot be read.
    """
    if ref.labels is not None:
        return palette.read_labels(ref.path, *ref.labels)
    if ref.frame >= 0:
        return frames.read_frame(ref.path, ref.frame)
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
