"""Analogies from sources of sentences: example pairs, a query and its true answer."""

import dataclasses

import numpy as np

from lvm_jax.evaluation.tasks import references
from lvm_jax.evaluation.tasks.task import Example
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences.sources import Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentenceExamples:
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
        keys = tuple(image.key for image in sentence.images)
        query, answer = sentence.images[-2:]
        truth = references.truth(query, answer, self.loader.size, self.loader.config)
        return Example.of_row(pixels, keys, truth)
