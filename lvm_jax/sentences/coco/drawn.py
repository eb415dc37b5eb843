"""Pictures that a COCO-style file lists, with what is drawn of each."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from absl import logging

from lvm_jax.pictures import drawings, palette
from lvm_jax.sentences import files
from lvm_jax.sentences.coco import file, turns
from lvm_jax.sentences.coco.turns import Turn
from lvm_jax.sentences.listings import Listing
from lvm_jax.sentences.selection import Selection

# Besides black and, for boxes, white.
_MOST_CATEGORIES = palette.MOST_LABELS - 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnPicture:
    """A picture and what is drawn of it.

    Attributes:
        key: name relative to the folder, without extension.
        path: the picture.
        shape: (height, width) that coordinates refer to.
        shapes: JSON, as `drawings` wants it.
        mirrored: the same where the picture is mirrored, in the coordinates of the picture.
        num_labels: colors in the palette, black included.
    """

    key: str
    path: str
    shape: tuple[int, int]
    shapes: str
    mirrored: str
    num_labels: int

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is made of."""
        return (self.path,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """What of a file is drawn.

    Attributes:
        name: of the source; messages begin with it.
        listed: the file.
        labels: id of a category that is drawn -> label, from 1.
    """

    name: str
    listed: file.Coco
    labels: Mapping[int, int]

    def bad(self, entry: Mapping[str, Any], reason: object) -> ValueError:
        """What is wrong with an annotation."""
        return ValueError(
            f"{self.name}: annotation {entry.get('id')} of {self.listed.path}: {reason}"
        )


class Shapes(Protocol):
    """Boxes, skeletons or segments: what is drawn of annotations."""

    def part(self, entry: Mapping[str, Any], shape: tuple[int, int]) -> tuple[Any, str]:
        """What is drawn of an annotation on a picture of (height, width).

        Returns:
            The part, or None; and why all or a part of it shows nothing, if so. Both None and ""
            where an annotation is of another kind.

        Raises:
            ValueError: a bad annotation; named.
        """
        ...

    def turned(self, part: Any, turn: Turn) -> Any:
        """A part in the coordinates of the upright picture."""
        ...

    def together(self, parts: list[Any]) -> Any:
        """All parts of a picture, ready for JSON."""
        ...

    def mirrored(self, shapes: Any) -> Any:
        """What `together` gave, for the mirrored picture."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnPictures(Listing):
    """The listed pictures that have something to draw.

    Attributes:
        annotations, categories, coordinates: see `relation.Drawing`.
        drawing: what is drawn, as messages call it.
        shapes: reads it from a file.
    """

    annotations: str
    categories: tuple[str, ...]
    coordinates: turns.Coordinates
    drawing: str
    shapes: Callable[[Chosen], Shapes]

    @property
    def documents(self) -> Sequence[str]:
        return (self.annotations,)

    def items(self, selection: Selection) -> tuple[DrawnPicture, ...]:
        """The pictures with something to draw, by key.

        Raises:
            ValueError: what `Listing.items` refuses, a listed picture that is missing (named), a
                bad annotation (named), or nothing to draw at all.
        """
        name, there = selection.name, files.by_stem(selection.folder)
        try:
            listed = file.read(self.annotations)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        paths, entries = files.align([there, listed.images])
        keys = selection.keys(entries)
        self._compare(selection, keys, paths, entries)
        chosen = Chosen(name=name, listed=listed, labels=self._labels(name, listed))
        shapes = self.shapes(chosen)
        parts = self._parts_of({key: entries[key] for key in keys}, shapes, chosen)
        turned = self._turns(name, [(key, paths[key], _shape(entries[key])) for key in parts])
        pictures = []
        for key, seen in parts.items():
            shape, turn = _shape(entries[key]), turned.get(key)
            if turn is not None:
                shape, seen = turn.shape, [shapes.turned(part, turn) for part in seen]
            together = shapes.together(seen)
            text, mirrored = drawings.to_json(together), shapes.mirrored(together)
            pictures.append(
                DrawnPicture(
                    key=key,
                    path=paths[key],
                    shape=shape,
                    shapes=text,
                    mirrored=text if mirrored is together else drawings.to_json(mirrored),
                    num_labels=1 + len(chosen.labels),
                )
            )
        return tuple(pictures)

    def _labels(self, name: str, listed: file.Coco) -> dict[int, int]:
        """Id of a category -> label, from 1."""
        if not self.categories:
            if len(listed.categories) > _MOST_CATEGORIES:
                raise ValueError(
                    f"{name}: {self.annotations} has {len(listed.categories)} categories, and "
                    f"there are colors for {_MOST_CATEGORIES}; choose some in {name}.categories"
                )
            return {number: label for label, number in enumerate(listed.categories, 1)}
        by_name = {entry["name"]: number for number, entry in listed.categories.items()}
        unknown = [category for category in self.categories if category not in by_name]
        if unknown:
            raise ValueError(
                f"{name}.categories: {files.named(unknown)} are not in {self.annotations}; "
                f"there are {', '.join(by_name)}"
            )
        return {by_name[category]: label for label, category in enumerate(self.categories, 1)}

    def _compare(
        self,
        selection: Selection,
        keys: Sequence[str],
        paths: Mapping[str, str],
        entries: Mapping[str, Any],
    ) -> None:
        """Refuses listed pictures that are missing, and names those that are not listed."""
        name = selection.name
        missing = [entries[key]["file_name"] for key in keys if key not in paths]
        if missing:
            raise ValueError(
                f"{name}: {files.listed(f'{name}: missing', missing)} of {self.annotations} are "
                f"not in {selection.folder}; add the missing ones or list them in {name}.exclude"
            )
        alone = sorted(paths.keys() - entries.keys())
        if alone:
            logging.warning(
                "%s: %d images of %s are not in %s and left out: %s",
                *(name, len(alone), selection.folder, self.annotations),
                files.listed(f"{name}: not listed", [paths[key] for key in alone]),
            )

    def _parts_of(
        self, entries: Mapping[str, Mapping[str, Any]], shapes: Shapes, chosen: Chosen
    ) -> dict[str, list[Any]]:
        """Key -> what is drawn of each of its annotations, of those that show something."""
        parts: dict[str, list[Any]] = {}
        reasons: collections.Counter[str] = collections.Counter()
        unseen = []
        for key, image in entries.items():
            for entry in chosen.listed.annotations.get(image["id"], ()):
                if entry["category_id"] not in chosen.labels:
                    continue
                part, reason = shapes.part(entry, _shape(image))
                if part is not None:
                    parts.setdefault(key, []).append(part)
                if reason:
                    reasons[reason] += 1
                    unseen.append(str(entry.get("id")))
        if unseen:
            logging.warning(
                "%s: %d %s of %s show nothing and are left out: %s; the first are of annotations "
                "%s",
                *(chosen.name, len(unseen), self.drawing, self.annotations),
                ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()),
                files.named(unseen),
            )
        if not parts:
            raise ValueError(
                f"{chosen.name}: {self.annotations} has no {self.drawing} for any of the "
                f"{len(entries)} images chosen; check {chosen.name}.categories and .include, or "
                "use another file"
            )
        if len(parts) < len(entries):
            logging.info(
                "%s: %d of %d images have no %s and are left out",
                *(chosen.name, len(entries) - len(parts), len(entries), self.drawing),
            )
        return parts

    def _turns(
        self, name: str, pictures: Sequence[tuple[str, str, tuple[int, int]]]
    ) -> Mapping[str, Turn]:
        """What makes pictures upright whose coordinates are those of the stored ones."""
        said = turns.orientations(pictures, self.coordinates)
        other = "stored" if self.coordinates == "upright" else "upright"
        if said.refused:
            some = files.listed(f"{name}: {other}", said.refused)
            raise ValueError(
                f"{name}: {some} are turned by their orientation tags, and the width and height in "
                f"{self.annotations} are those of the {other} picture; set "
                f"{name}.coordinates={other!r}, or exclude them"
            )
        if said.unknown and self.coordinates == "upright":
            logging.warning(
                "%s: %d images have an orientation tag, and their width and height do not say "
                "whether coordinates in %s are of the picture as it is stored or upright; taken as "
                "upright, otherwise set %s.coordinates='stored': %s",
                *(name, len(said.unknown), self.annotations, name),
                files.named(said.unknown),
            )
        return said.turns


def _shape(image: Mapping[str, Any]) -> tuple[int, int]:
    return image["height"], image["width"]
