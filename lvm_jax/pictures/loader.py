"""Image references -> pixels for the tokenizer, from many threads."""

import functools
from collections.abc import Hashable, Sequence

import numpy as np

from lvm_jax import images
from lvm_jax.frames.frame_readers import FrameReaders
from lvm_jax.pictures import palette, render
from lvm_jax.pictures.cache import PictureCache
from lvm_jax.pictures.reference import Crop, ImageRef

_MOST_HEADERS = 2**16


class SquareLoader:
    """Reads the pictures of references as an `images.ImageConfig` says; threads share it.

    What a reference becomes depends on it alone, not on what else is read, nor in what order.

    Args:
        config: how files become squares.
        size: the tokenizer's resolution.
        cache_bytes: of decoded pictures that are kept.
    """

    def __init__(self, config: images.ImageConfig, size: int, cache_bytes: int):
        self._config, self._size = config, size
        self._resize = images.RESIZES[config.resize]
        self._short_side = functools.lru_cache(_MOST_HEADERS)(images.jpeg_short_side)
        frames = FrameReaders(config.max_pixels, config.background)
        self._cache = PictureCache(cache_bytes, self._read, self._picture, frames)

    def load(self, refs: Sequence[ImageRef]) -> list[np.ndarray | images.ImageError]:
        """The pixels of references that show one square: uint8 [size, size, 3] each.

        Where a reference cannot be shown, the error that says why stands in its place.
        """
        assert len({square_of(ref) for ref in refs}) == 1, refs
        try:
            square = render.load_square(refs[0], self._size, self._cache.read, self._resize)
        except images.ImageError as error:
            return [error] * len(refs)
        return [self._derived(ref, square) for ref in refs]

    def load_one(self, ref: ImageRef) -> np.ndarray:
        """The pixels of one reference: uint8 [size, size, 3].

        Raises:
            images.ImageError: it cannot be shown; says why.
        """
        (pixels,) = self.load([ref])
        if isinstance(pixels, images.ImageError):
            raise pixels
        return pixels

    def _derived(self, ref: ImageRef, square: np.ndarray) -> np.ndarray | images.ImageError:
        try:
            return render.derived(ref, square, self._resize)
        except images.ImageError as error:
            return error

    def _min_side(self, ref: ImageRef) -> int:
        share = ref.crop.side / Crop.UNIT if ref.crop else 1.0
        return self._config.min_side(self._size, share)

    def _picture(self, ref: ImageRef) -> Hashable:
        """References of one picture, decoded at one size, share it."""
        if ref.frame >= 0 or ref.labels is not None or not self._config.reduced_jpeg:
            return ref.path, ref.labels, 1
        short_side = self._short_side(ref.path)
        return ref.path, ref.labels, images.jpeg_reduction(short_side, self._min_side(ref))

    def _read(self, ref: ImageRef) -> np.ndarray:
        if ref.labels is not None:
            return palette.read_labels(ref.path, *ref.labels, self._config.max_pixels)
        config, min_side = self._config, self._min_side(ref)
        return images.read_image(
            ref.path, config.max_pixels, background=config.background, min_side=min_side
        )


def square_of(ref: ImageRef) -> tuple:
    """References of one value show the same square, before anything is derived from it.

    Values sort by file and frame.
    """
    return ref.path, ref.frame, repr(ref.crop), ref.flip, repr(ref.shape), repr(ref.labels)
