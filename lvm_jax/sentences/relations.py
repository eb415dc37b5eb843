"""What the two images of a pair have to do with each other: a file says it, or a function does.

What spoils pictures: `restoration`; drawings of COCO-style files: `coco`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.draws import Draws
from lvm_jax.pictures import derivations, derive, palette
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences.listings import Annotated, Listing, Picture, Pictures
from lvm_jax.sentences.squares import Parameters, Square

# An item and its square -> question and answer.
Relate = Callable[[Any, Square], tuple[ImageRef, ImageRef]]


class Relation(Protocol):
    """The relation of a pair: a frozen dataclass whose fields are keys of a source in a config."""

    @property
    def listing(self) -> Listing:
        """What the items are that pairs are made of."""
        ...

    def start(self, draws: Draws) -> Relate:
        """Draws what holds for a whole sentence; what is returned draws the rest of each pair."""
        ...


class Derived:
    """A picture and what a function makes of it.

    A subclass is the one record of its kind of sentence; `kinds.add_relation` takes it. Its fields
    are keys of a source in a config, with what they default to and what is refused. A subclass with
    a field `same_strength: bool` lets a config draw the strength once for a sentence instead of for
    every pair.

    Class attributes:
        name: of the kind of sentence.
        function: a `derivations.derivation`; a static method.
        is_question: whether the pair asks with the derived image and answers with the picture.
    """

    name: ClassVar[str]
    function: ClassVar[Callable[..., np.ndarray]]
    is_question: ClassVar[bool] = True

    @property
    def listing(self) -> Listing:
        return Pictures()

    def strength(self, draws: Draws) -> Parameters:
        """Draws the function's first parameters, those that may be the same in a sentence."""
        return ()

    def others(self, draws: Draws) -> Parameters:
        """Draws the other parameters, anew for every pair."""
        return ()

    def start(self, draws: Draws) -> Relate:
        """See `Relation`."""
        derivation = derivations.name_of(self.function)
        shared = self.strength(draws) if getattr(self, "same_strength", False) else None

        def relate(item: Picture, square: Square) -> tuple[ImageRef, ImageRef]:
            picture = square.of(item.path)
            strength = self.strength(draws) if shared is None else shared
            parameters = strength + self.others(draws)
            derived = square.of(item.path, derivation=derivation, parameters=parameters)
            return (derived, picture) if self.is_question else (picture, derived)

        return relate


def draw_seed(draws: Draws) -> tuple[str, int]:
    """The parameter of a function that makes draws of its own."""
    return "seed", draws.integer(1 << 32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotation:
    """image, annotation, image, annotation, ...: two folders matched by relative name.

    A picture and its annotation have the same name apart from the extension and show the same
    square and mirroring.

    Attributes:
        annotation_folder: the annotations, drawn as images.
    """

    annotation_folder: str

    @property
    def listing(self) -> Listing:
        return Annotated({"annotation_folder": self.annotation_folder}, "annotation")

    def start(self, draws: Draws) -> Relate:
        """See `Relation`."""
        return _annotated


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelMap:
    """picture, its label map in colors, ...: two folders matched by relative name.

    The colors can be turned into labels again. Label maps are gray or palette images whose numbers,
    as their files hold them, are the labels; 0 is drawn black. See `palette.read_labels`.

    Attributes:
        label_folder: the label maps.
        num_labels: labels are 0..num_labels - 1.
        ignored: a number that is drawn as 0, such as 255 for "void"; -1 for none.
    """

    label_folder: str
    num_labels: int
    ignored: int = -1

    def __post_init__(self):
        if not 2 <= self.num_labels <= palette.MOST_LABELS:
            raise ConfigError(
                Field("num_labels"), f"={self.num_labels} must lie in 2..{palette.MOST_LABELS}"
            )

    @property
    def listing(self) -> Listing:
        return Annotated({"label_folder": self.label_folder}, "label map")

    def start(self, draws: Draws) -> Relate:
        """See `Relation`."""
        labels = self.num_labels, self.ignored
        return lambda item, square: _annotated(item, square, labels)


def _annotated(
    item: Picture, square: Square, labels: tuple[int, int] | None = None
) -> tuple[ImageRef, ImageRef]:
    path, annotation = item.files
    return square.of(path), square.of(annotation, annotates=path, labels=labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Colorization(Derived):
    """gray, colored, gray, colored, ..."""

    name = "colorization"
    function = staticmethod(derive.gray)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inpainting(Derived):
    """holed, whole, holed, whole, ...

    Attributes:
        mask_ratio: share of the pixels that the hole takes.
        hole: "square", "patches" (cells of a grid), or "mixed" (a coin for every pair).
        grid: cells per side for patches.
    """

    name = "inpainting"
    function = staticmethod(derive.inpaint_hole)

    mask_ratio: float = 0.25
    hole: Literal["square", "patches", "mixed"] = "square"
    grid: int = 16

    def __post_init__(self):
        if not 0 < self.mask_ratio < 1:
            raise ConfigError(Field("mask_ratio"), f"={self.mask_ratio} must lie between 0 and 1")
        require_at_least(self, 2, "grid")

    def others(self, draws: Draws) -> Parameters:
        hole = derive.HOLES[draws.coin()] if self.hole == "mixed" else self.hole
        ratio = "mask_ratio", self.mask_ratio
        return draw_seed(draws), ratio, ("hole", hole), ("grid", self.grid)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edges(Derived):
    """image, its edges, image, its edges, ...

    Attributes:
        sigma: smoothing before the filter, in pixels of the tokenizer's resolution.
        gain: factor on the edge strength.
    """

    name = "edges"
    function = staticmethod(derive.edges)
    is_question = False

    sigma: float = 1.0
    gain: float = 4.0

    def __post_init__(self):
        require_at_least(self, 0, "sigma")
        if self.gain <= 0:
            raise ConfigError(Field("gain"), f"={self.gain} must be positive")

    def others(self, draws: Draws) -> Parameters:
        return ("sigma", self.sigma), ("gain", self.gain)


RELATIONS: tuple[type[Derived], ...] = (Colorization, Inpainting, Edges)
