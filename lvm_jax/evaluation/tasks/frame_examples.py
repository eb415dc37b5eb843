"""Frames in a row as an analogy: whoever asks reads pairs and a query, all of one clip."""

import dataclasses

import numpy as np

from lvm_jax.evaluation.tasks.sequences import FrameFolders
from lvm_jax.evaluation.tasks.task import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameExamples:
    """Windows of 2 K + 2 frames, the last of which is the answer.

    Attributes:
        frames: gives windows of an even number of frames, one of them a target.
    """

    frames: FrameFolders

    @property
    def name(self) -> str:
        return self.frames.name

    def example(self, seed: int, index: int) -> Example:
        """See `Examples.example`."""
        shown = self.frames.sequence(seed, index)
        return Example.of_row(np.concatenate([shown.images, shown.targets]), shown.keys)
