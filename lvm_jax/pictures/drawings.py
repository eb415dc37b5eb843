"""Boxes, skeletons and segments drawn from their coordinates, at the final size.

Coordinates are those of the whole picture; a `View` says which part of it is seen, so that drawings
follow crops and mirroring while lines keep their width.
Legend: H height, W width, S side in pixels.
"""

import colorsys
import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from lvm_jax.pictures import coco_masks, palette, raster


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """Which part of a picture a square image shows, in pixels of the picture.

    Attributes:
        left, top, width, height: the part.
        flip: mirrored left to right.
        size: S, side of the image.
    """

    left: float
    top: float
    width: float
    height: float
    flip: bool
    size: int

    def points(self, points: np.ndarray) -> np.ndarray:
        """Float x and y in the picture [P, 2] -> int64 256ths of a pixel of the image [P, 2]."""
        scale = np.array([self.size / self.width, self.size / self.height]) * raster.UNIT
        moved = np.rint((np.asarray(points, float) - [self.left, self.top]) * scale)
        # What lies far outside is not seen, and must not overflow when squared.
        result = np.clip(moved, -(1 << 26), 1 << 26).astype(np.int64)
        if self.flip:
            result[:, 0] = self.size * raster.UNIT - result[:, 0]
        return result

    def sample(self, values_HW: np.ndarray) -> np.ndarray:
        """The value at the centre of every pixel of the image: [H, W] -> [S, S]."""
        steps = (2 * np.arange(self.size) + 1) / (2 * self.size)
        rows = np.clip(np.floor(self.top + steps * self.height), 0, values_HW.shape[0] - 1)
        columns = np.clip(np.floor(self.left + steps * self.width), 0, values_HW.shape[1] - 1)
        seen = values_HW[rows.astype(int)[:, None], columns.astype(int)]
        return np.ascontiguousarray(seen[:, ::-1] if self.flip else seen)


def to_json(shapes: Any) -> str:
    """Shapes as the functions below take them."""
    return json.dumps(shapes, separators=(",", ":"))


def boxes(image: np.ndarray, view: View, *, shapes: str, num_labels: int) -> np.ndarray:
    """Frames over the picture, in `palette.line_colors` by label.

    Args:
        image: uint8 [S, S, 3].
        view: where it lies in the picture.
        shapes: JSON [[label, x, y, width, height], ...].
        num_labels: how many colors there are.
    """
    drawn = image.copy()
    thickness = max(raster.UNIT, view.size * raster.UNIT // 80)
    for label, x, y, width, height in json.loads(shapes):
        corners = view.points(np.array([[x, y], [x + width, y + height]]))
        (left, top), (right, bottom) = corners.min(0), corners.max(0)
        seen = raster.outline_box(left, top, right, bottom, thickness, *image.shape[:2])
        drawn[seen] = palette.line_colors(num_labels)[label]
    return drawn


def keypoints(image: np.ndarray, view: View, *, shapes: str, background: str) -> np.ndarray:
    """Skeletons: limbs and joints, each with a color of its own.

    Args:
        image: uint8 [S, S, 3].
        view: where it lies in the picture.
        shapes: JSON {"skeleton": [[from, to], ...], "bodies": [[[x, y, seen], ...], ...]}; joints
            are counted from 0, and those with seen = 0 are not drawn.
        background: "black", or "picture" to draw over it.
    """
    drawn = np.zeros_like(image) if background == "black" else image.copy()
    given = json.loads(shapes)
    limb, joint = (max(raster.UNIT // 2, view.size * raster.UNIT // n) for n in (80, 48))
    for body in given["bodies"]:
        points = [(int(x), int(y)) for x, y in view.points(np.array(body)[:, :2])]
        there = [bool(seen) for _, _, seen in body]
        for number, (start, stop) in enumerate(given["skeleton"]):
            if there[start] and there[stop]:
                line = raster.fill_line(points[start], points[stop], limb, *image.shape[:2])
                # The joints lie on top.
                drawn[line] = limb_color(number, len(given["skeleton"]))
        for number, point in enumerate(points):
            if there[number]:
                disk = raster.fill_disk(point, joint, *image.shape[:2])
                drawn[disk] = joint_color(number, len(points))
    return drawn


def segmentation(image: np.ndarray, view: View, *, shapes: str, num_labels: int) -> np.ndarray:
    """A label map in colors; `palette.decode` gives the labels back.

    Args:
        image: uint8 [S, S, 3], of which nothing is seen.
        view: where it lies in the picture.
        shapes: JSON [[label, segment], ...], a segment as in COCO: a list of polygons
            [x, y, x, y, ...] or a run-length code. Later ones lie on top.
        num_labels: colors in the palette.
    """
    labels_SS = np.zeros(image.shape[:2], np.int64)
    for label, segment in json.loads(shapes):
        if isinstance(segment, dict):
            labels_SS[view.sample(coco_masks.decode(segment))] = label
        else:
            for polygon in segment:
                points = view.points(np.array(polygon).reshape(-1, 2))
                labels_SS[raster.fill_polygon(points, *image.shape[:2])] = label
    return palette.encode(labels_SS, num_labels)


def joint_color(number: int, total: int) -> np.ndarray:
    """Of joint `number` of `total` in `keypoints`: int64 [3]."""
    return rainbow(number, total)


def limb_color(number: int, total: int) -> np.ndarray:
    """Of limb `number` of `total` in `keypoints`, darker than any joint's: int64 [3]."""
    return rainbow(number, total) * 3 // 5


@functools.lru_cache(maxsize=1024)
def rainbow(number: int, total: int) -> np.ndarray:
    """Color `number` of `total` around the color circle: int64 [3]."""
    return np.rint(np.array(colorsys.hsv_to_rgb(number / max(total, 1), 1, 1)) * 255).astype(int)


DRAWINGS: dict[str, Callable[..., np.ndarray]] = {
    "boxes": boxes,
    "keypoints": keypoints,
    "segmentation": segmentation,
}
