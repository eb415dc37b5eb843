"""Folders of images -> visual sentences, one frozen dataclass per kind.

Paper: Bai et al. 2023, section 3.1. A sentence is a pure function of (seed, epoch, index): which
pictures it shows, which square of each, mirrored or not.
"""

import dataclasses
import fnmatch
import functools
import os
import pathlib
from collections.abc import Iterable
from typing import Literal

from lvm_jax import images
from lvm_jax.sentences import derive
from lvm_jax.sentences.draws import Draws, shuffled
from lvm_jax.sentences.spec import Crop, ImageRef, Sentence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """An image file of a source, perhaps with the file of its annotation."""

    key: str
    path: str
    annotation: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What every source has; a subclass says what one sentence shows.

    Attributes:
        folder: where the images are; folders inside it are searched too.
        name: what reports call this source; the kind if empty. It seeds the source's draws.
        include: shell patterns on relative names; only pictures that match one are used.
        exclude: the same, for pictures that are left out, such as held-out ones.
        sentences_per_epoch: how many sentences an epoch has; 0 shows every picture once.
        crop: a random square for every image, its side this share of the short side (smallest,
            largest); None takes the whole central square.
        flip: mirrors every image left to right half of the time.
        same_crop: one square and one mirroring for the whole sentence.
    """

    kind: str = ""
    folder: str
    name: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    sentences_per_epoch: int = 0
    crop: tuple[float, float] | None = None
    flip: bool = False
    same_crop: bool = False

    def __post_init__(self):
        if not self.name:
            object.__setattr__(self, "name", self.kind)
        if self.sentences_per_epoch < 0:
            raise ValueError(
                f"{self.name}.sentences_per_epoch={self.sentences_per_epoch} must not be negative"
            )
        if self.crop is not None and not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(
                f"{self.name}.crop={self.crop} must be (smallest, largest) shares of the short "
                "side, 0 < smallest <= largest <= 1"
            )

    @property
    def pictures_per_sentence(self) -> int:
        """Pictures that one sentence takes from the folder."""
        return 1

    @property
    def images_per_sentence(self) -> int:
        """Images in one sentence."""
        return 1

    @functools.cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures of the source, sorted by key.

        Raises:
            ValueError: no folder, no image, two files of one key, a pattern without a match.
        """
        found = _by_stem(self.folder)
        return tuple(Picture(key=key, path=found[key]) for key in self._select(found))

    def num_sentences(self) -> int:
        """Sentences in an epoch."""
        if self.sentences_per_epoch:
            return self.sentences_per_epoch
        return max(1, len(self.pictures) // self.pictures_per_sentence)

    def sentence(self, seed: int, epoch: int, index: int) -> Sentence:
        """The sentence at `index` of an epoch; the same for ever for the same arguments."""
        draws = Draws(seed, epoch, index, self.name)
        taken = self._taken(seed, epoch, index)
        shared = self._square(draws) if self.same_crop else None
        row: list[ImageRef] = []
        for picture in taken:
            crop, flip = shared or self._square(draws)
            row += self._images(picture, crop, flip, draws)
        key = "+".join(dict.fromkeys(picture.key for picture in taken))
        return Sentence(kind=self.kind, source=self.name, key=key, images=tuple(row))

    def _taken(self, seed: int, epoch: int, index: int) -> list[Picture]:
        # Sentences deal out shuffled rounds of the pictures, so that all are used about equally
        # often and no sentence shows a picture twice, unless there are too few of them.
        size, each = len(self.pictures), self.pictures_per_sentence
        number, in_round = epoch * self.num_sentences() + index, max(1, size // each)
        turn, start = number // in_round, number % in_round * each
        order = _order(size, seed, self.name, turn)
        return [self.pictures[order[(start + i) % size]] for i in range(each)]

    def _square(self, draws: Draws) -> tuple[Crop | None, bool]:
        crop = None
        if self.crop is not None:
            smallest, largest = (max(1, round(share * Crop.UNIT)) for share in self.crop)
            side = smallest + draws.integer(largest - smallest + 1)
            left, top = draws.integer(Crop.UNIT + 1), draws.integer(Crop.UNIT + 1)
            crop = Crop(left, top, side)
        return crop, self.flip and draws.coin()

    def _images(
        self, picture: Picture, crop: Crop | None, flip: bool, draws: Draws
    ) -> list[ImageRef]:
        del draws
        return [ImageRef(path=picture.path, crop=crop, flip=flip)]

    def _select(self, keys: Iterable[str]) -> list[str]:
        """The keys that include and exclude leave, sorted."""
        keys = sorted(keys)
        for field in ("include", "exclude"):
            for pattern in getattr(self, field):
                if not any(fnmatch.fnmatchcase(key, pattern) for key in keys):
                    raise ValueError(
                        f"{self.name}.{field}: pattern {pattern!r} matches no image in "
                        f"{self.folder}; patterns match names without extension, such as "
                        f"{keys[0]!r}"
                    )
        kept = [
            key
            for key in keys
            if (not self.include or _matches(key, self.include)) and not _matches(key, self.exclude)
        ]
        if not kept:
            raise ValueError(
                f"{self.name}: include and exclude leave no image of the {len(keys)} in "
                f"{self.folder}"
            )
        return kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class SingleImages(Source):
    """One image a sentence: {image, EOS} in the paper."""

    kind: Literal["single"] = "single"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs(Source):
    """Pairs of images in a row, the same relation in every pair.

    Attributes:
        pairs_per_sentence: 8 in the paper.
        same_picture: all pairs of a sentence show squares of one picture; otherwise every pair
            takes another picture.
    """

    pairs_per_sentence: int = 8
    same_picture: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.pairs_per_sentence < 1:
            raise ValueError(
                f"{self.name}.pairs_per_sentence={self.pairs_per_sentence} must be at least 1"
            )

    @property
    def pictures_per_sentence(self) -> int:
        return 1 if self.same_picture else self.pairs_per_sentence

    @property
    def images_per_sentence(self) -> int:
        return 2 * self.pairs_per_sentence

    def _taken(self, seed: int, epoch: int, index: int) -> list[Picture]:
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

    @functools.cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """The pairs, sorted by key.

        Raises:
            ValueError: what `Source.pictures` refuses, or files without a partner (named).
        """
        found, annotations = _by_stem(self.folder), _by_stem(self.annotation_folder)
        keys = self._select(found.keys() | annotations.keys())
        alone = [f"{found[key]} has no annotation" for key in keys if key not in annotations]
        alone += [f"{annotations[key]} has no image" for key in keys if key not in found]
        if alone:
            more = f" (and {len(alone) - 3} more)" if len(alone) > 3 else ""
            raise ValueError(
                f"{self.name}: {', '.join(alone[:3])}{more}; every image in {self.folder} needs a "
                f"file of the same name in {self.annotation_folder} and the other way round: add "
                f"the missing ones or list the others in {self.name}.exclude"
            )
        return tuple(Picture(key=key, path=found[key], annotation=annotations[key]) for key in keys)

    def _images(
        self, picture: Picture, crop: Crop | None, flip: bool, draws: Draws
    ) -> list[ImageRef]:
        del draws
        return [
            ImageRef(path=picture.path, crop=crop, flip=flip),
            ImageRef(path=picture.annotation, crop=crop, flip=flip),
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColorizationPairs(Pairs):
    """gray, colored, gray, colored, ..."""

    kind: Literal["colorization"] = "colorization"

    def _images(
        self, picture: Picture, crop: Crop | None, flip: bool, draws: Draws
    ) -> list[ImageRef]:
        del draws
        whole = ImageRef(path=picture.path, crop=crop, flip=flip)
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
        self, picture: Picture, crop: Crop | None, flip: bool, draws: Draws
    ) -> list[ImageRef]:
        whole = ImageRef(path=picture.path, crop=crop, flip=flip)
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
        self, picture: Picture, crop: Crop | None, flip: bool, draws: Draws
    ) -> list[ImageRef]:
        del draws
        whole = ImageRef(path=picture.path, crop=crop, flip=flip)
        parameters = (("sigma", self.sigma), ("gain", self.gain))
        return [whole, dataclasses.replace(whole, derivation="edges", parameters=parameters)]


KINDS: dict[str, type[Source]] = {
    "single": SingleImages,
    "annotation": ImageAnnotationPairs,
    "colorization": ColorizationPairs,
    "inpainting": InpaintingPairs,
    "edges": EdgePairs,
}


@functools.lru_cache(maxsize=64)
def _order(size: int, seed: int, name: str, turn: int):
    return shuffled(size, "pictures", seed, name, turn)


def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def _by_stem(folder: str | os.PathLike) -> dict[str, str]:
    """Relative name without extension -> path, sorted by name."""
    found: dict[str, str] = {}
    for path in images.list_images(folder):
        key = path.relative_to(pathlib.Path(folder)).with_suffix("").as_posix()
        if key in found:
            raise ValueError(
                f"{found[key]} and {path} share the name {key!r}; names without extension must be "
                f"unique in {os.fspath(folder)}"
            )
        found[key] = path.as_posix()
    return dict(sorted(found.items()))
