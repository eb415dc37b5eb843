"""Coordinates in pictures as they are stored -> in pictures as they are shown, upright.

The orientation tag of a file (EXIF's 1..8) says how its stored pixels are turned and mirrored to be
upright. Legend: H height, W width in pixels.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from lvm_jax.image_formats import image_files
from lvm_jax.image_formats.metadata import UPRIGHT
from lvm_jax.pictures import aspect, coco_masks

Coordinates = Literal["upright", "stored"]
_MIRRORED = (2, 4, 5, 7)
_LYING = (5, 6, 7, 8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    """What makes a picture upright.

    Attributes:
        orientation: 1..8.
        height, width: of the stored picture, in the pixels of the coordinates.
    """

    orientation: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        size = self.height, self.width
        return size[::-1] if self.orientation in _LYING else size

    @property
    def mirrors(self) -> bool:
        """Whether left and right change places in what is seen."""
        return self.orientation in _MIRRORED

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the stored picture is in the upright one."""
        right, down = self.width - x, self.height - y
        turned = ((x, y), (right, y), (right, down), (x, down))
        lying = ((y, x), (down, x), (down, right), (y, right))
        return (turned + lying)[self.orientation - 1]

    def box(self, values: Sequence[float]) -> list[float]:
        """The same of [x, y, width, height]."""
        x, y, width, height = values
        (x0, y0), (x1, y1) = self.point(x, y), self.point(x + width, y + height)
        size = (height, width) if self.orientation in _LYING else (width, height)
        return [min(x0, x1), min(y0, y1), *size]

    def segment(self, segment: Any) -> Any:
        """The same of a list of polygons or a run-length code."""
        if isinstance(segment, Mapping):
            mask_HW = coco_masks.decode(segment).astype("uint8")
            return coco_masks.encode(image_files.upright(mask_HW, self.orientation).astype(bool))
        return [
            [value for x, y in zip(polygon[::2], polygon[1::2]) for value in self.point(x, y)]
            for polygon in segment
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Orientations:
    """What files say about the coordinates of their annotations.

    Attributes:
        turns: key -> what makes a picture upright, of those that are not stored so.
        refused: paths whose size says that coordinates are the other way.
        unknown: paths with an orientation, of which the size does not tell.
    """

    turns: dict[str, Turn]
    refused: list[str]
    unknown: list[str]


def orientations(
    pictures: Iterable[tuple[str, str, tuple[int, int]]], coordinates: Coordinates
) -> Orientations:
    """Looks at the headers of pictures.

    Args:
        pictures: (key, path, (height, width) that its annotations are for).
        coordinates: what they refer to.
    """
    pictures = list(pictures)
    said = Orientations(turns={}, refused=[], unknown=[])
    headers = aspect.headers([path for _, path, _ in pictures])
    for (key, path, shape), header in zip(pictures, headers):
        if header is None or header.orientation == UPRIGHT:
            continue  # whoever reads the picture says what is wrong with it
        turn = Turn(orientation=header.orientation, height=shape[0], width=shape[1])
        if coordinates == "stored":
            said.turns[key] = turn
        says = _what_size_says(turn, shape, (header.height, header.width))
        if says is None:
            said.unknown.append(path)
        elif says not in ("neither", coordinates):
            said.refused.append(path)
    return said


def _what_size_says(turn: Turn, shape: tuple[int, int], upright: tuple[int, int]) -> str | None:
    """Which of the two pictures annotations of this shape are of; None where both may be meant."""
    fits = {
        "upright": aspect.is_same(shape, upright),
        "stored": aspect.is_same(turn.shape, upright),
    }
    if turn.orientation not in _LYING or all(fits.values()):
        exact = {"upright": shape == upright, "stored": turn.shape == upright}
        return next((name for name in exact if exact[name] and sum(exact.values()) == 1), None)
    return next((name for name, fit in fits.items() if fit), "neither")
