"""Folders of images -> visual sentences: what all sources share, and single images.

Paper: Bai et al. 2023, section 3.1. Each kind of sentence is one frozen dataclass. A sentence is a
pure function of (seed, epoch, index): which pictures it shows, which square of each, mirrored or
not. All kinds by name: `kinds.KINDS`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from absl import logging

from lvm_jax.draws import Draws, shuffled
from lvm_jax.pictures.reference import Crop, ImageRef
from lvm_jax.sentences import files


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """An image file of a source, perhaps with the file of its annotation."""

    key: str
    path: str
    annotation: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is made of."""
        return (self.path, self.annotation) if self.annotation else (self.path,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What every source has; a subclass says what one sentence shows.

    Attributes:
        folder: where the images are; folders inside it are searched too, and `*` stands for any
            folder name.
        name: what reports call this source; the kind if empty. It seeds the source's draws.
        include: patterns on relative names without extension, in which `*` stands for any text and
            nothing else is special; only pictures that match one are used.
        exclude: the same, for pictures that are left out, such as held-out ones.
        sentences_per_epoch: how many sentences an epoch has; 0 shows every picture once.
        crop: a random square, its side this share of the short side (smallest, largest); None
            takes the whole central square.
        flip: mirrors left to right half of the time.
        same_crop: the images of a sentence have one square and one mirroring; False draws them anew
            for every picture (an image with its annotation stays together), which gives more
            different images, and lets a sentence show several squares of one picture.
    """

    kind: str = ""
    folder: str
    name: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    sentences_per_epoch: int = 0
    crop: tuple[float, float] | None = None
    flip: bool = False
    same_crop: bool = True

    def __post_init__(self):
        if not self.name:
            object.__setattr__(self, "name", self.kind)
        files.require_folders(self.name, self._folders)
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
    def _folders(self) -> Mapping[str, str]:
        """Field -> folder, of all that the source reads."""
        return {"folder": self.folder}

    @property
    def items_per_sentence(self) -> int:
        """Pictures (or clips, ...) that one sentence takes from the folder."""
        return 1

    @property
    def images_per_sentence(self) -> int:
        """Images in one sentence; at most so many where sentences of a source differ."""
        return 1

    @property
    def fewest_images(self) -> int:
        """What every sentence has at least; `images_per_sentence` is what it has at most."""
        return self.images_per_sentence

    @functools.cached_property
    def items(self) -> tuple[Any, ...]:
        """What sentences are dealt from: `Picture`s or others with a key and files, by key.

        Raises:
            ValueError: no folder, no image, two files of one key, a pattern without a match.
        """
        found = files.by_stem(self.folder)
        return tuple(Picture(key=key, path=found[key]) for key in self._select(found))

    @property
    def files(self) -> Iterable[str]:
        """Every file that sentences are made from; some may come twice."""
        return (path for item in self.items for path in item.files)

    @property
    def listings(self) -> Sequence[str]:
        """Files that say what is in pictures; small enough to be compared by content."""
        return ()

    def num_sentences(self) -> int:
        """Sentences in an epoch."""
        if self.sentences_per_epoch:
            return self.sentences_per_epoch
        return max(1, len(self.items) // self.items_per_sentence)

    def sentence(self, seed: int, epoch: int, index: int) -> Sentence:
        """The sentence at `index` of an epoch; the same for ever for the same arguments."""
        draws = Draws(seed, epoch, index, self.name)
        theme = self._theme(draws)
        taken = self._shown(self._taken(seed, epoch, index), theme)
        shared = self._square(draws) if self.same_crop else None
        row: list[ImageRef] = []
        for item in taken:
            crop, flip = shared or self._square(draws)
            row += self._images(item, crop, flip, draws, theme)
        key = "+".join(dict.fromkeys(item.key for item in taken))
        return Sentence(kind=self.kind, source=self.name, key=key, images=tuple(row))

    def _taken(self, seed: int, epoch: int, index: int) -> Sequence[Any]:
        # Sentences deal out shuffled rounds of the pictures, so that all are used about equally
        # often and no sentence shows a picture twice, unless there are too few of them.
        size, each = len(self.items), self.items_per_sentence
        if size < each:
            _warn_of_repeats(self.name, self.folder, size, each)
        number, in_round = epoch * self.num_sentences() + index, max(1, size // each)
        turn, start = number // in_round, number % in_round * each
        order = dealt(size, seed, self.name, turn)
        return [self.items[order[(start + i) % size]] for i in range(each)]

    def _theme(self, draws: Draws) -> Any:
        """What is drawn once for a whole sentence."""
        del draws

    def _shown(self, taken: Sequence[Any], theme: Any) -> Sequence[Any]:
        """Those of the items taken that the sentence shows."""
        del theme
        return taken

    def _square(self, draws: Draws) -> tuple[Crop | None, bool]:
        crop = None
        if self.crop is not None:
            smallest, largest = (max(1, round(share * Crop.UNIT)) for share in self.crop)
            side = smallest + draws.integer(largest - smallest + 1)
            left, top = draws.integer(Crop.UNIT + 1), draws.integer(Crop.UNIT + 1)
            crop = Crop(left, top, side)
        return crop, self.flip and draws.coin()

    def _images(
        self, item: Any, crop: Crop | None, flip: bool, draws: Draws, theme: Any
    ) -> list[ImageRef]:
        """The images that an item gives, all of one square."""
        del draws, theme
        return [ImageRef(path=item.path, crop=crop, flip=flip)]

    def _matched(self, folders: Mapping[str, str]) -> list[tuple[str, ...]]:
        """Files of one name from several folders: (key, a path in each), sorted by key.

        Args:
            folders: what a file of a folder is called in messages -> the folder.

        Raises:
            ValueError: what `_select` refuses, or files without a partner (named).
        """
        found = files.align([files.by_stem(folder) for folder in folders.values()])
        sides = {what: (folders[what], paths) for what, paths in zip(folders, found)}
        keys = self._select(set().union(*found))
        files.require_partners(self.name, keys, sides)
        return [(key, *(paths[key] for paths in found)) for key in keys]

    def _select(self, keys: Iterable[str]) -> list[str]:
        """The keys that include and exclude leave, sorted."""
        return files.select(
            keys, include=self.include, exclude=self.exclude, name=self.name, folder=self.folder
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SingleImages(Source):
    """One image a sentence: {image, EOS} in the paper."""

    kind: Literal["single"] = "single"


@functools.cache
def _warn_of_repeats(name: str, folder: str, size: int, each: int) -> None:
    """Once a source, although every sentence of it repeats pictures."""
    logging.warning(
        "%s: a sentence takes %d pictures, but there are %d in %s: they repeat; take fewer or add "
        "pictures",
        *(name, each, size, folder),
    )


@functools.lru_cache(maxsize=64)
def dealt(size: int, seed: int, name: str, turn: int):
    """In which order round `turn` of a source deals its items: int64 [size]."""
    return shuffled(size, "pictures", seed, name, turn)
