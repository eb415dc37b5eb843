"""The way from a reference, or from a file, to pixels: decoded, cut, resized, derived.

Legend: S side of a square in pixels.
"""

import functools
import os
from collections.abc import Hashable, Sequence

import numpy as np

from lvm_jax import images
from lvm_jax.frames.frame_readers import FrameReaders
from lvm_jax.images import ImageConfig, ImageError
from lvm_jax.pictures import aspect, palette, render
from lvm_jax.pictures.cache import PictureCache
from lvm_jax.pictures.reference import Crop, ImageRef

_MOST_HEADERS = 2**16


class SquareLoader:
    """Loads references as squares of one size; threads share it.

    What a reference becomes depends on it and on the config alone, not on what else is loaded, nor
    in what order. Videos stay open between frames, so that frames in order are decoded once.

    Args:
        config: how files become squares.
        size: S, the tokenizer's resolution.
        cache_bytes: of decoded pictures that are kept for further squares of them; 0 for none.
    """

    def __init__(self, config: ImageConfig, size: int, cache_bytes: int = 0):
        self.config, self.size = config, size
        self._cache = PictureCache(cache_bytes) if cache_bytes else None
        self._frames = FrameReaders(config.max_pixels, config.background)
        self._short_side = functools.lru_cache(_MOST_HEADERS)(images.jpeg_short_side)

    def load(self, refs: Sequence[ImageRef]) -> list[np.ndarray | ImageError]:
        """The pixels of references that show one square: uint8 [S, S, 3] each.

        Where a reference cannot be shown, the error that says why stands in its place.
        """
        assert len({ref.square for ref in refs}) == 1, refs
        try:
            square = self._square(refs[0])
        except ImageError as error:
            return [error] * len(refs)
        loaded: list[np.ndarray | ImageError] = []
        for ref in refs:
            try:
                loaded.append(self._derived(ref, square))
            except ImageError as error:
                loaded.append(error)
        return loaded

    def load_one(self, ref: ImageRef) -> np.ndarray:
        """The pixels of one reference: uint8 [S, S, 3].

        Raises:
            ImageError: it cannot be shown; says why.
        """
        return self._derived(ref, self._square(ref))

    def load_file(self, path: str | os.PathLike) -> np.ndarray:
        """`load_one` of an image file as it is: uint8 [S, S, 3]."""
        return self.load_one(ImageRef(path=os.fspath(path)))

    def _square(self, ref: ImageRef) -> np.ndarray:
        picture = self._picture(ref)
        return render.cut(ref, picture, self.size, self.config)

    def _picture(self, ref: ImageRef) -> np.ndarray:
        """The whole picture: uint8 [H, W, 3]; of a label map its labels, int32 [H, W]."""
        if self._cache is None:
            return self._decoded(ref)
        key = self._decoded_key(ref)
        picture = self._cache.get(key)
        if picture is None:
            picture = self._decoded(ref)
            self._cache.put(key, picture)
        return picture

    def _decoded(self, ref: ImageRef) -> np.ndarray:
        config = self.config
        if ref.frame >= 0:
            return self._frames.read(ref.path, ref.frame)
        if ref.labels is not None:
            num_labels, ignored = ref.labels
            return palette.read_labels(ref.path, num_labels, ignored, config.max_pixels)
        return images.read_image(
            ref.path,
            config.max_pixels,
            background=config.background,
            min_side=self._min_side(ref),
        )

    def _decoded_key(self, ref: ImageRef) -> Hashable:
        """References of one picture, decoded at one size, share it."""
        reduction = 1
        if self.config.reduced_jpeg and ref.frame < 0 and ref.labels is None:
            reduction = images.jpeg_reduction(self._short_side(ref.path), self._min_side(ref))
        return ref.path, ref.frame, ref.labels, reduction

    def _min_side(self, ref: ImageRef) -> int:
        share = ref.crop.side / Crop.UNIT if ref.crop else 1.0
        return self.config.min_side(self.size, share)

    def _derived(self, ref: ImageRef, square: np.ndarray) -> np.ndarray:
        # Here and not with the square: references that share one may annotate different pictures.
        # Squashed whole, pictures of any shape lie on each other.
        if ref.annotates and not (ref.crop is None and self.config.resize == "squash"):
            aspect.require_same(ref.path, ref.annotates)
        return render.derived(ref, square, self.config)
