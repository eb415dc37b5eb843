"""Frames -> the bytes of clips in every format that can be written here."""

import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np

from lvm_jax.frames import clip_files

_SUFFIXES = (".gif", ".mp4")


def write(frames: Sequence[np.ndarray], frames_per_second: float) -> dict[str, bytes]:
    """Clips by their extension, a GIF first; a video only where PyAV is installed.

    Args:
        frames: uint8 [H, W, 3] each, of one size.
        frames_per_second: of both.
    """
    written = {}
    with tempfile.TemporaryDirectory(prefix="lvm_jax_clip_") as folder:
        for suffix in _SUFFIXES:
            path = pathlib.Path(folder) / f"clip{suffix}"
            try:
                clip_files.check(path)
            except ValueError:  # without PyAV
                continue
            clip_files.write_clip(path, frames, frames_per_second)
            written[suffix] = path.read_bytes()
    return written
