"""Pairs of a spoiled picture and the picture: spoiled, clean, spoiled, clean, ..."""

import dataclasses
import math
from typing import Any, ClassVar, Literal

from lvm_jax.draws import Draws
from lvm_jax.pictures.reference import Crop, ImageRef
from lvm_jax.sentences.pairs import Pairs
from lvm_jax.sentences.sources import Picture

Parameters = tuple[tuple[str, int | float | str], ...]
_STEPS = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class RestorationPairs(Pairs):
    """spoiled, clean, spoiled, clean, ...

    A subclass has a range (smallest, largest) from which the strength of each pair is drawn; set
    both to one number for a fixed strength.

    Attributes:
        same_strength: the strength is drawn once for a sentence instead of for every pair.
    """

    # Which derivation spoils, the field that holds the range of its strength, and what strengths
    # must lie between.
    derivation: ClassVar[str]
    strength: ClassVar[str]
    limits: ClassVar[tuple[float, float]] = (0.0, math.inf)

    same_strength: bool = False

    def __post_init__(self):
        super().__post_init__()
        smallest, largest = getattr(self, self.strength)
        low, high = self.limits
        if not low < smallest <= largest < high:
            raise ValueError(
                f"{self.name}.{self.strength}=({smallest}, {largest}) must be (smallest, largest), "
                f"{low:g} < smallest <= largest < {high:g}"
            )

    def _draw_strength(self, draws: Draws) -> int | float:
        smallest, largest = getattr(self, self.strength)
        return smallest + (largest - smallest) * draws.integer(_STEPS + 1) / _STEPS

    def _more_parameters(self, draws: Draws) -> Parameters:
        """What the derivation takes besides its strength."""
        del draws
        return ()

    def _theme(self, draws: Draws) -> int | float | None:
        return self._draw_strength(draws) if self.same_strength else None

    def _images(
        self, item: Picture, crop: Crop | None, flip: bool, draws: Draws, theme: Any
    ) -> list[ImageRef]:
        clean = ImageRef(path=item.path, crop=crop, flip=flip)
        strength = self._draw_strength(draws) if theme is None else theme
        parameters = ((self.strength, strength), *self._more_parameters(draws))
        spoiled = dataclasses.replace(clean, derivation=self.derivation, parameters=parameters)
        return [spoiled, clean]


def _seed(draws: Draws) -> tuple[str, int]:
    return "seed", draws.integer(1 << 32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlurPairs(RestorationPairs):
    """blurred, sharp, ...

    Attributes:
        sigma: of the Gaussian, in pixels of the tokenizer's resolution.
    """

    derivation = "blur"
    strength = "sigma"

    kind: Literal["blur"] = "blur"
    sigma: tuple[float, float] = (1.0, 4.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisePairs(RestorationPairs):
    """noisy, clean, ...

    Attributes:
        deviation: standard deviation of the noise, in 0..255.
    """

    derivation = "noise"
    strength = "deviation"
    limits = (0.0, 256.0)

    kind: Literal["noise"] = "noise"
    deviation: tuple[float, float] = (15.0, 60.0)

    def _more_parameters(self, draws: Draws) -> Parameters:
        return (_seed(draws),)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowLightPairs(RestorationPairs):
    """dark, bright, ...

    Attributes:
        stops: how often the light is halved.
        sensor_noise: standard deviation of the noise in the dark picture, in 0..255.
    """

    derivation = "low_light"
    strength = "stops"
    limits = (0.0, 16.0)

    kind: Literal["low_light"] = "low_light"
    stops: tuple[float, float] = (1.5, 4.0)
    sensor_noise: float = 3.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.sensor_noise < 256:
            raise ValueError(f"{self.name}.sensor_noise={self.sensor_noise} must lie in 0..255")

    def _more_parameters(self, draws: Draws) -> Parameters:
        return (_seed(draws), ("deviation", self.sensor_noise))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RainPairs(RestorationPairs):
    """in the rain, dry, ...

    Attributes:
        density: length of all streaks together over the number of pixels.
        steepest: streaks fall at up to so many degrees from upright, 0..60; those of one picture
            in parallel.
    """

    derivation = "rain"
    strength = "density"
    limits = (0.0, 1.0)

    kind: Literal["rain"] = "rain"
    density: tuple[float, float] = (0.03, 0.15)
    steepest: int = 30

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.steepest <= 60:
            raise ValueError(f"{self.name}.steepest={self.steepest} must lie in 0..60")

    def _more_parameters(self, draws: Draws) -> Parameters:
        return (_seed(draws), ("angle", draws.integer(2 * self.steepest + 1) - self.steepest))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DownscalingPairs(RestorationPairs):
    """low resolution, full resolution, ...: super-resolution.

    Attributes:
        factor: the resolution is divided by it.
    """

    derivation = "downscale"
    strength = "factor"
    limits = (1.0, 1024.0)

    kind: Literal["downscaling"] = "downscaling"
    factor: tuple[float, float] = (2.0, 8.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotationPairs(Pairs):
    """turned, upright, ...

    Attributes:
        angles: in whole degrees, counter-clockwise; one is drawn for every pair. Angles other than
            quarter turns leave black corners.
        same_strength: one angle for a whole sentence.
    """

    kind: Literal["rotation"] = "rotation"
    angles: tuple[int, ...] = (90, 180, 270)
    same_strength: bool = False

    def __post_init__(self):
        super().__post_init__()
        if not self.angles or any(angle % 360 == 0 for angle in self.angles):
            raise ValueError(
                f"{self.name}.angles={self.angles} must be one or more angles, none of them a full "
                "turn"
            )

    def _draw_angle(self, draws: Draws) -> int:
        return self.angles[draws.integer(len(self.angles))]

    def _theme(self, draws: Draws) -> int | None:
        return self._draw_angle(draws) if self.same_strength else None

    def _images(
        self, item: Picture, crop: Crop | None, flip: bool, draws: Draws, theme: int | None
    ) -> list[ImageRef]:
        upright = ImageRef(path=item.path, crop=crop, flip=flip)
        angle = self._draw_angle(draws) if theme is None else theme
        parameters = (("degrees", angle),)
        return [dataclasses.replace(upright, derivation="rotate", parameters=parameters), upright]
