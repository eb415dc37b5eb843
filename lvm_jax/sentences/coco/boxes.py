"""Boxes of objects."""

import dataclasses
import reprlib
from collections.abc import Mapping
from typing import Any

from lvm_jax.sentences.coco import file, shows
from lvm_jax.sentences.coco.drawn import Chosen, Shapes
from lvm_jax.sentences.coco.relation import Drawing
from lvm_jax.sentences.coco.turns import Turn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Boxes(Drawing):
    """picture, the picture with the boxes of its objects, ...; crowds have none."""

    drawing = "boxes"

    def shapes(self, chosen: Chosen) -> Shapes:
        return BoxShapes(chosen)


@dataclasses.dataclass(frozen=True)
class BoxShapes:
    """`drawn.Shapes` of boxes; a part is [label, x, y, width, height]."""

    chosen: Chosen

    def part(self, entry: Mapping[str, Any], shape: tuple[int, int]) -> tuple[Any, str]:
        if entry.get("iscrowd") or entry.get("bbox") in (None, []):
            return None, ""
        box = entry["bbox"]
        if not file.are_numbers(box) or len(box) != 4 or min(box[2:]) < 0:
            raise self.chosen.bad(
                entry,
                f"bbox={reprlib.repr(box)} must be [x, y, width, height], the sizes not negative",
            )
        reason = shows.box(box, shape)
        return (None, reason) if reason else ([self.chosen.labels[entry["category_id"]], *box], "")

    def turned(self, part: list[Any], turn: Turn) -> list[Any]:
        return [part[0], *turn.box(part[1:])]

    def together(self, parts: list[Any]) -> Any:
        return parts

    def mirrored(self, shapes: Any) -> Any:
        return shapes
