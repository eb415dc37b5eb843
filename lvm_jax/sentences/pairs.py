"""Pairs in a row, question and answer: annotations from files, colors, holes, edges.

Paper: Bai et al. 2023, section 3.1, 8 pairs of one annotation.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lvm_jax.draws import Draws
from lvm_jax.pictures import derive
from lvm_jax.pictures.reference import Crop, ImageRef
from lvm_jax.sentences.sources import Picture, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs(Source):
    """Pairs of images in a row, the same relation in every pair.

    Attributes:
        pairs_per_sentence: 8 in the paper.
        same_picture: all pairs of a sentence show squares of one picture, which needs `crop` and
            same_crop=False; otherwise every pair takes another picture.
    """

    pairs_per_sentence: int = 8
    same_picture: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.pairs_per_sentence < 1:
            raise ValueError(
                f"{self.name}.pairs_per_sentence={self.pairs_per_sentence} must be at least 1"
            )
        if self.same_picture and (self.same_crop or self.crop is None):
            raise ValueError(
                f"{self.name}.same_picture=True with same_crop={self.same_crop} and "
                f"crop={self.crop} shows one square {self.pairs_per_sentence} times; set "
                "same_crop=False and a crop such as (0.3, 0.7)"
            )

    @property
    def items_per_sentence(self) -> int:
        return 1 if self.same_picture else self.pairs_per_sentence

    @property
    def images_per_sentence(self) -> int:
        return 2 * self.pairs_per_sentence

    def _taken(self, seed: int, epoch: int, index: int) -> Sequence[Any]:
        repeats = self.pairs_per_sentence if self.same_picture else 1
        return super()._taken(seed, epoch, index) * repeats


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageAnnotationPairs(Pairs):
    """image, annotation, image, annotation, ...: two folders matched by relative name.

    A picture and its annotation have the same name apart from the extension and show the same
    square and mirroring.

    Attributes:
        annotation_folder: the annotations, drawn as images.
    """

    kind: Literal["annotation"] = "annotation"
    annotation_folder: str

    @property
    def _folders(self) -> Mapping[str, str]:
        return {"folder": self.folder, "annotation_folder": self.annotation_folder}

    @functools.cached_property
    def items(self) -> tuple[Picture, ...]:
        """The pairs, sorted by key.

        Raises:
            ValueError: what `Source.items` refuses, or files without a partner (named).
        """
        found = self._matched({"image": self.folder, "annotation": self.annotation_folder})
        return tuple(Picture(key=key, path=path, annotation=other) for key, path, other in found)

    def _images(
        self, item: Picture, crop: Crop | None, flip: bool, draws: Draws, theme: Any
    ) -> list[ImageRef]:
        del draws, theme
        return [
            ImageRef(path=item.path, crop=crop, flip=flip),
            ImageRef(path=item.annotation, crop=crop, flip=flip, annotates=item.path),
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColorizationPairs(Pairs):
    """gray, colored, gray, colored, ..."""

    kind: Literal["colorization"] = "colorization"

    def _images(
        self, item: Picture, crop: Crop | None, flip: bool, draws: Draws, theme: Any
    ) -> list[ImageRef]:
        del draws, theme
        whole = ImageRef(path=item.path, crop=crop, flip=flip)
        return [dataclasses.replace(whole, derivation="gray"), whole]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InpaintingPairs(Pairs):
    """holed, whole, holed, whole, ...

    Attributes:
        mask_ratio: share of the pixels that the hole takes.
        hole: "square", "patches" (cells of a grid), or "mixed" (a coin for every pair).
        grid: cells per side for patches.
    """

    kind: Literal["inpainting"] = "inpainting"
    mask_ratio: float = 0.25
    hole: Literal["square", "patches", "mixed"] = "square"
    grid: int = 16

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"{self.name}.mask_ratio={self.mask_ratio} must lie between 0 and 1")
        if self.grid < 2:
            raise ValueError(f"{self.name}.grid={self.grid} must be at least 2")

    def _images(
        self, item: Picture, crop: Crop | None, flip: bool, draws: Draws, theme: Any
    ) -> list[ImageRef]:
        del theme
        whole = ImageRef(path=item.path, crop=crop, flip=flip)
        hole = derive.HOLES[draws.coin()] if self.hole == "mixed" else self.hole
        parameters = (
            ("seed", draws.integer(1 << 32)),
            ("mask_ratio", self.mask_ratio),
            ("hole", hole),
            ("grid", self.grid),
        )
        holed = dataclasses.replace(whole, derivation="inpaint_hole", parameters=parameters)
        return [holed, whole]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EdgePairs(Pairs):
    """image, its edges, image, its edges, ...

    Attributes:
        sigma: smoothing before the filter, in pixels of the tokenizer's resolution.
        gain: factor on the edge strength.
    """

    kind: Literal["edges"] = "edges"
    sigma: float = 1.0
    gain: float = 4.0

    def __post_init__(self):
        super().__post_init__()
        if self.sigma < 0 or self.gain <= 0:
            raise ValueError(
                f"{self.name}.sigma={self.sigma} must not be negative and .gain={self.gain} must "
                "be positive"
            )

    def _images(
        self, item: Picture, crop: Crop | None, flip: bool, draws: Draws, theme: Any
    ) -> list[ImageRef]:
        del draws, theme
        whole = ImageRef(path=item.path, crop=crop, flip=flip)
        parameters = (("sigma", self.sigma), ("gain", self.gain))
        return [whole, dataclasses.replace(whole, derivation="edges", parameters=parameters)]
