"""COCO-style JSON -> pairs of a picture and its boxes, skeletons or segments.

One file lists pictures (`images`), what is in them (`annotations`) and its classes (`categories`).
"""

import collections
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from absl import logging

from lvm_jax.sentences import coco_masks, files
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
        ) from (error)
    return _read(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _read(path: str, size: int, changed: int) -> Coco:
    del size, changed
    try:
        values = json.loads(pathlib.Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"annotations {path} are no JSON: {error}") from error
    if not isinstance(values, dict) or not all(
        isinstance(values.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise ValueError(f"annotations {path} need lists images, annotations and categories")
    _require(path, "images", values["images"], {"id": int, "file_name": str} | _SIZES)
    _require(path, "categories", values["categories"], {"id": int, "name": str})
    _require(path, "annotations", values["annotations"], {"image_id": int, "category_id": int})
    images: dict[str, Any] = {}
    ids = collections.Counter(entry["id"] for entry in values["images"])
    for number, count in ids.items():
        if count > 1:
            raise ValueError(f"annotations {path}: {count} images have the id {number}")
    for entry in values["images"]:
        key = pathlib.PurePosixPath(entry["file_name"]).with_suffix("").as_posix()
        if images.setdefault(key, entry) is not entry:
            raise ValueError(f"annotations {path}: two images are called {key!r}")
    categories = {entry["id"]: entry for entry in values["categories"]}
    known = {entry["id"] for entry in images.values()}
    annotations: dict[int, list[Any]] = {}
    for entry in values["annotations"]:
        if entry["image_id"] not in known or entry["category_id"] not in categories:
            raise ValueError(
                f"annotations {path}: annotation {entry.get('id')} is of image "
                f"{entry['image_id']} and category {entry['category_id']}; not both are listed"
            )
        annotations.setdefault(entry["image_id"], []).append(entry)
    return Coco(
        path=path,
        images=images,
        annotations=annotations,
        categories=dict(sorted(categories.items())),
    )


_SIZES = {"height": int, "width": int}


def _require(path: str, part: str, entries: Sequence[Any], fields: Mapping[str, type]) -> None:
    for number, entry in enumerate(entries):
        for field, kind in fields.items():
            if not isinstance(entry, dict) or type(entry.get(field)) is not kind:
                raise ValueError(
                    f"annotations {path}: {part}[{number}] needs {field} of type {kind.__name__}"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnPicture:
    """A picture and what is drawn of it.

    Attributes:
        key: name relative to the folder, without extension.
        path: the picture.
        shape: (height, width) that coordinates refer to.
        shapes: JSON, as `drawings` wants it.
    """

    key: str
    path: str
    shape: tuple[int, int]
    shapes: str

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

    @functools.cached_property
    def _labels(self) -> dict[int, int]:
        """Id of a category -> label, from 1."""
        listed = read(self.annotations).categories
        if not self.categories:
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
        listed, found = read(self.annotations), files.by_stem(self.folder)
        keys = self._select(listed.images)
        missing = [listed.images[key]["file_name"] for key in keys if key not in found]
        if missing:
            raise ValueError(
                f"{self.name}: {files.named(missing)} of {self.annotations} are not in "
                f"{self.folder}; add the missing ones or list them in {self.name}.exclude"
            )
        alone = sorted(found.keys() - listed.images.keys())
        if alone:
            logging.warning(
                "%s: %d images of %s are not in %s and left out: %s",
                self.name,
                len(alone),
                self.folder,
                self.annotations,
                files.named(alone),
            )
        made = []
        for key in keys:
            image = listed.images[key]
            shape = image["height"], image["width"]
            shapes = self._shapes(shape, self._wanted(listed, image["id"]))
            if shapes is not None:
                text = json.dumps(shapes, separators=(",", ":"))
                made.append(DrawnPicture(key=key, path=found[key], shape=shape, shapes=text))
        if not made:
            raise ValueError(
                f"{self.name}: {self.annotations} has no {self.drawing} for any of the "
                f"{len(keys)} images chosen"
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

    def _shapes(self, shape: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> Any:
        """What is drawn on a picture of (height, width), ready for JSON; None for nothing."""
        raise NotImplementedError

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
        parameters = (("shapes", item.shapes), *self._parameters())
        drawn = dataclasses.replace(picture, derivation=self.drawing, parameters=parameters)
        return [picture, drawn]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxPairs(CocoPairs):
    """picture, the picture with the boxes of its objects, ...; crowds have none."""

    drawing = "boxes"

    kind: Literal["boxes"] = "boxes"

    def _shapes(self, shape: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> Any:
        del shape
        shapes = []
        for entry in entries:
            if entry.get("iscrowd") or entry.get("bbox") is None:
                continue
            if not _are_numbers(entry["bbox"]) or len(entry["bbox"]) != 4:
                raise self._bad(entry, f"bbox={entry['bbox']} must be [x, y, width, height]")
            shapes.append([self._labels[entry["category_id"]], *entry["bbox"]])
        return shapes or None


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeypointPairs(CocoPairs):
    """picture, the skeletons in it, ...

    All categories that are drawn must have the same joints and limbs.

    Attributes:
        background: "black", or "picture" to draw over it.
    """

    drawing = "keypoints"

    kind: Literal["keypoints"] = "keypoints"
    background: Literal["black", "picture"] = "black"

    @functools.cached_property
    def _skeleton(self) -> tuple[int, list[list[int]]]:
        """Joints of a body, and (from, to) of its limbs, from 0."""
        categories = read(self.annotations).categories
        found = {
            number: (len(entry["keypoints"]), entry.get("skeleton", []))
            for number, entry in categories.items()
            if number in self._labels and entry.get("keypoints")
        }
        if not found:
            raise ValueError(f"{self.name}: no category of {self.annotations} has keypoints")
        (joints, limbs), *others = found.values()
        if any(other != (joints, limbs) for other in others):
            names = ", ".join(categories[number]["name"] for number in found)
            raise ValueError(
                f"{self.name}: the categories {names} of {self.annotations} have different "
                f"skeletons; choose one in {self.name}.categories"
            )
        if any(len(limb) != 2 or not all(1 <= joint <= joints for joint in limb) for limb in limbs):
            raise ValueError(
                f"{self.name}: the skeleton of {self.annotations} names joints beyond 1..{joints}"
            )
        return joints, [[start - 1, stop - 1] for start, stop in limbs]

    def _shapes(self, shape: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> Any:
        del shape
        joints, limbs = self._skeleton
        bodies = []
        for entry in entries:
            values = entry.get("keypoints") or []
            if isinstance(values, list) and not any(values):
                continue
            if not _are_numbers(values) or len(values) != 3 * joints:
                raise self._bad(
                    entry, f"{len(values)} numbers are not x, y, seen of {joints} joints"
                )
            bodies.append([values[i : i + 3] for i in range(0, len(values), 3)])
        return {"skeleton": limbs, "bodies": bodies} if bodies else None

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
            if not isinstance(area, int | float):
                raise self._bad(entry, f"area={area!r} must say which segments lie on top")
            sized.append((-area, self._labels[entry["category_id"]], segment))
        sized.sort(key=lambda item: item[0])
        return [[label, segment] for _, label, segment in sized] or None

    def _check(self, entry: Mapping[str, Any], segment: Any, shape: tuple[int, int]) -> None:
        if isinstance(segment, dict):
            try:
                mask_HW = coco_masks.decode(segment)
            except ValueError as error:
                raise self._bad(entry, error) from error
            if mask_HW.shape != shape:
                raise self._bad(entry, f"its mask is {mask_HW.shape}, its image {shape}")
        elif not isinstance(segment, list) or not all(
            _are_numbers(polygon) and len(polygon) >= 6 and len(polygon) % 2 == 0
            for polygon in segment
        ):
            raise self._bad(entry, "a polygon needs x, y of at least three corners")


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int | float) and abs(value) < 1e6 for value in values
    )
