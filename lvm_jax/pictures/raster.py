"""Shapes -> pixels, in whole numbers, so that they are the same on every machine.

Coordinates are in 256ths of a pixel, x to the right and y down from the top left corner; the centre
of the first pixel is (128, 128).
Legend: H height, W width in pixels; P points.
"""

import math

import numpy as np

UNIT = 256
_HALF = UNIT // 2


def fill_polygon(points_P2: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels whose centres lie inside a polygon (even-odd): int64 [P, 2] -> bool [H, W]."""
    starts, stops = points_P2, np.roll(points_P2, -1, axis=0)
    down = (starts[:, 1] <= stops[:, 1])[:, None]
    upper, lower = np.where(down, starts, stops), np.where(down, stops, starts)
    # Rows whose centre lies in [upper, lower): a corner belongs to one of its two sides.
    first, last = (np.clip(-((_HALF - y) // UNIT), 0, height) for y in (upper[:, 1], lower[:, 1]))
    sides = np.repeat(np.arange(len(points_P2)), last - first)
    rows = np.arange(len(sides)) - np.repeat(np.cumsum(last - first) - last, last - first)
    (x0, y0), (x1, y1) = upper[sides].T, lower[sides].T
    # The first column whose centre is not left of the crossing; both divisions round up.
    x = x0 - (rows * UNIT + _HALF - y0) * (x0 - x1) // (y1 - y0)
    columns = np.clip(-((_HALF - x) // UNIT), 0, width)
    crossings = np.bincount(rows * (width + 1) + columns, minlength=height * (width + 1))
    crossings_HW = crossings.reshape(height, width + 1)[:, :width]
    return np.cumsum(crossings_HW, axis=1) % 2 == 1


def fill_disk(center: tuple[int, int], radius: int, height: int, width: int) -> np.ndarray:
    """The pixels whose centres lie within `radius` of a point: bool [H, W]."""
    y, x = _centers(height, width)
    return (x - center[0]) ** 2 + (y - center[1]) ** 2 <= radius**2


def fill_line(
    start: tuple[int, int], stop: tuple[int, int], radius: int, height: int, width: int
) -> np.ndarray:
    """The pixels whose centres lie within `radius` of a segment: bool [H, W]."""
    y, x = _centers(height, width)
    dx, dy = stop[0] - start[0], stop[1] - start[1]
    square = dx * dx + dy * dy
    along = (x - start[0]) * dx + (y - start[1]) * dy
    across = np.abs((x - start[0]) * dy - (y - start[1]) * dx)
    beside = (along >= 0) & (along <= square) & (across <= radius * math.isqrt(square))
    ends = fill_disk(start, radius, height, width) | fill_disk(stop, radius, height, width)
    return (beside & (square > 0)) | ends


def outline_box(
    left: int, top: int, right: int, bottom: int, thickness: int, height: int, width: int
) -> np.ndarray:
    """The frame of a box, `thickness` inwards: bool [H, W]."""
    y, x = _centers(height, width)
    outer = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    inner = (x >= left + thickness) & (x < right - thickness)
    return outer & ~(inner & (y >= top + thickness) & (y < bottom - thickness))


def _centers(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(y [H, 1], x [1, W]) of the centres of pixels."""
    y, x = (np.arange(size, dtype=np.int64) * UNIT + _HALF for size in (height, width))
    return y[:, None], x[None, :]
