"""What pictures lose: sharpness, light, resolution, their upright position; what spoils them.

Each is a pure function: uint8 [H, W, 3] and parameters in, a new uint8 [H, W, 3] out. Pixels are
computed in whole numbers, so that they are the same on every machine.
Legend: H height, W width in pixels; N rain streaks.
"""

import math

import numpy as np

from lvm_jax.draws import Draws, bit_stream
from lvm_jax.pictures.derivations import derivation

# Fixed-point numbers have 16 bits after the point.
_ONE = 1 << 16
_HALF = 1 << 15
_GAMMA = 2.2


@derivation
def blur(image: np.ndarray, *, sigma: float) -> np.ndarray:
    """A Gaussian blur; `sigma` in pixels, more than 0."""
    radius = max(1, math.ceil(3 * sigma))
    weights = [math.exp(-((i / sigma) ** 2) / 2) for i in range(-radius, radius + 1)]
    taps = [round(weight / math.fsum(weights) * _ONE) for weight in weights]
    taps[radius] += _ONE - sum(taps)  # a flat picture stays as it is
    for axis in (0, 1):
        size = image.shape[axis]
        widths = [(radius, radius) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(image, widths, mode="symmetric").astype(np.uint32)
        total = np.zeros(image.shape, np.uint32)
        for start, tap in enumerate(taps):
            total += np.uint32(tap) * np.take(padded, range(start, start + size), axis)
        image = ((total + _HALF) >> 16).astype(np.uint8)
    return image


@derivation
def noise(image: np.ndarray, *, seed: int, deviation: float) -> np.ndarray:
    """Normal noise on every channel of every pixel; its standard `deviation` in 0..255."""
    total = image.astype(np.int64) * _ONE + _normal(image.shape, deviation, "noise", seed)
    return _to_pixels(total)


@derivation
def low_light(image: np.ndarray, *, seed: int, stops: float, deviation: float) -> np.ndarray:
    """The picture with 2**-stops of the light, and with the noise of a sensor.

    Args:
        image: uint8 [H, W, 3].
        seed: of the noise.
        stops: how often the light is halved.
        deviation: standard deviation of the noise, in 0..255.
    """
    # A power law stands for the display's curve, so the factor on the light is one on the values.
    factor = round(2 ** (-stops / _GAMMA) * _ONE)
    return _to_pixels(
        image.astype(np.int64) * factor + _normal(image.shape, deviation, "low_light", seed)
    )


@derivation
def rain(image: np.ndarray, *, seed: int, density: float, angle: int) -> np.ndarray:
    """Bright streaks that fall across the picture.

    Args:
        image: uint8 [H, W, 3].
        seed: chooses the streaks.
        density: their length all together over the number of pixels.
        angle: in whole degrees from upright, to the right as they fall.
    """
    height, width = image.shape[:2]
    length = max(4, height // 9)
    slope = round(math.tan(math.radians(angle)) * _ONE)
    drift = length * abs(slope) >> 16
    rows, columns = height + length, width + 2 * drift
    number = max(1, round(density * rows * columns / length))
    draws = Draws("rain", seed)
    tops, lefts, lengths, lights = (
        np.array([low + draws.integer(high - low + 1) for _ in range(number)], np.int64)
        for low, high in (
            (-length, height - 1),
            (-drift * _ONE, (width + drift) * _ONE),
            (length // 2, length),
            (_ONE // 4, _ONE * 3 // 4),
        )
    )
    half_width = max(_ONE, _ONE * height // 160)
    cover_HW = np.zeros((height, width), np.int64)
    for step in range(length):
        y_N = tops + step
        x_N = lefts + step * slope
        for beside in range(-1, 3):
            column_N = (x_N >> 16) + beside
            near_N = np.clip(half_width - np.abs(column_N * _ONE - x_N), 0, _ONE)
            seen = (step < lengths) & (y_N >= 0) & (y_N < height)
            seen &= (column_N >= 0) & (column_N < width)
            cover_N = near_N * lights >> 16
            np.maximum.at(cover_HW, (y_N[seen], column_N[seen]), cover_N[seen])
    wet = image.astype(np.int64)
    return _to_pixels(wet * _ONE + (np.maximum(wet, 235) - wet) * cover_HW[..., None])


@derivation
def rotate(image: np.ndarray, *, degrees: int) -> np.ndarray:
    """The picture turned counter-clockwise about its centre; quarter turns of squares are exact.

    Corners that the picture does not reach are black.
    """
    height, width = image.shape[:2]
    if degrees % 180 == 0 or (degrees % 90 == 0 and height == width):
        return np.ascontiguousarray(np.rot90(image, degrees // 90)).copy()
    cos, sin = (round(f(math.radians(degrees)) * _ONE) for f in (math.cos, math.sin))
    # Twice the distance from the centre is a whole number.
    down = (2 * np.arange(height) - (height - 1))[:, None]
    right = (2 * np.arange(width) - (width - 1))[None, :]
    y = (right * sin + down * cos + (height - 1) * _ONE) // 2
    x = (right * cos - down * sin + (width - 1) * _ONE) // 2
    inside = (y > -_HALF) & (y < height * _ONE - _HALF)
    inside &= (x > -_HALF) & (x < width * _ONE - _HALF)
    return np.where(inside[..., None], _sample(image, y, x), np.uint8(0))


@derivation
def downscale(image: np.ndarray, *, factor: float) -> np.ndarray:
    """The picture with 1/factor of its resolution, smoothly enlarged to its size again."""
    total, counts = image.astype(np.int64), []
    for axis in (0, 1):
        size = image.shape[axis]
        small = max(1, min(size, round(size / factor)))
        starts = np.arange(small) * size // small
        total = np.add.reduceat(total, starts, axis)
        counts.append(np.diff(starts, append=size))
    area = counts[0][:, None, None] * counts[1][None, :, None]
    small = ((2 * total + area) // (2 * area)).astype(np.uint8)
    y, x = (
        ((2 * np.arange(size) + 1) * few * _ONE // size - _ONE) // 2
        for size, few in zip(image.shape, small.shape[:2])
    )
    return _sample(small, y[:, None], x[None, :])


def _normal(shape: tuple[int, ...], deviation: float, *key: int | str) -> np.ndarray:
    """Nearly normal fixed-point numbers: sums of eight uniform ones; int64 of this shape."""
    lanes = 8
    bits = bit_stream(2 * math.prod(shape), *key)
    total = sum((bits >> np.uint64(16 * i) & np.uint64(0xFFFF)).astype(np.int64) for i in range(4))
    total = total.reshape(2, -1).sum(0) - lanes * 0xFFFF // 2
    spread = math.sqrt(lanes * ((1 << 32) - 1) / 12)
    scale = round(deviation * (1 << 32) / spread)
    return ((total * scale) >> 16).reshape(shape)


def _sample(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear values at fixed-point places, which broadcast; the border goes on for ever."""
    height, width = image.shape[:2]
    y = np.clip(y, 0, (height - 1) * _ONE)
    x = np.clip(x, 0, (width - 1) * _ONE)
    top, left = y >> 16, x >> 16
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    # Eight bits of each fraction are enough for eight bits of a value.
    down, over = ((y & 0xFFFF) >> 8)[..., None], ((x & 0xFFFF) >> 8)[..., None]
    values = image.astype(np.int64)
    above = values[top, left] * (256 - over) + values[top, right] * over
    below = values[bottom, left] * (256 - over) + values[bottom, right] * over
    return _to_pixels(above * (256 - down) + below * down)


def _to_pixels(fixed: np.ndarray) -> np.ndarray:
    return np.clip((fixed + _HALF) >> 16, 0, 255).astype(np.uint8)
