"""Tasks as analogies: example pairs, a query and its true answer, a pure function of (seed, index).

Legend: K example pairs, S side in pixels.
"""

import dataclasses
from typing import Protocol

import numpy as np

from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences.sources import Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One analogy. All images are uint8 [S, S, 3].

    Attributes:
        pairs: [K, 2, S, S, 3], inputs and outputs of the example pairs.
        query: the input to answer.
        answer: the true answer.
    """

    pairs: np.ndarray
    query: np.ndarray
    answer: np.ndarray


class Task(Protocol):
    """A name, and examples as a pure function of (seed, index)."""

    @property
    def name(self) -> str:
        """Heads its results; differs from the names of other tasks."""
        ...

    def example(self, seed: int, index: int) -> Example:
        """An analogy; any index is good, and different ones show different pictures if possible."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentenceTask:
    """Analogies from a source of pair sentences.

    Attributes:
        source: of sentences of two pairs or more; its name is the task's.
        loader: reads the pictures, as those were read that the model learned from. Tasks share it:
            their sentences show many squares of few pictures, and each file is decoded once.
    """

    source: Source
    loader: SquareLoader

    @property
    def name(self) -> str:
        return self.source.name

    def example(self, seed: int, index: int) -> Example:
        """Loads example `index` of seed `seed`; past the source's last sentence a new epoch starts.

        Raises:
            ValueError: the source's sentences are not at least two pairs.
        """
        epoch, index = divmod(index, self.source.num_sentences())
        sentence = self.source.sentence(seed, epoch, index)
        if len(sentence.images) < 4 or len(sentence.images) % 2:
            raise ValueError(
                f"task {self.name}: a sentence of {len(sentence.images)} images is no analogy; "
                "it takes an even number, at least 4 (pairs_per_sentence of 2 or more)"
            )
        pixels = np.stack([self.loader.load_one(image) for image in sentence.images])
        pairs = pixels[:-2].reshape(-1, 2, *pixels.shape[1:])
        return Example(pairs=pairs, query=pixels[-2], answer=pixels[-1])
