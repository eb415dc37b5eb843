"""Examples from folders of pairs: an input and its target in two files of one name.

DIR/inputs/NAME.png with DIR/targets/NAME.png, or DIR/NAME_input.png with DIR/NAME_target.png;
folders inside them are searched too. Which pairs a prompt shows follows from (seed, index) alone.

Legend: S side in pixels.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import numpy as np

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.draws import shuffled
from lvm_jax.evaluation.tasks.task import Example
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import files

_FOLDERS = (("inputs", "targets"), ("input", "target"))
_ENDINGS = ("_input", "_target")
_MOST_NAMED = 3

Pair = tuple[str, str]
"""Paths of an input and its target."""


def find(folder: str) -> dict[str, Pair]:
    """Name -> input and target of every pair in a folder, sorted by name.

    Raises:
        ValueError: no such folder, neither layout, or files without their counterpart; named.
    """
    root = pathlib.Path(folder)
    for names in _FOLDERS:
        if all((root / name).is_dir() for name in names):
            inputs, targets = (files.by_stem(root / name) for name in names)
            return _matched(inputs, targets, [f"{root / name}" for name in names])
    by_ending: list[dict[str, str]] = [{}, {}]
    for key, path in files.by_stem(root).items():
        for found, ending in zip(by_ending, _ENDINGS):
            if key.endswith(ending):
                found[key.removesuffix(ending)] = path
    if not any(by_ending):
        raise ValueError(
            f"{folder} holds no pairs: it takes folders inputs and targets with files of the same "
            "names, or files NAME_input.png and NAME_target.png"
        )
    return _matched(*by_ending, [f"{folder}: files *{ending}" for ending in _ENDINGS])


def _matched(
    inputs: Mapping[str, str], targets: Mapping[str, str], where: list[str]
) -> dict[str, Pair]:
    for own, others, place, other in (
        (inputs, targets, where[0], where[1]),
        (targets, inputs, where[1], where[0]),
    ):
        lonely = sorted(set(own) - set(others))
        if lonely:
            named = ", ".join(configs.first_few(lonely, _MOST_NAMED))
            raise ValueError(
                f"{place}: {named} without a counterpart in {other}; every input takes a "
                "target of the same name"
            )
    return {key: (inputs[key], targets[key]) for key in sorted(inputs)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairExamples:
    """Every pair is asked in turn, in a shuffled order, after example pairs of other names.

    Attributes:
        name: of the task.
        pairs: that are asked, see `find`.
        support: that prompts show; the same, or others. A pair never shows itself.
        num_pairs: example pairs of a prompt. The last k of them are those of k shots.
        loader: reads the pictures.
    """

    name: str
    pairs: Mapping[str, Pair]
    support: Mapping[str, Pair]
    num_pairs: int
    loader: SquareLoader

    def __post_init__(self):
        if len(self.support) <= self.num_pairs:
            raise ConfigError(
                Field("shots"),
                f"={self.num_pairs} takes {self.num_pairs + 1} pairs, but there are "
                f"{len(self.support)}",
            )

    def chosen(self, seed: int, index: int) -> tuple[str, ...]:
        """Names of the example pairs, then of the pair that is asked."""
        epoch, place = divmod(index, len(self.pairs))
        query = list(self.pairs)[int(_order(len(self.pairs), seed, epoch)[place])]
        order = shuffled(len(self.support), "support", seed, epoch, query)
        names = list(self.support)
        # By file and not by name: another folder of support may use a name again.
        itself = self.pairs[query][0]
        shown = [names[i] for i in order[: self.num_pairs + 1]]
        others = [name for name in shown if self.support[name][0] != itself]
        return (*others[: self.num_pairs], query)

    def example(self, seed: int, index: int) -> Example:
        """See `Examples.example`."""
        *others, query = self.chosen(seed, index)
        asked = self._load(self.pairs[query])
        shown = [self._load(self.support[name]) for name in others]
        pairs = np.stack(shown) if shown else asked[None][:0]
        return Example(pairs=pairs, query=asked[0], answer=asked[1], keys=(*others, query))

    def _load(self, pair: Pair) -> np.ndarray:
        """An input and its target: uint8 [2, S, S, 3]."""
        return np.stack([self.loader.load_file(path) for path in pair])


@functools.lru_cache(maxsize=16)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return shuffled(size, "queries", seed, epoch)
