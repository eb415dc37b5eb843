"""Whether boxes, skeletons and segments show on the whole of their picture.

What a drawing may lose where a sentence shows a square of the picture is not looked at. A function
gives "" for what shows, or else why it does not.
Legend: H height, W width in pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lvm_jax.pictures import coco_masks, drawings, raster

OUTSIDE = "outside of their image"
NO_AREA = "without area"
EMPTY = "empty"
_SIDE = 256
# Pixels per side of the part of a polygon's box that lies in the picture; what shows in none of
# them would hardly do so in an image of that size.
_GRID = 1024


def box(values: Sequence[float], shape: tuple[int, int]) -> str:
    """Of the frame of a box [x, y, width, height] on a picture of (height, width)."""
    x, y, width, height = values
    if not (width > 0 and height > 0):
        return NO_AREA
    if not (x < shape[1] and y < shape[0] and x + width > 0 and y + height > 0):
        return OUTSIDE
    if any(0 <= at <= shape[1] for at in (x, x + width)):
        return ""
    if any(0 <= at <= shape[0] for at in (y, y + height)):
        return ""
    # The picture lies inside of the frame, unless that is thicker than it is far.
    shapes = drawings.to_json([[0, *values]])
    blank = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    drawn = drawings.boxes(blank, _whole(shape), shapes=shapes, num_labels=1)
    return "" if (drawn != blank).any() else OUTSIDE


def body(
    joints: Sequence[Sequence[float]], limbs: Sequence[Sequence[int]], shape: tuple[int, int]
) -> str:
    """Of a skeleton of joints [x, y, seen] and limbs [from, to], counted from 0."""
    labelled = [(x, y) for x, y, seen in joints if seen]
    if not labelled:
        return "without a labelled joint"
    if any(0 <= x <= shape[1] and 0 <= y <= shape[0] for x, y in labelled):
        return ""
    shapes = drawings.to_json({"skeleton": limbs, "bodies": [joints]})
    blank = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    drawn = drawings.keypoints(blank, _whole(shape), shapes=shapes, background="black")
    return "" if drawn.any() else OUTSIDE


def mask(code: Mapping[str, Any], shape: tuple[int, int]) -> str:
    """Of a run-length code.

    Raises:
        ValueError: no such code, or one of another shape.
    """
    return "" if coco_masks.decode(code, shape).any() else EMPTY


def polygon(values: Sequence[float], shape: tuple[int, int]) -> str:
    """Of the inside of a polygon [x, y, x, y, ...]; some files have one without corners."""
    if not values:
        return EMPTY
    xs, ys = values[::2], values[1::2]
    left, right = max(min(xs), 0), min(max(xs), shape[1])
    top, bottom = max(min(ys), 0), min(max(ys), shape[0])
    if left < right and top < bottom and _shows_in_row(xs, ys, (top + bottom) / 2, left, right):
        return ""  # as almost all do
    points = np.array(values, float).reshape(-1, 2)
    if _is_line(points):
        return NO_AREA
    if left < right and top < bottom:
        part = {"left": left, "top": top, "width": right - left, "height": bottom - top}
        view = drawings.View(**part, flip=False, size=_GRID)
        if raster.fill_polygon(view.points(points), _GRID, _GRID).any():
            return ""
    inside = (points >= 0).all() and (points <= [shape[1], shape[0]]).all()
    return NO_AREA if inside else OUTSIDE


def _shows_in_row(
    xs: Sequence[float], ys: Sequence[float], row: float, left: float, right: float
) -> bool:
    """Whether more than a pixel of a line across the grid lies inside."""
    corners = list(zip(xs, ys))
    crossings = sorted(
        x0 + (row - y0) * (x1 - x0) / (y1 - y0)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1])
        if (y0 <= row) != (y1 <= row)
    )
    return any(
        min(stop, right) - max(start, left) > (right - left) / _GRID
        for start, stop in zip(crossings[::2], crossings[1::2])
    )


def _is_line(points: np.ndarray) -> bool:
    """Whether points lie on one line, but for how numbers are rounded."""
    from_first = points - points[0]
    far = from_first[np.argmax((from_first**2).sum(1))]
    across = from_first[:, 0] * far[1] - from_first[:, 1] * far[0]
    return bool((np.abs(across) <= 1e-9 * (far**2).sum()).all())


def _whole(shape: tuple[int, int]) -> drawings.View:
    return drawings.View(left=0, top=0, width=shape[1], height=shape[0], flip=False, size=_SIDE)
