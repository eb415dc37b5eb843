"""COCO-style JSON -> pairs of a picture and its boxes, skeletons or segments."""

import dataclasses
import functools
import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lvm_jax.sentences import coco_shows
from lvm_jax.sentences.coco_pairs import CocoPairs
from lvm_jax.sentences.coco_turns import Turn


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxPairs(CocoPairs):
    """picture, the picture with the boxes of its objects, ...; crowds have none."""

    drawing = "boxes"

    kind: Literal["boxes"] = "boxes"

    def _part(self, entry: Mapping[str, Any], shape: tuple[int, int]) -> tuple[Any, str]:
        if entry.get("iscrowd") or entry.get("bbox") in (None, []):
            return None, ""
        box = entry["bbox"]
        if not _are_numbers(box) or len(box) != 4 or min(box[2:]) < 0:
            raise self._bad(
                entry,
                f"bbox={reprlib.repr(box)} must be [x, y, width, height], the sizes not negative",
            )
        reason = coco_shows.box(box, shape)
        return (None, reason) if reason else ([self._labels[entry["category_id"]], *box], "")

    def _turned(self, part: list[Any], turn: Turn) -> Any:
        return [part[0], *turn.box(part[1:])]


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

    def _part(self, entry: Mapping[str, Any], shape: tuple[int, int]) -> tuple[Any, str]:
        joints, limbs = self._skeleton
        values = entry.get("keypoints")
        # All zeros is how COCO says that there are none.
        if values is None or (isinstance(values, list) and not any(values)):
            return None, ""
        if not _are_numbers(values) or len(values) != 3 * len(joints):
            raise self._bad(
                entry,
                f"keypoints={reprlib.repr(values)} must be {3 * len(joints)} numbers, x, y, "
                f"seen of {len(joints)} joints",
            )
        body = [values[i : i + 3] for i in range(0, len(values), 3)]
        reason = coco_shows.body(body, limbs, shape)
        return (None, reason) if reason else (body, "")

    def _turned(self, part: list[list[float]], turn: Turn) -> Any:
        body = [[*turn.point(x, y), seen] for x, y, seen in part]
        order = mirrored_joints(self._skeleton[0])
        return [body[joint] for joint in order] if turn.mirrors else body

    def _shapes(self, parts: list[Any]) -> Any:
        return {"skeleton": self._skeleton[1], "bodies": parts}

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

    def _part(self, entry: Mapping[str, Any], shape: tuple[int, int]) -> tuple[Any, str]:
        segment = entry.get("segmentation")
        if not segment:
            return None, ""
        seen, reason = self._seen(entry, segment, shape)
        area = entry.get("area")
        if type(area) not in (int, float) or not 0 <= area < math.inf:
            raise self._bad(
                entry,
                f"area={reprlib.repr(area)} must be a number of pixels; it says which segments "
                "lie on top",
            )
        label = self._labels[entry["category_id"]]
        return (None if seen is None else (-area, label, seen)), reason

    def _seen(
        self, entry: Mapping[str, Any], segment: Any, shape: tuple[int, int]
    ) -> tuple[Any, str]:
        """The segment without polygons that show nothing, if anything shows; and why not all."""
        if isinstance(segment, dict):
            try:
                reason = coco_shows.mask(segment, shape)
            except ValueError as error:
                raise self._bad(entry, error) from error
            return (None if reason else segment), reason
        if not isinstance(segment, list) or not all(
            _are_numbers(polygon) and len(polygon) % 2 == 0 and len(polygon) not in (2, 4)
            for polygon in segment
        ):
            raise self._bad(
                entry,
                f"segmentation={reprlib.repr(segment)} must be a list of polygons, each x, y of at "
                "least three corners",
            )
        reasons = [coco_shows.polygon(polygon, shape) for polygon in segment]
        seen = [polygon for polygon, reason in zip(segment, reasons) if not reason]
        if not seen:
            return None, reasons[0]
        return seen, "in part" if len(seen) < len(segment) else ""

    def _turned(self, part: tuple[float, int, Any], turn: Turn) -> Any:
        return *part[:2], turn.segment(part[2])

    def _shapes(self, parts: list[Any]) -> Any:
        ordered = sorted(parts, key=lambda part: part[0])
        return [[label, segment] for _, label, segment in ordered]


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


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) in (int, float) and abs(value) < 1e6 for value in values
    )
