"""COCO-style JSON -> pairs of a picture and a drawing: what boxes, skeletons and segments share."""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from absl import logging

from lvm_jax.draws import Draws
from lvm_jax.pictures import drawings, palette
from lvm_jax.pictures.reference import Crop, ImageRef
from lvm_jax.sentences import coco_file, coco_turns, files
from lvm_jax.sentences.coco_turns import Turn
from lvm_jax.sentences.pairs import Pairs

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
    """

    key: str
    path: str
    shape: tuple[int, int]
    shapes: str
    mirrored: str

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is made of."""
        return (self.path,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CocoPairs(Pairs):
    """picture, drawing, picture, drawing, ...: from a COCO-style file.

    Annotations that show nothing on the whole of their picture are left out and counted in the log,
    by reason; so are pictures of which there is nothing to draw. What lies outside of the square
    that a sentence takes of a picture still counts.

    Attributes:
        annotations: the JSON file; its file names are relative to `folder`.
        categories: names of those that are drawn; empty takes all. The order decides the colors;
            all of the file's, by rising id, if empty.
        coordinates: what they refer to where the orientation tag of a picture turns or mirrors it:
            "upright", the picture as it is shown, or "stored", its pixels as they lie in the file.
            Sizes that say otherwise are refused, and a warning names pictures whose size cannot
            tell. In a stored picture that is mirrored, left and right joints change places.
    """

    drawing: ClassVar[str]

    annotations: str
    categories: tuple[str, ...] = ()
    coordinates: coco_turns.Coordinates = "upright"

    @property
    def _listed(self) -> coco_file.Coco:
        try:
            return coco_file.read(self.annotations)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    @functools.cached_property
    def _labels(self) -> dict[int, int]:
        """Id of a category -> label, from 1."""
        listed = self._listed.categories
        if not self.categories:
            if len(listed) > _MOST_CATEGORIES:
                raise ValueError(
                    f"{self.name}: {self.annotations} has {len(listed)} categories, and there are "
                    f"colors for {_MOST_CATEGORIES}; choose some in {self.name}.categories"
                )
            return {number: label for label, number in enumerate(listed, 1)}
        by_name = {entry["name"]: number for number, entry in listed.items()}
        unknown = [name for name in self.categories if name not in by_name]
        if unknown:
            raise ValueError(
                f"{self.name}.categories: {files.named(unknown)} are not in {self.annotations}; "
                f"there are {', '.join(by_name)}"
            )
        return {by_name[name]: label for label, name in enumerate(self.categories, 1)}

    @property
    def num_labels(self) -> int:
        """Colors in the palette, black included."""
        return 1 + len(self._labels)

    @functools.cached_property
    def items(self) -> tuple[DrawnPicture, ...]:
        """The pictures with something to draw, sorted by key.

        Raises:
            ValueError: what `Source.items` refuses, a listed picture that is missing (named), a bad
                annotation (named), or nothing to draw at all.
        """
        found, entries = files.align([files.by_stem(self.folder), self._listed.images])
        keys = self._select(entries)
        self._compare(keys, found, entries)
        parts = self._parts_of({key: entries[key] for key in keys})
        turns = self._turns([(key, found[key], _shape(entries[key])) for key in parts])
        return tuple(
            self._drawn(key, found[key], _shape(entries[key]), parts[key], turns.get(key))
            for key in parts
        )

    def _compare(
        self, keys: Sequence[str], found: Mapping[str, str], entries: Mapping[str, Any]
    ) -> None:
        """Refuses listed pictures that are missing, and names those that are not listed."""
        missing = [entries[key]["file_name"] for key in keys if key not in found]
        if missing:
            raise ValueError(
                f"{self.name}: {files.listed(f'{self.name}: missing', missing)} of "
                f"{self.annotations} are not in {self.folder}; add the missing ones or list them "
                f"in {self.name}.exclude"
            )
        alone = sorted(found.keys() - entries.keys())
        if alone:
            logging.warning(
                "%s: %d images of %s are not in %s and left out: %s",
                self.name,
                len(alone),
                self.folder,
                self.annotations,
                files.listed(f"{self.name}: not listed", [found[key] for key in alone]),
            )

    def _parts_of(self, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
        """Key -> what is drawn of each of its annotations, of those that show something."""
        parts: dict[str, list[Any]] = {}
        reasons: collections.Counter[str] = collections.Counter()
        unseen = []
        annotations = self._listed.annotations
        for key, image in entries.items():
            for entry in annotations.get(image["id"], ()):
                if entry["category_id"] not in self._labels:
                    continue
                part, reason = self._part(entry, _shape(image))
                if part is not None:
                    parts.setdefault(key, []).append(part)
                if reason:
                    reasons[reason] += 1
                    unseen.append(str(entry.get("id")))
        if unseen:
            logging.warning(
                "%s: %d %s of %s show nothing and are left out: %s; the first are of annotations "
                "%s",
                *(self.name, len(unseen), self.drawing, self.annotations),
                ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()),
                files.named(unseen),
            )
        if not parts:
            raise ValueError(
                f"{self.name}: {self.annotations} has no {self.drawing} for any of the "
                f"{len(entries)} images chosen; check {self.name}.categories and .include, or use "
                "another file"
            )
        if len(parts) < len(entries):
            logging.info(
                "%s: %d of %d images have no %s and are left out",
                *(self.name, len(entries) - len(parts), len(entries), self.drawing),
            )
        return parts

    def _turns(self, pictures: Sequence[tuple[str, str, tuple[int, int]]]) -> Mapping[str, Turn]:
        """What makes pictures upright whose coordinates are those of the stored ones."""
        found = coco_turns.find(pictures, self.coordinates)
        other = "stored" if self.coordinates == "upright" else "upright"
        if found.refused:
            some = files.listed(f"{self.name}: {other}", found.refused)
            raise ValueError(
                f"{self.name}: {some} are turned by their orientation tags, and the width and "
                f"height in {self.annotations} are those of the {other} picture; set "
                f"{self.name}.coordinates={other!r}, or exclude them"
            )
        if found.unknown and self.coordinates == "upright":
            logging.warning(
                "%s: %d images have an orientation tag, and their width and height do not say "
                "whether coordinates in %s are of the picture as it is stored or upright; taken as "
                "upright, otherwise set %s.coordinates='stored': %s",
                *(self.name, len(found.unknown), self.annotations, self.name),
                files.named(found.unknown),
            )
        return found.turns

    @property
    def listings(self) -> Sequence[str]:
        return (self.annotations,)

    def _part(self, entry: Mapping[str, Any], shape: tuple[int, int]) -> tuple[Any, str]:
        """What is drawn of an annotation on a picture of (height, width).

        Returns:
            The part, or None; and why all or a part of it shows nothing, if so. Both None and ""
            where an annotation is of another kind.
        """
        raise NotImplementedError

    def _turned(self, part: Any, turn: Turn) -> Any:
        """A part in the coordinates of the upright picture."""
        raise NotImplementedError

    def _shapes(self, parts: list[Any]) -> Any:
        """What is drawn on a picture, ready for JSON."""
        return parts

    def _mirrored(self, shapes: Any) -> Any:
        """What `_shapes` gave, for the mirrored picture."""
        return shapes

    def _drawn(
        self, key: str, path: str, shape: tuple[int, int], parts: list[Any], turn: Turn | None
    ) -> DrawnPicture:
        if turn is not None:
            shape, parts = turn.shape, [self._turned(part, turn) for part in parts]
        shapes = self._shapes(parts)
        text, mirrored = drawings.to_json(shapes), self._mirrored(shapes)
        return DrawnPicture(
            key=key,
            path=path,
            shape=shape,
            shapes=text,
            mirrored=text if mirrored is shapes else drawings.to_json(mirrored),
        )

    def _parameters(self) -> tuple[tuple[str, int | float | str], ...]:
        return (("num_labels", self.num_labels),)

    def _bad(self, entry: Mapping[str, Any], reason: object) -> ValueError:
        return ValueError(
            f"{self.name}: annotation {entry.get('id')} of {self.annotations}: {reason}"
        )

    def _images(
        self, item: DrawnPicture, crop: Crop | None, flip: bool, draws: Draws, theme: Any
    ) -> list[ImageRef]:
        del draws, theme
        picture = ImageRef(path=item.path, crop=crop, flip=flip, shape=item.shape)
        shapes = item.mirrored if flip else item.shapes
        parameters = (("shapes", shapes), *self._parameters())
        drawn = dataclasses.replace(picture, derivation=self.drawing, parameters=parameters)
        return [picture, drawn]


def _shape(image: Mapping[str, Any]) -> tuple[int, int]:
    return image["height"], image["width"]
