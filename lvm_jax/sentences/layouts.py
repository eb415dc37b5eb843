"""How pictures stand in a row: alone, in pairs, in tuples of annotations, in groups of a class.

Paper: Bai et al. 2023, section 3.1. Layouts of clips: `clip_layouts`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.draws import Draws
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences.dealing import ClassDeck, Deck
from lvm_jax.sentences.listings import Annotated, Listing, Picture, Pictures
from lvm_jax.sentences.relations import Relation
from lvm_jax.sentences.selection import Selection
from lvm_jax.sentences.squares import Square


class Layout:
    """How the items of a sentence become a row of images: here, one of each.

    A subclass is a frozen dataclass whose fields are keys of a source in a config.
    """

    @property
    def listing(self) -> Listing:
        """What the items are."""
        return Pictures()

    def deck(self, selection: Selection) -> Deck:
        """Deals items to sentences."""
        return Deck(selection=selection, listing=self.listing)

    def num_images(self, deck: Deck) -> tuple[int, int]:
        """Images in a sentence: at least and at most."""
        return deck.num_items

    def images(
        self, items: Sequence[Any], squares: Iterator[Square], draws: Draws
    ) -> Iterator[list[ImageRef]]:
        """The images of each item in turn; stops where no more are shown.

        Args:
            items: what the deck dealt.
            squares: gives the square of an item when the item's images are made.
            draws: of the sentence, after those of the squares given so far.
        """
        for item in items:
            yield [next(squares).of(item.path)]

    def check_squares(self, crop: tuple[float, float] | None, same_crop: bool) -> None:
        """Refuses what a source says about its squares, if that does not fit the layout.

        Raises:
            configs.ConfigError: names the field.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Single(Layout):
    """One image a sentence: {image, EOS} in the paper."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs(Layout):
    """Pairs of images in a row, question and answer, the same `relation` in every pair.

    Attributes:
        pairs_per_sentence: 8 in the paper.
        same_picture: all pairs of a sentence show squares of one picture, which needs `crop` and
            same_crop=False; otherwise every pair takes another picture.
    """

    pairs_per_sentence: int = 8
    same_picture: bool = False
    relation: Relation

    def __post_init__(self):
        require_at_least(self, 1, "pairs_per_sentence")

    def check_squares(self, crop: tuple[float, float] | None, same_crop: bool) -> None:
        if self.same_picture and (same_crop or crop is None):
            raise ConfigError(
                Field("same_picture"),
                f"=True with same_crop={same_crop} and crop={crop} shows one square "
                f"{self.pairs_per_sentence} times; set same_crop=False and a crop such as "
                "(0.3, 0.7)",
            )

    @property
    def listing(self) -> Listing:
        return self.relation.listing

    def deck(self, selection: Selection) -> Deck:
        each = 1 if self.same_picture else self.pairs_per_sentence
        return Deck(selection=selection, listing=self.listing, each=each)

    def num_images(self, deck: Deck) -> tuple[int, int]:
        return 2 * self.pairs_per_sentence, 2 * self.pairs_per_sentence

    def images(
        self, items: Sequence[Any], squares: Iterator[Square], draws: Draws
    ) -> Iterator[list[ImageRef]]:
        relate = self.relation.start(draws)
        for item in items:
            pairs = self.pairs_per_sentence if self.same_picture else 1
            yield [image for _ in range(pairs) for image in relate(item, next(squares))]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group(Layout):
    """Images of one class in a row, in random order; a class is a folder that holds images.

    Each epoch divides every class anew into groups of `group_size`; a class with fewer images gives
    one smaller group, and what is left over waits for another epoch.

    Attributes:
        group_size: images in a sentence, at most; 16 in the paper.
        smallest_group: classes with fewer images are left out and named in the log.
    """

    group_size: int = 16
    smallest_group: int = 2

    def __post_init__(self):
        if not 1 <= self.smallest_group <= self.group_size:
            raise ConfigError(
                Field("smallest_group"),
                f"={self.smallest_group} must lie between 1 and group_size={self.group_size}",
            )

    def deck(self, selection: Selection) -> ClassDeck:
        return ClassDeck(
            selection=selection,
            listing=self.listing,
            each=self.group_size,
            smallest=self.smallest_group,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuples(Layout):
    """m of an image and its k annotations, the same ones in the same order for several images.

    The elements and their order are drawn once for each sentence; tuples of as many images follow
    one another as fit. Files of one name belong together.

    Attributes:
        annotation_folders: k folders of annotations, drawn as images.
        fewest: m is drawn from fewest..most.
        most: 0 means 1 + k.
        most_images: in a sentence; 16 in the paper.
    """

    annotation_folders: tuple[str, ...]
    fewest: int = 2
    most: int = 0
    most_images: int = 16

    def __post_init__(self):
        if not self.annotation_folders:
            raise ConfigError(Field("annotation_folders"), " is empty; name at least one folder")
        least, most = self.fewest, self._most
        if not 1 <= least <= most <= min(self._num_elements, self.most_images):
            raise ConfigError(
                Field("fewest"),
                f": 1 <= fewest={least} <= most={most} <= {self._num_elements} elements (the image "
                f"and its annotations) and <= most_images={self.most_images} must hold",
            )

    @property
    def _num_elements(self) -> int:
        return 1 + len(self.annotation_folders)

    @property
    def _most(self) -> int:
        return self.most or self._num_elements

    @property
    def listing(self) -> Listing:
        names = (f"annotation_folders[{i}]" for i in range(len(self.annotation_folders)))
        return Annotated(dict(zip(names, self.annotation_folders)))

    def deck(self, selection: Selection) -> Deck:
        each = self.most_images // self.fewest
        return Deck(selection=selection, listing=self.listing, each=each)

    def num_images(self, deck: Deck) -> tuple[int, int]:
        sizes = [self.most_images // m * m for m in range(self.fewest, self._most + 1)]
        return min(sizes), max(sizes)

    def images(
        self, items: Sequence[Picture], squares: Iterator[Square], draws: Draws
    ) -> Iterator[list[ImageRef]]:
        elements = self._draw_elements(draws)
        for item in items[: self.most_images // len(elements)]:
            square = next(squares)
            yield [
                square.of(item.files[element], annotates=item.path if element else "")
                for element in elements
            ]

    def _draw_elements(self, draws: Draws) -> list[int]:
        """Which elements, in which order; 0 is the image."""
        left = list(range(self._num_elements))
        number = self.fewest + draws.integer(self._most - self.fewest + 1)
        return [left.pop(draws.integer(len(left))) for _ in range(number)]
