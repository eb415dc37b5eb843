"""Examples that the user chose: the pictures of a prompt, pairs and a query, and its answer."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from lvm_jax import file_names
from lvm_jax.evaluation.tasks.task import Example
from lvm_jax.pictures.loader import SquareLoader


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListedPrompt:
    """Paths of one prompt.

    Attributes:
        images: input and output of every example pair in turn, and the query.
        answer: the true answer.
        where: what errors call it, such as "FILE line 3".
    """

    images: tuple[str, ...]
    answer: str
    where: str

    def __post_init__(self):
        if len(self.images) % 2 != 1:
            raise ValueError(
                f'{self.where}: "input" has {len(self.images)} images; a prompt is pairs and then '
                "a query, an odd number"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListedExamples:
    """Prompts in the order of a list, whatever the seed; after the last comes the first again.

    Attributes:
        name: of the task.
        prompts: all with as many images.
        loader: reads the pictures.
    """

    name: str
    prompts: Sequence[ListedPrompt]
    loader: SquareLoader

    def __post_init__(self):
        first = self.prompts[0]
        for prompt in self.prompts:
            if len(prompt.images) != len(first.images):
                raise ValueError(
                    f"{prompt.where} has {len(prompt.images)} images and {first.where} "
                    f"{len(first.images)}; give prompts of different lengths in files of their own"
                )

    def example(self, seed: int, index: int) -> Example:
        """See `Examples.example`."""
        prompt = self.prompts[index % len(self.prompts)]
        try:
            pixels = np.stack([self.loader.load_file(p) for p in (*prompt.images, prompt.answer)])
        except ValueError as error:
            raise ValueError(f"{prompt.where}: {error}") from error
        return Example.of_row(pixels, self._names[index % len(self.prompts)])

    @functools.cached_property
    def _names(self) -> list[tuple[str, ...]]:
        return file_names.below_their_folder([(*p.images, p.answer) for p in self.prompts])
