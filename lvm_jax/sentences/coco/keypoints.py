"""Skeletons of bodies."""

import dataclasses
import functools
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lvm_jax.sentences.coco import file, shows
from lvm_jax.sentences.coco.drawn import Chosen, DrawnPicture, Shapes
from lvm_jax.sentences.coco.relation import Drawing
from lvm_jax.sentences.coco.turns import Turn
from lvm_jax.sentences.squares import Parameters

_OTHER_SIDE = {"left": "right", "right": "left"}
_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])")

Body = list[list[float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keypoints(Drawing):
    """picture, the skeletons in it, ...

    All categories that are drawn must have the same joints and limbs. In a mirrored picture a left
    hand has become a right one: joints called left and right change places, so that colors keep
    their sides.

    Attributes:
        background: "black", or "picture" to draw over it.
    """

    drawing = "keypoints"

    background: Literal["black", "picture"] = "black"

    def shapes(self, chosen: Chosen) -> Shapes:
        return BodyShapes(chosen)

    def parameters(self, item: DrawnPicture) -> Parameters:
        return (("background", self.background),)


@dataclasses.dataclass(frozen=True)
class BodyShapes:
    """`drawn.Shapes` of skeletons; a part is a body: [x, y, seen] of every joint."""

    chosen: Chosen

    @functools.cached_property
    def _skeleton(self) -> tuple[list[str], list[list[int]]]:
        """Names of a body's joints, and (from, to) of its limbs, from 0."""
        name, listed = self.chosen.name, self.chosen.listed
        skeletons = {
            entry["name"]: self._read_skeleton(entry)
            for number, entry in listed.categories.items()
            if number in self.chosen.labels and entry.get("keypoints") not in (None, [])
        }
        if not skeletons:
            raise ValueError(
                f"{name}: no category of {listed.path} has keypoints; give a file with the names "
                "of joints"
            )
        skeleton, *others = skeletons.values()
        if any(other != skeleton for other in others):
            raise ValueError(
                f"{name}: the categories {', '.join(skeletons)} of {listed.path} have different "
                f"skeletons; choose one in {name}.categories"
            )
        return skeleton

    def _read_skeleton(self, category: Mapping[str, Any]) -> tuple[list[str], list[list[int]]]:
        where = f"{self.chosen.name}: category {category['name']!r} of {self.chosen.listed.path}"
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

    def part(self, entry: Mapping[str, Any], shape: tuple[int, int]) -> tuple[Any, str]:
        joints, limbs = self._skeleton
        values = entry.get("keypoints")
        # All zeros is how COCO says that there are none.
        if values is None or (isinstance(values, list) and not any(values)):
            return None, ""
        if not file.are_numbers(values) or len(values) != 3 * len(joints):
            raise self.chosen.bad(
                entry,
                f"keypoints={reprlib.repr(values)} must be {3 * len(joints)} numbers, x, y, "
                f"seen of {len(joints)} joints",
            )
        body = [values[i : i + 3] for i in range(0, len(values), 3)]
        reason = shows.body(body, limbs, shape)
        return (None, reason) if reason else (body, "")

    def turned(self, part: Body, turn: Turn) -> Body:
        body = [[*turn.point(x, y), seen] for x, y, seen in part]
        order = mirrored_joints(self._skeleton[0])
        return [body[joint] for joint in order] if turn.mirrors else body

    def together(self, parts: list[Body]) -> Any:
        return {"skeleton": self._skeleton[1], "bodies": parts}

    def mirrored(self, shapes: Any) -> Any:
        order = mirrored_joints(self._skeleton[0])
        if order == sorted(order):
            return shapes
        bodies = [[body[joint] for joint in order] for body in shapes["bodies"]]
        return {**shapes, "bodies": bodies}


def mirrored_joints(names: Sequence[str]) -> list[int]:
    """For every joint, the one whose place it takes in a mirrored picture.

    left_hand takes that of right_hand and the other way round, if there are both.
    """
    places = {name.lower(): place for place, name in enumerate(names)}
    swapped = [_SIDE.sub(lambda side: _OTHER_SIDE[side[0]], name) for name in places]
    if len(places) < len(names):  # no telling which is whose
        return list(range(len(names)))
    return [places.get(other, place) for place, other in enumerate(swapped)]
