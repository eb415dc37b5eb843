"""COCO-style JSON -> pairs of a picture and its boxes, skeletons or segments.

One file lists pictures (`images`), what is in them (`annotations`) and its classes (`categories`).
"""

import collections
import dataclasses
import functools
import json
import math
import os
import pathlib
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from absl import logging

from lvm_jax.sentences import coco_masks, files, palette
from lvm_jax.sentences.draws import Draws
from lvm_jax.sentences.pairs import Pairs
from lvm_jax.sentences.spec import Crop, ImageRef


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coco:
    """A file, by what it lists.

    Attributes:
        path: the file.
        images: key (name without extension) -> entry.
        annotations: id of an image -> entries, in the order of the file.
        categories: id -> entry, by rising id.
    """

    path: str
    images: Mapping[str, Mapping[str, Any]]
    annotations: Mapping[int, Sequence[Mapping[str, Any]]]
    categories: Mapping[int, Mapping[str, Any]]


def read(path: str | os.PathLike) -> Coco:
    """Reads a file; its latest content is kept for the next source that reads it.

    Raises:
        ValueError: no such file, no JSON, or entries that lack what they need; named.
    """
    path = os.fspath(path)
    try:
        state = os.stat(path)
    except OSError as error:
        raise ValueError(
            f"annotations {path}: {error.strerror}; give a COCO-style JSON file"
        ) from error
    return _read(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _read(path: str, size: int, changed: int) -> Coco:
    del size, changed
    try:
        values = json.loads(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise ValueError(
            f"annotations {path}: {error.strerror}; give a COCO-style JSON file"
        ) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(
            f"annotations {path} are no JSON: {reason}; give a COCO-style JSON file"
        ) from error
    if not isinstance(values, dict) or not all(
        isinstance(values.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise ValueError(
            f"annotations {path} need lists images, annotations and categories; give a COCO-style "
            "JSON file"
        )
    _require(path, "images", values["images"], {"id": int, "file_name": str} | _SIZES)
    _require(path, "categories", values["categories"], {"id": int, "name": str})
    _require(path, "annotations", values["annotations"], {"image_id": int, "category_id": int})
    for part, field in (("images", "id"), ("categories", "id"), ("categories", "name")):
        _require_different(path, part, values[part], field)
    images: dict[str, Any] = {}
    for number, entry in enumerate(values["images"]):
        if min(entry["height"], entry["width"]) < 1:
            raise ValueError(
                f"annotations {path}: images[{number}] has height={entry['height']} and "
                f"width={entry['width']}; give the pixels of {entry['file_name']!r}"
            )
        if not pathlib.PurePosixPath(entry["file_name"]).name:
            raise ValueError(
                f"annotations {path}: images[{number}] has file_name={entry['file_name']!r}; give "
                "the name of a file, relative to the folder of the images"
            )
        key = pathlib.PurePosixPath(entry["file_name"]).with_suffix("").as_posix()
        if images.setdefault(key, entry) is not entry:
            raise ValueError(
                f"annotations {path}: two images are called {key!r}; names without extension must "
                "be unique"
            )
    categories = {entry["id"]: entry for entry in values["categories"]}
    known = {entry["id"] for entry in images.values()}
    annotations: dict[int, list[Any]] = {}
    for entry in values["annotations"]:
        if entry["image_id"] not in known or entry["category_id"] not in categories:
            raise ValueError(
                f"annotations {path}: annotation {entry.get('id')} is of image "
                f"{entry['image_id']} and category {entry['category_id']}; list both, or remove it"
            )
        annotations.setdefault(entry["image_id"], []).append(entry)
    return Coco(
        path=path,
        images=images,
        annotations=annotations,
        categories=dict(sorted(categories.items())),
    )


_SIZES = {"height": int, "width": int}
# Besides black and, for boxes, white.
_MOST_CATEGORIES = palette.MOST_LABELS - 2


def _require(path: str, part: str, entries: Sequence[Any], fields: Mapping[str, type]) -> None:
    for number, entry in enumerate(entries):
        for field, kind in fields.items():
            if not isinstance(entry, dict) or type(entry.get(field)) is not kind:
                raise ValueError(
                    f"annotations {path}: {part}[{number}] needs {field} of type {kind.__name__}; "
                    "correct the file"
                )


def _require_different(path: str, part: str, entries: Sequence[Any], field: str) -> None:
    for value, count in collections.Counter(entry[field] for entry in entries).items():
        if count > 1:
            raise ValueError(
                f"annotations {path}: {count} {part} have the {field} {value!r}; make them differ"
            )


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

    Pictures of which there is nothing to draw are left out.

    Attributes:
        annotations: the JSON file; its file names are relative to `folder`.
        categories: names of those that are drawn; empty takes all. The order decides the colors;
            all of the file's, by rising id, if empty.
    """

    drawing: ClassVar[str]

    annotations: str
    categories: tuple[str, ...] = ()

    @property
    def _listed(self) -> Coco:
        try:
            return read(self.annotations)
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
        listed, found = self._listed, files.by_stem(self.folder)
        keys = self._select(listed.images)
        missing = [listed.images[key]["file_name"] for key in keys if key not in found]
        if missing:
            raise ValueError(
                f"{self.name}: {files.listed(f'{self.name}: missing', missing)} of "
                f"{self.annotations} are not in {self.folder}; add the missing ones or list them "
                f"in {self.name}.exclude"
            )
        alone = sorted(found.keys() - listed.images.keys())
        if alone:
            logging.warning(
                "%s: %d images of %s are not in %s and left out: %s",
                self.name,
                len(alone),
                self.folder,
                self.annotations,
                files.listed(f"{self.name}: not listed", [found[key] for key in alone]),
            )
        made, unseen = [], []
        for key in keys:
            image = listed.images[key]
            shape = image["height"], image["width"]
            seen = []
            for entry in self._wanted(listed, image["id"]):
                if self._is_seen(shape, entry):
                    seen.append(entry)
                else:
                    unseen.append(str(entry.get("id")))
            shapes = self._shapes(shape, seen)
            if shapes is not None:
                made.append(self._drawn(key, found[key], shape, shapes))
        if unseen:
            logging.warning(
                "%s: %d %s of %s have no area or lie outside of their image and are left out; the "
                "first are of annotations %s",
                *(self.name, len(unseen), self.drawing, self.annotations, files.named(unseen)),
            )
        if not made:
            raise ValueError(
                f"{self.name}: {self.annotations} has no {self.drawing} for any of the "
                f"{len(keys)} images chosen; check {self.name}.categories and .include, or use "
                "another file"
            )
        if len(made) < len(keys):
            logging.info(
                "%s: %d of %d images have no %s and are left out",
                *(self.name, len(keys) - len(made), len(keys), self.drawing),
            )
        return tuple(made)

    @property
    def listings(self) -> Sequence[str]:
        return (self.annotations,)

    def _wanted(self, listed: Coco, image: int) -> list[Mapping[str, Any]]:
        entries = listed.annotations.get(image, ())
        return [entry for entry in entries if entry["category_id"] in self._labels]

    def _is_seen(self, shape: tuple[int, int], entry: Mapping[str, Any]) -> bool:
        """Whether an entry shows on a picture of (height, width)."""
        del shape, entry
        return True

    def _shapes(self, shape: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> Any:
        """What is drawn on a picture of (height, width), ready for JSON; None for nothing."""
        raise NotImplementedError

    def _mirrored(self, shapes: Any) -> Any:
        """What `_shapes` gave, for the mirrored picture."""
        return shapes

    def _drawn(self, key: str, path: str, shape: tuple[int, int], shapes: Any) -> DrawnPicture:
        text, mirrored = _to_json(shapes), self._mirrored(shapes)
        return DrawnPicture(
            key=key,
            path=path,
            shape=shape,
            shapes=text,
            mirrored=text if mirrored is shapes else _to_json(mirrored),
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxPairs(CocoPairs):
    """picture, the picture with the boxes of its objects, ...; crowds have none.

    Boxes without area and those outside of their picture are left out and counted in the log.
    """

    drawing = "boxes"

    kind: Literal["boxes"] = "boxes"

    def _is_seen(self, shape: tuple[int, int], entry: Mapping[str, Any]) -> bool:
        if entry.get("iscrowd") or entry.get("bbox") is None:
            return True  # it is no box
        box = entry["bbox"]
        if not _are_numbers(box) or len(box) != 4 or min(box[2:]) < 0:
            raise self._bad(
                entry,
                f"bbox={reprlib.repr(box)} must be [x, y, width, height], the sizes not negative",
            )
        x, y, width, height = box
        inside = x < shape[1] and y < shape[0] and x + width > 0 and y + height > 0
        return inside and width > 0 and height > 0

    def _shapes(self, shape: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> Any:
        del shape
        shapes = []
        for entry in entries:
            if entry.get("iscrowd") or entry.get("bbox") is None:
                continue
            shapes.append([self._labels[entry["category_id"]], *entry["bbox"]])
        return shapes or None


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeypointPairs(CocoPairs):
    """picture, the skeletons in it, ...

    All categories that are drawn must have the same joints and limbs. In a mirrored picture a left
    hand has become a right one: joints called left and right change places, so that colors keep
    their sides.

    Attributes:
        background: "black", or "picture" to draw over it.
    """

    drawing = "keypoints"

    kind: Literal["keypoints"] = "keypoints"
    background: Literal["black", "picture"] = "black"

    @functools.cached_property
    def _skeleton(self) -> tuple[list[str], list[list[int]]]:
        """Names of a body's joints, and (from, to) of its limbs, from 0."""
        categories = self._listed.categories
        found = {
            number: self._read_skeleton(entry)
            for number, entry in categories.items()
            if number in self._labels and entry.get("keypoints") not in (None, [])
        }
        if not found:
            raise ValueError(
                f"{self.name}: no category of {self.annotations} has keypoints; give a file with "
                "the names of joints"
            )
        skeleton, *others = found.values()
        if any(other != skeleton for other in others):
            names = ", ".join(categories[number]["name"] for number in found)
            raise ValueError(
                f"{self.name}: the categories {names} of {self.annotations} have different "
                f"skeletons; choose one in {self.name}.categories"
            )
        return skeleton

    def _read_skeleton(self, category: Mapping[str, Any]) -> tuple[list[str], list[list[int]]]:
        where = f"{self.name}: category {category['name']!r} of {self.annotations}"
        joints, limbs = category["keypoints"], category.get("skeleton", [])
        if not isinstance(joints, list) or not all(isinstance(name, str) for name in joints):
            raise ValueError(
                f"{where}: keypoints={reprlib.repr(joints)} must be a list of names of joints"
            )
        is_limb = lambda limb: (
            isinstance(limb, list)
            and len(limb) == 2
            and all(type(joint) is int and 1 <= joint <= len(joints) for joint in limb)
        )
        if not isinstance(limbs, list) or not all(map(is_limb, limbs)):
            raise ValueError(
                f"{where}: skeleton={reprlib.repr(limbs)} must be a list of [from, to], joints "
                f"counted 1..{len(joints)}; leave it out where there are no limbs"
            )
        return joints, [[start - 1, stop - 1] for start, stop in limbs]

    def _shapes(self, shape: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> Any:
        del shape
        joints, limbs = self._skeleton
        bodies = []
        for entry in entries:
            values = entry.get("keypoints")
            if values is None or (isinstance(values, list) and not any(values)):
                continue
            if not _are_numbers(values) or len(values) != 3 * len(joints):
                raise self._bad(
                    entry,
                    f"keypoints={reprlib.repr(values)} must be {3 * len(joints)} numbers, x, y, "
                    f"seen of {len(joints)} joints",
                )
            bodies.append([values[i : i + 3] for i in range(0, len(values), 3)])
        return {"skeleton": limbs, "bodies": bodies} if bodies else None

    def _mirrored(self, shapes: Any) -> Any:
        order = mirrored_joints(self._skeleton[0])
        if order == sorted(order):
            return shapes
        bodies = [[body[joint] for joint in order] for body in shapes["bodies"]]
        return {**shapes, "bodies": bodies}

    def _parameters(self) -> tuple[tuple[str, int | float | str], ...]:
        return (("background", self.background),)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationPairs(CocoPairs):
    """picture, its label map in colors, ...; `palette.decode` gives the labels back.

    Smaller segments lie on top of larger ones.
    """

    drawing = "segmentation"

    kind: Literal["segmentation"] = "segmentation"

    def _shapes(self, shape: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> Any:
        sized = []
        for entry in entries:
            segment = entry.get("segmentation")
            if not segment:
                continue
            self._check(entry, segment, shape)
            area = entry.get("area")
            if type(area) not in (int, float) or not 0 <= area < math.inf:
                raise self._bad(
                    entry,
                    f"area={reprlib.repr(area)} must be a number of pixels; it says which segments "
                    "lie on top",
                )
            sized.append((-area, self._labels[entry["category_id"]], segment))
        sized.sort(key=lambda item: item[0])
        return [[label, segment] for _, label, segment in sized] or None

    def _check(self, entry: Mapping[str, Any], segment: Any, shape: tuple[int, int]) -> None:
        if isinstance(segment, dict):
            try:
                coco_masks.decode(segment, shape)
            except ValueError as error:
                raise self._bad(entry, error) from error
        elif not isinstance(segment, list) or not all(
            _are_numbers(polygon) and len(polygon) >= 6 and len(polygon) % 2 == 0
            for polygon in segment
        ):
            raise self._bad(
                entry,
                f"segmentation={reprlib.repr(segment)} must be a list of polygons, each x, y of at "
                "least three corners",
            )


def mirrored_joints(names: Sequence[str]) -> list[int]:
    """For every joint, the one whose place it takes in a mirrored picture.

    left_hand takes that of right_hand and the other way round, if there are both.
    """
    places = {name.lower(): place for place, name in enumerate(names)}
    swapped = [_SIDE.sub(lambda side: _OTHER_SIDE[side[0]], name) for name in places]
    if len(places) < len(names):  # no telling which is whose
        return list(range(len(names)))
    return [places.get(other, place) for place, other in enumerate(swapped)]


_OTHER_SIDE = {"left": "right", "right": "left"}
_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])")


def _to_json(values: Any) -> str:
    return json.dumps(values, separators=(",", ":"))


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) in (int, float) and abs(value) < 1e6 for value in values
    )
