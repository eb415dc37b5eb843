"""Depth drawn as colors, and back.

Legend: H height, W width in pixels; N colors of a code.
"""

import dataclasses
import functools
import math
from typing import Literal

import matplotlib
import matplotlib.colors
import numpy as np

from lvm_jax.configs import ConfigError, Field
from lvm_jax.pictures import palette


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthCode:
    """Which color stands for which depth.

    Attributes:
        colormap: a name that matplotlib knows, such as "gray", "viridis" or "inferno".
        near, far: the depths at the two ends, in any unit, such as metres.
        near_at, far_at: the places of the two ends in the colormap, in [0, 1]; 1 is white in
            "gray".
        scale: what grows evenly along the colormap: "depth", "inverse" depth, or its "log".
        nothing: the color of pixels without depth, such as "black" or "#ff00ff"; "" if every pixel
            has one. A pixel is one of them if this is nearer to its color than any of the code.
    """

    colormap: str = "gray"
    near: float = 1.0
    far: float = 10.0
    near_at: float = 1.0
    far_at: float = 0.0
    scale: Literal["depth", "inverse", "log"] = "depth"
    nothing: str = ""

    def __post_init__(self):
        if self.colormap not in matplotlib.colormaps:
            raise ConfigError(
                Field("colormap"),
                f"={self.colormap!r} is no colormap of matplotlib; use one such as 'gray'",
            )
        if not 0 < self.near < self.far:
            raise ConfigError(
                Field("near"), f"={self.near} must be positive and less than far={self.far}"
            )
        if self.near_at == self.far_at or not all(0 <= p <= 1 for p in (self.near_at, self.far_at)):
            raise ConfigError(
                Field("near_at"),
                f"={self.near_at} and far_at={self.far_at} must differ and lie in 0..1",
            )
        if self.nothing and not matplotlib.colors.is_color_like(self.nothing):
            raise ConfigError(
                Field("nothing"), f"={self.nothing!r} is no color; use a name or #rrggbb"
            )
        if len(self._places) < 2:
            raise ConfigError(
                Field("near_at"),
                f"={self.near_at} and far_at={self.far_at} are one color of {self.colormap!r}",
            )

    @functools.cached_property
    def _nothing(self) -> np.ndarray:
        """uint8 [3]; black where there is no such color."""
        color = matplotlib.colors.to_rgb(self.nothing or "black")
        return np.rint(np.array(color) * 255).astype(np.uint8)

    @functools.cached_property
    def _places(self) -> np.ndarray:
        """Entries of the colormap between the ends, the first one lowest: int64 [N]."""
        low, high = sorted((self.near_at, self.far_at))
        last = matplotlib.colormaps[self.colormap].N - 1
        # Rounded to what tells 40 / 255 times 255 from more than 40.
        return np.arange(
            math.ceil(round(low * last, 6)), math.floor(round(high * last, 6)) + 1, dtype=int
        )

    @functools.cached_property
    def _colors(self) -> np.ndarray:
        """Of `_places`: uint8 [N, 3]."""
        colors_N4 = matplotlib.colormaps[self.colormap](self._places)
        return np.rint(colors_N4[:, :3] * 255).astype(np.uint8)

    @functools.cached_property
    def _depths(self) -> np.ndarray:
        """Of `_places`: float64 [N]."""
        last = matplotlib.colormaps[self.colormap].N - 1
        shares_N = (self._places / last - self.far_at) / (self.near_at - self.far_at)
        far, near = self._scaled(np.array([self.far, self.near]))
        values_N = far + shares_N * (near - far)
        if self.scale == "inverse":
            return 1.0 / values_N
        return np.exp(values_N) if self.scale == "log" else values_N

    def decode(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The depth of the nearest color at every pixel, and whether there is any.

        Args:
            picture: uint8 [H, W, 3].

        Returns:
            float64 [H, W] in near..far, and bool [H, W]; where there is none, the depth is far.
        """
        table = self._colors
        if self.nothing:
            table = np.concatenate([table, self._nothing[None]])
        nearest_HW = palette.nearest(picture, table)
        depths = np.append(self._depths, self.far)
        return depths[nearest_HW], nearest_HW < len(self._colors)

    def encode(self, depth_HW: np.ndarray) -> np.ndarray:
        """Depths as colors, the inverse of `decode`; beyond near and far they are clipped.

        Args:
            depth_HW: floats [H, W]; 0 where there is nothing.

        Returns:
            uint8 [H, W, 3].
        """
        there_HW = depth_HW > 0
        far, near = self._scaled(np.array([self.far, self.near]))
        share_HW = (self._scaled(np.clip(depth_HW, self.near, self.far)) - far) / (near - far)
        place_HW = self.far_at + share_HW * (self.near_at - self.far_at)
        last = matplotlib.colormaps[self.colormap].N - 1
        entry_HW = np.rint(place_HW * last).astype(int) - self._places[0]
        picture = self._colors[np.clip(entry_HW, 0, len(self._colors) - 1)]
        return np.where(there_HW[..., None], picture, self._nothing)

    def _scaled(self, depth: np.ndarray) -> np.ndarray:
        if self.scale == "inverse":
            return 1.0 / depth
        return np.log(depth) if self.scale == "log" else depth.astype(np.float64)
