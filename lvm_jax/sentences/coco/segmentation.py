"""Segments of objects as a label map."""

import dataclasses
import math
import reprlib
from collections.abc import Mapping
from typing import Any

from lvm_jax.sentences.coco import file, shows
from lvm_jax.sentences.coco.drawn import Chosen, Shapes
from lvm_jax.sentences.coco.relation import Drawing
from lvm_jax.sentences.coco.turns import Turn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation(Drawing):
    """picture, its label map in colors, ...; `palette.decode` gives the labels back.

    Smaller segments lie on top of larger ones.
    """

    drawing = "segmentation"

    def shapes(self, chosen: Chosen) -> Shapes:
        return SegmentShapes(chosen)


@dataclasses.dataclass(frozen=True)
class SegmentShapes:
    """`drawn.Shapes` of segments; a part is (-area, label, polygons or run-length code)."""

    chosen: Chosen

    def part(self, entry: Mapping[str, Any], shape: tuple[int, int]) -> tuple[Any, str]:
        segment = entry.get("segmentation")
        if not segment:
            return None, ""
        seen, reason = self._seen(entry, segment, shape)
        area = entry.get("area")
        is_number = isinstance(area, int | float) and not isinstance(area, bool)
        if not is_number or not 0 <= area < math.inf:
            raise self.chosen.bad(
                entry,
                f"area={reprlib.repr(area)} must be a number of pixels; it says which segments "
                "lie on top",
            )
        label = self.chosen.labels[entry["category_id"]]
        return (None if seen is None else (-area, label, seen)), reason

    def _seen(
        self, entry: Mapping[str, Any], segment: Any, shape: tuple[int, int]
    ) -> tuple[Any, str]:
        """The segment without polygons that show nothing, if anything shows; and why not all."""
        if isinstance(segment, dict):
            try:
                reason = shows.mask(segment, shape)
            except ValueError as error:
                raise self.chosen.bad(entry, error) from error
            return (None if reason else segment), reason
        if not isinstance(segment, list) or not all(
            file.are_numbers(polygon) and len(polygon) % 2 == 0 and len(polygon) not in (2, 4)
            for polygon in segment
        ):
            raise self.chosen.bad(
                entry,
                f"segmentation={reprlib.repr(segment)} must be a list of polygons, each x, y of at "
                "least three corners",
            )
        reasons = [shows.polygon(polygon, shape) for polygon in segment]
        seen = [polygon for polygon, reason in zip(segment, reasons) if not reason]
        if not seen:
            return None, reasons[0]
        return seen, "in part" if len(seen) < len(segment) else ""

    def turned(self, part: tuple[float, int, Any], turn: Turn) -> tuple[float, int, Any]:
        area, label, segment = part
        return area, label, turn.segment(segment)

    def together(self, parts: list[Any]) -> Any:
        ordered = sorted(parts, key=lambda part: part[0])
        return [[label, segment] for _, label, segment in ordered]

    def mirrored(self, shapes: Any) -> Any:
        return shapes
