"""What a task is: examples as a pure function of (seed, index), and what its answers are worth.

Legend: K example pairs, S side in pixels.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from lvm_jax.evaluation.metrics.metric import Metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One analogy. All pictures are uint8 [S, S, 3].

    Attributes:
        pairs: [K, 2, S, S, 3], inputs and outputs of the example pairs.
        query: the input to answer.
        answer: the true answer, as a picture.
        truth: what the truth is beyond a picture: labels, depth, keypoints, a mask.
        keys: names of the pictures, or of the pairs, in the order of the prompt, for the manifest.
    """

    pairs: np.ndarray
    query: np.ndarray
    answer: np.ndarray
    truth: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    keys: tuple[str, ...] = ()

    @classmethod
    def of_row(
        cls,
        pictures: np.ndarray,
        keys: tuple[str, ...],
        truth: Mapping[str, np.ndarray] | None = None,
    ) -> "Example":
        """Pairs in turn, the query and its answer.

        Args:
            pictures: uint8 [2 K + 2, S, S, 3].
            keys, truth: as the fields.
        """
        return cls(
            pairs=pictures[:-2].reshape(-1, 2, *pictures.shape[1:]),
            query=pictures[-2],
            answer=pictures[-1],
            truth=truth or {},
            keys=keys,
        )


class Examples(Protocol):
    """A name, and examples as a pure function of (seed, index)."""

    @property
    def name(self) -> str:
        """Heads its results; differs from the names of other tasks."""
        ...

    def example(self, seed: int, index: int) -> Example:
        """An analogy; any index is good, and different ones show different pictures if possible.

        Raises:
            ValueError: its pictures cannot be shown; named.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What one answer is worth.

    Attributes:
        values: of every per_example metric, by its name; nan where there is no score.
        tally: what `Task.summarize` takes of it: float64 [n], small; those of answers add up.
    """

    values: Mapping[str, float]
    tally: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))


class Task(Examples, Protocol):
    """Examples, and what answers to them are worth."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What is measured. The first decides whether a task is learned; it is per_example."""
        ...

    def measure(self, picture: np.ndarray, example: Example) -> Measured:
        """Of one answer: uint8 or float [S, S, 3] in [0, 1]."""
        ...

    def summarize(self, tally: np.ndarray) -> Mapping[str, float]:
        """The other metrics, by their names; {} if there are none.

        Args:
            tally: sum of those of an answer to every example.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskKind:
    """A row of `registry.KINDS`: how a task is made of examples.

    Attributes:
        name: what asks for it, as in `--task=segmentation`.
        options: frozen dataclass of what the user may choose; its docstring explains every field.
        build: examples and an instance of `options` -> the task, under the examples' name.
        about: one line for --help.
    """

    name: str
    options: type[Any]
    build: Callable[[Examples, Any], Task]
    about: str
