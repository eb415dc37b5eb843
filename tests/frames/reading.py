"""Reads a clip in every way."""

import pathlib

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.frames import frame_readers

BACKGROUND = (10, 200, 30)


def read_all(path: pathlib.Path) -> list[np.ndarray]:
    """Every frame, forwards by one reader; the count is exact, and frames alone are the same."""
    count = frame_readers.count_frames(path)
    readers = frame_readers.FrameReaders(background=BACKGROUND)
    shown = [readers.read(str(path), number) for number in range(count)]
    for number in np.random.default_rng(0).permutation(count)[:3]:
        alone = frame_readers.read_frame(path, number, background=BACKGROUND)
        np.testing.assert_array_equal(alone, shown[number])
    with pytest.raises(images.ImageError, match=rf"past frame {count - 1} .*frame {count} is"):
        readers.read(str(path), count)
    return shown
