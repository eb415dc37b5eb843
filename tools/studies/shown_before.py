"""Prompts that hold their own answer: what a model that copies would get right.

A lower loss than after other pictures of the same kind is what a model gains by copying; what is
left then is neither for want of data nor of a tokenizer.
"""

import dataclasses

import numpy as np

from lvm_jax.evaluation.tasks.sequences import Continuation, Sequences


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShownBefore:
    """Sequences whose prompt is their end, over and over.

    Attributes:
        sequences: of one target each, such as a video and its next frame, or pairs and a query with
            its answer.
        period: pictures that are repeated: 1 shows the target, 2 query and target.
    """

    sequences: Sequences
    period: int

    @property
    def name(self) -> str:
        return self.sequences.name

    @property
    def num_sequences(self) -> int:
        return self.sequences.num_sequences

    def sequence(self, seed: int, index: int) -> Continuation:
        """See `Sequences.sequence`."""
        asked = self.sequences.sequence(seed, index)
        whole = np.concatenate([asked.images, asked.targets])
        last = whole[-self.period :]
        places = np.arange(-len(whole), -1) % self.period
        return dataclasses.replace(asked, images=last[places])
