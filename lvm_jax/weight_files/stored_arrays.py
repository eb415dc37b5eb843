"""Arrays in files, known by name, shape and type before their numbers are read."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

# Between the entries of nested containers; names within a network have their owner's separators.
SEPARATOR = "/"


class OtherKindError(ValueError):
    """What a file turns out to be that is whole, but not what is wanted."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """An array that is still in its file.

    Compare the shape with what is wanted before loading: a few bytes may claim any shape, and
    repeat one number to fill it.

    Attributes:
        shape: its shape.
        dtype: numpy's name of its type, or the owner's for one that numpy lacks.
        load: reads the numbers; may raise what a damaged file makes a library raise.
        stream: reads the same some rows at a time, as `rows`, where the file allows it.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray]
    stream: Callable[[], Iterator[np.ndarray]] | None = None

    def rows(self) -> Iterator[np.ndarray]:
        """The numbers in parts along axis 0; whole where the file cannot be read by parts."""
        if self.stream is None:
            yield self.load()
        else:
            yield from self.stream()

    @classmethod
    def of(cls, array: np.ndarray) -> "Stored":
        """An array that was read already."""
        return cls(array.shape, str(array.dtype), lambda: array)


def walk(tree: Any, name: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, lists and tuples, with the way to each as its name.

    What is reached twice is given once: a file may hold itself, or the same part a billion times.
    """
    seen = set() if seen is None else seen
    if isinstance(tree, Mapping):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    else:
        yield name.removesuffix(SEPARATOR), tree
        return
    if id(tree) in seen:
        return
    seen.add(id(tree))
    for key, item in items:
        # A module of torch keeps its parts in these; its users' names are what is inside.
        inside = key in ("_modules", "_parameters", "_buffers")
        yield from walk(item, name if inside else f"{name}{key}{SEPARATOR}", seen)
