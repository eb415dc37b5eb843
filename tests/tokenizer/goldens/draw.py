"""Weights and images for the goldens, drawn from names so that the files need not store them."""

import zlib

import numpy as np

IMAGE_SIZE = 16


def weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Float32 arrays, a pure function of names and shapes (`RandomState` is frozen by numpy)."""
    return {name: _weight(name, tuple(shape)) for name, shape in shapes.items()}


def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) == 1:
        # A bias, or the scale of a norm: neither is left at its neutral value.
        centre = 0.0 if name.endswith("bias") else 1.0
        return (centre + 0.2 * noise).astype(np.float32)
    is_codebook = "codebook" in name or "embedding" in name
    fan_in = shape[0] * shape[1] * shape[2] if name.endswith("kernel") else np.prod(shape[1:])
    return (noise * (1.0 if is_codebook else fan_in**-0.5)).astype(np.float32)


def images() -> np.ndarray:
    """Float32 [2, 16, 16, 3] in [0, 1]."""
    noise = np.random.RandomState(0).random_sample((2, IMAGE_SIZE, IMAGE_SIZE, 3))
    return noise.astype(np.float32)
