"""Sentences of images that belong together: of one class, or annotations of one image.

Paper: Bai et al. 2023, section 3.1.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from absl import logging

from lvm_jax import file_names
from lvm_jax.draws import Draws, shuffled
from lvm_jax.pictures.reference import Crop, ImageRef
from lvm_jax.sentences import files
from lvm_jax.sentences.sources import Picture, Source, dealt


@dataclasses.dataclass(frozen=True, kw_only=True)
class CategoryGroups(Source):
    """Images of one class in a row, in random order; a class is a folder that holds images.

    Each epoch divides every class anew into groups of `group_size`; a class with fewer images gives
    one smaller group, and what is left over waits for another epoch.

    Attributes:
        group_size: images in a sentence, at most; 16 in the paper.
        smallest_group: classes with fewer images are left out and named in the log.
    """

    kind: Literal["category"] = "category"
    group_size: int = 16
    smallest_group: int = 2

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.smallest_group <= self.group_size:
            raise ValueError(
                f"{self.name}.smallest_group={self.smallest_group} must lie between 1 and "
                f"group_size={self.group_size}"
            )

    @functools.cached_property
    def classes(self) -> dict[str, tuple[Picture, ...]]:
        """The pictures of each class, by the name of its folder; all sorted.

        Raises:
            ValueError: what `Source.items` refuses, or every class is too small.
        """
        found: dict[str, list[Picture]] = {}
        spelled: dict[str, str] = {}
        for picture in self.items:
            folder = pathlib.PurePosixPath(picture.key).parent.as_posix()
            folder = spelled.setdefault(file_names.canonical(folder), folder)
            found.setdefault(folder, []).append(picture)
        small = [f"{name} ({len(found[name])})" for name in found if self._is_small(found[name])]
        some = files.listed(f"{self.name}: too small", small)
        if len(small) == len(found):
            raise ValueError(
                f"{self.name}: every class in {self.folder} has fewer than "
                f"smallest_group={self.smallest_group} images: {some}; a class is a "
                "folder of images"
            )
        if small:
            logging.warning(
                "%s: %d of %d classes have fewer than %d images and are left out: %s",
                self.name,
                len(small),
                len(found),
                self.smallest_group,
                some,
            )
        return {
            name: tuple(pictures)
            for name, pictures in sorted(found.items())
            if not self._is_small(pictures)
        }

    def _is_small(self, pictures: Sequence[Picture]) -> bool:
        return len(pictures) < self.smallest_group

    @functools.cached_property
    def _groups(self) -> tuple[tuple[str, int], ...]:
        """(class, number of the group in it)."""
        return tuple(
            (name, number)
            for name, pictures in self.classes.items()
            for number in range(max(1, len(pictures) // self.group_size))
        )

    @property
    def images_per_sentence(self) -> int:
        return min(self.group_size, max(map(len, self.classes.values())))

    @property
    def fewest_images(self) -> int:
        return min(len(group) for group in self._groups)

    def num_sentences(self) -> int:
        return self.sentences_per_epoch or len(self._groups)

    def _taken(self, seed: int, epoch: int, index: int) -> Sequence[Picture]:
        number = epoch * self.num_sentences() + index
        turn, place = divmod(number, len(self._groups))
        order = dealt(len(self._groups), seed, self.name, turn)
        name, group = self._groups[order[place]]
        pictures = self.classes[name]
        inside = _inside(len(pictures), seed, self.name, name, turn)
        start = group * self.group_size
        return [pictures[i] for i in inside[start : start + self.group_size]]


@functools.lru_cache(maxsize=4096)
def _inside(size: int, seed: int, source: str, name: str, turn: int):
    return shuffled(size, "class", seed, source, name, turn)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnnotatedPicture:
    """The files of one picture: itself first, then its annotations."""

    key: str
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiAnnotation(Source):
    """m of an image and its k annotations, the same ones in the same order for several images.

    The elements and their order are drawn once for each sentence; tuples of as many images follow
    one another as fit. Files of one name belong together.

    Attributes:
        annotation_folders: k folders of annotations, drawn as images.
        fewest, most: m is drawn from fewest..most; most=0 means 1 + k.
        most_images: in a sentence; 16 in the paper.
    """

    kind: Literal["multi_annotation"] = "multi_annotation"
    annotation_folders: tuple[str, ...]
    fewest: int = 2
    most: int = 0
    most_images: int = 16

    def __post_init__(self):
        super().__post_init__()
        size = 1 + len(self.annotation_folders)
        if size < 2:
            raise ValueError(f"{self.name}.annotation_folders is empty; name at least one folder")
        if not 1 <= self.fewest <= self._most <= min(size, self.most_images):
            raise ValueError(
                f"{self.name}: 1 <= fewest={self.fewest} <= most={self._most} <= {size} elements "
                f"(the image and its annotations) and <= most_images={self.most_images} must hold"
            )

    @property
    def _folders(self) -> Mapping[str, str]:
        others = {f"annotation_folders[{i}]": at for i, at in enumerate(self.annotation_folders)}
        return {"folder": self.folder, **others}

    @property
    def _most(self) -> int:
        return self.most or 1 + len(self.annotation_folders)

    @property
    def items_per_sentence(self) -> int:
        return self.most_images // self.fewest

    @property
    def images_per_sentence(self) -> int:
        return max(self.most_images // m * m for m in range(self.fewest, self._most + 1))

    @property
    def fewest_images(self) -> int:
        return min(self.most_images // m * m for m in range(self.fewest, self._most + 1))

    @functools.cached_property
    def items(self) -> tuple[AnnotatedPicture, ...]:
        """The pictures with their annotations, sorted by key.

        Raises:
            ValueError: what `Source.items` refuses, or files without a partner (named).
        """
        folders = (self.folder, *self.annotation_folders)
        found = self._matched({f"partner in {folder}": folder for folder in folders})
        return tuple(AnnotatedPicture(key=key, files=tuple(paths)) for key, *paths in found)

    def _theme(self, draws: Draws) -> tuple[int, ...]:
        """Which elements, in which order."""
        left = list(range(1 + len(self.annotation_folders)))
        number = self.fewest + draws.integer(self._most - self.fewest + 1)
        return tuple(left.pop(draws.integer(len(left))) for _ in range(number))

    def _shown(self, taken: Sequence[Any], theme: tuple[int, ...]) -> Sequence[Any]:
        return taken[: self.most_images // len(theme)]

    def _images(
        self,
        item: AnnotatedPicture,
        crop: Crop | None,
        flip: bool,
        draws: Draws,
        theme: tuple[int, ...],
    ) -> list[ImageRef]:
        del draws
        picture = item.files[0]
        return [
            ImageRef(path=item.files[i], crop=crop, flip=flip, annotates=picture if i else "")
            for i in theme
        ]
