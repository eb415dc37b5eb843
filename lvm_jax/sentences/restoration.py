"""Pairs of a spoiled picture and the picture: spoiled, clean, spoiled, clean, ...

Strengths are drawn from a range (smallest, largest); both may be one number.
"""

import dataclasses
import math
from typing import Any

from lvm_jax.configs import ConfigError, Field
from lvm_jax.draws import Draws
from lvm_jax.pictures import degrade
from lvm_jax.sentences.relations import Derived, draw_seed
from lvm_jax.sentences.squares import Parameters

Range = tuple[float, float]
_STEPS = 1024


def require_range(config: Any, name: str, low: float = 0.0, high: float = math.inf) -> None:
    """Refuses a range in a field of a dataclass that is empty or not between `low` and `high`.

    Raises:
        configs.ConfigError: names the field.
    """
    smallest, largest = getattr(config, name)
    if not low < smallest <= largest < high:
        raise ConfigError(
            Field(name),
            f"=({smallest}, {largest}) must be (smallest, largest), "
            f"{low:g} < smallest <= largest < {high:g}",
        )


def draw_between(draws: Draws, limits: Range) -> float:
    """A number of a range, both ends included."""
    smallest, largest = limits
    return smallest + (largest - smallest) * draws.integer(_STEPS + 1) / _STEPS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blur(Derived):
    """blurred, sharp, ...

    Attributes:
        same_strength: one sigma for a whole sentence.
        sigma: of the Gaussian, in pixels of the tokenizer's resolution.
    """

    name = "blur"
    function = staticmethod(degrade.blur)

    same_strength: bool = False
    sigma: Range = (1.0, 4.0)

    def __post_init__(self):
        require_range(self, "sigma")

    def strength(self, draws: Draws) -> Parameters:
        return (("sigma", draw_between(draws, self.sigma)),)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise(Derived):
    """noisy, clean, ...

    Attributes:
        same_strength: one deviation for a whole sentence.
        deviation: standard deviation of the noise, in 0..255.
    """

    name = "noise"
    function = staticmethod(degrade.noise)

    same_strength: bool = False
    deviation: Range = (15.0, 60.0)

    def __post_init__(self):
        require_range(self, "deviation", high=256)

    def strength(self, draws: Draws) -> Parameters:
        return (("deviation", draw_between(draws, self.deviation)),)

    def others(self, draws: Draws) -> Parameters:
        return (draw_seed(draws),)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowLight(Derived):
    """dark, bright, ...

    Attributes:
        same_strength: as many stops for a whole sentence.
        stops: how often the light is halved.
        sensor_noise: standard deviation of the noise in the dark picture, in 0..255.
    """

    name = "low_light"
    function = staticmethod(degrade.low_light)

    same_strength: bool = False
    stops: Range = (1.5, 4.0)
    sensor_noise: float = 3.0

    def __post_init__(self):
        require_range(self, "stops", high=16)
        if not 0 <= self.sensor_noise < 256:
            raise ConfigError(Field("sensor_noise"), f"={self.sensor_noise} must lie in 0..255")

    def strength(self, draws: Draws) -> Parameters:
        return (("stops", draw_between(draws, self.stops)),)

    def others(self, draws: Draws) -> Parameters:
        return draw_seed(draws), ("deviation", self.sensor_noise)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rain(Derived):
    """in the rain, dry, ...

    Attributes:
        same_strength: one density for a whole sentence.
        density: length of all streaks together over the number of pixels.
        steepest: streaks fall at up to so many degrees from upright, 0..60; those of one picture
            in parallel.
    """

    name = "rain"
    function = staticmethod(degrade.rain)

    same_strength: bool = False
    density: Range = (0.03, 0.15)
    steepest: int = 30

    def __post_init__(self):
        require_range(self, "density", high=1)
        if not 0 <= self.steepest <= 60:
            raise ConfigError(Field("steepest"), f"={self.steepest} must lie in 0..60")

    def strength(self, draws: Draws) -> Parameters:
        return (("density", draw_between(draws, self.density)),)

    def others(self, draws: Draws) -> Parameters:
        return draw_seed(draws), ("angle", draws.integer(2 * self.steepest + 1) - self.steepest)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotation(Derived):
    """turned, upright, ...

    Attributes:
        angles: in whole degrees, counter-clockwise; one is drawn for every pair. Angles other than
            quarter turns leave black corners.
        same_strength: one angle for a whole sentence.
    """

    name = "rotation"
    function = staticmethod(degrade.rotate)

    angles: tuple[int, ...] = (90, 180, 270)
    same_strength: bool = False

    def __post_init__(self):
        if not self.angles or any(angle % 360 == 0 for angle in self.angles):
            raise ConfigError(
                Field("angles"),
                f"={self.angles} must be one or more angles, none of them a full turn",
            )

    def strength(self, draws: Draws) -> Parameters:
        return (("degrees", self.angles[draws.integer(len(self.angles))]),)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Downscaling(Derived):
    """low resolution, full resolution, ...: super-resolution.

    Attributes:
        same_strength: one factor for a whole sentence.
        factor: the resolution is divided by it.
    """

    name = "downscaling"
    function = staticmethod(degrade.downscale)

    same_strength: bool = False
    factor: Range = (2.0, 8.0)

    def __post_init__(self):
        require_range(self, "factor", low=1, high=1024)

    def strength(self, draws: Draws) -> Parameters:
        return (("factor", draw_between(draws, self.factor)),)


RELATIONS: tuple[type[Derived], ...] = (Blur, Noise, LowLight, Rain, Rotation, Downscaling)
