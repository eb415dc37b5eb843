"""Which items a sentence gets: shuffled rounds, so that all are used about equally often."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import file_names
from lvm_jax.draws import shuffled
from lvm_jax.sentences import files
from lvm_jax.sentences.listings import Listing, Picture
from lvm_jax.sentences.selection import Selection


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deck:
    """Deals rounds of all items: no sentence gets one twice, unless there are too few of them.

    Attributes:
        selection, listing: say which items there are.
        each: items of a sentence.
    """

    selection: Selection
    listing: Listing
    each: int = 1

    @functools.cached_property
    def items(self) -> tuple[Any, ...]:
        """Everything that is dealt, by key.

        Raises:
            ValueError: what `Listing.items` refuses.
        """
        return self.listing.items(self.selection)

    @property
    def num_sentences(self) -> int:
        """Sentences in a round."""
        return max(1, len(self.items) // self.each)

    @property
    def num_items(self) -> tuple[int, int]:
        """Items of a sentence: at least and at most."""
        return self.each, self.each

    def deal(self, seed: int, number: int) -> Sequence[Any]:
        """The items of a sentence, which has this number of all of its source."""
        size, name = len(self.items), self.selection.name
        if size < self.each:
            _warn_of_repeats(name, self.selection.folder, size, self.each)
        turn, place = divmod(number, self.num_sentences)
        order = _order(size, seed, name, turn)
        start = place * self.each
        return [self.items[order[(start + i) % size]] for i in range(self.each)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassDeck(Deck):
    """Deals pictures of one class; a class is a folder that holds images.

    Each round divides every class anew into groups of `each`; a class with fewer images gives one
    smaller group, and what is left over waits for another round.

    Attributes:
        smallest: classes with fewer images are left out and named in the log.
    """

    smallest: int

    @functools.cached_property
    def classes(self) -> dict[str, tuple[Picture, ...]]:
        """The pictures of each class, by the name of its folder; all sorted.

        Raises:
            ValueError: what `Listing.items` refuses, or every class is too small.
        """
        by_folder: dict[str, list[Picture]] = {}
        spelled: dict[str, str] = {}
        for picture in self.items:
            folder = pathlib.PurePosixPath(picture.key).parent.as_posix()
            folder = spelled.setdefault(file_names.canonical(folder), folder)
            by_folder.setdefault(folder, []).append(picture)
        large = {n: tuple(p) for n, p in sorted(by_folder.items()) if len(p) >= self.smallest}
        small = [f"{n} ({len(p)})" for n, p in by_folder.items() if n not in large]
        name = self.selection.name
        some = files.listed(f"{name}: too small", small)
        if not large:
            raise ValueError(
                f"{name}: every class in {self.selection.folder} has fewer than "
                f"smallest_group={self.smallest} images: {some}; a class is a folder of images"
            )
        if small:
            logging.warning(
                "%s: %d of %d classes have fewer than %d images and are left out: %s",
                *(name, len(small), len(by_folder), self.smallest, some),
            )
        return large

    @functools.cached_property
    def _groups(self) -> tuple[tuple[str, int], ...]:
        """(class, number of the group in it)."""
        return tuple(
            (name, number)
            for name, pictures in self.classes.items()
            for number in range(max(1, len(pictures) // self.each))
        )

    @property
    def num_sentences(self) -> int:
        return len(self._groups)

    @property
    def num_items(self) -> tuple[int, int]:
        sizes = [min(self.each, len(pictures)) for pictures in self.classes.values()]
        return min(sizes), max(sizes)

    def deal(self, seed: int, number: int) -> Sequence[Picture]:
        turn, place = divmod(number, self.num_sentences)
        order = _order(len(self._groups), seed, self.selection.name, turn)
        name, group = self._groups[order[place]]
        pictures = self.classes[name]
        inside = _order_in_class(len(pictures), seed, self.selection.name, name, turn)
        start = group * self.each
        return [pictures[i] for i in inside[start : start + self.each]]


@functools.cache
def _warn_of_repeats(name: str, folder: str, size: int, each: int) -> None:
    """Once a source, although every sentence of it repeats pictures."""
    logging.warning(
        "%s: a sentence takes %d pictures, but there are %d in %s: they repeat; take fewer or add "
        "pictures",
        *(name, each, size, folder),
    )


@functools.lru_cache(maxsize=64)
def _order(size: int, seed: int, name: str, turn: int) -> np.ndarray:
    """In which order round `turn` of a source deals its items: int64 [size]."""
    return shuffled(size, "pictures", seed, name, turn)


@functools.lru_cache(maxsize=4096)
def _order_in_class(size: int, seed: int, source: str, name: str, turn: int) -> np.ndarray:
    return shuffled(size, "class", seed, source, name, turn)
