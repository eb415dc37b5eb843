"""Episodes of Pascal-5i: one picture of a class with its mask, then another picture of the class.

As visual prompting draws them (Bar et al. 2022, `evaluate/pascal_dataloader.py`): queries in the
order of the fold's list, from its start again after the last, the support a picture of the same
class drawn by NumPy's legacy generator, whose stream never changes. With one support, seed 0 and
the same lists, these are the very episodes of its first evaluation of 1,000.

Its detection visits pictures by a file of numbers that came with it, some of them twice; here
queries are the pictures of the list `val` with one object, whose box takes less than a fifth of the
picture, in order, and supports those of `train`.

Legend: S side in pixels, s side at which answers are compared.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import PIL.Image

from lvm_jax import images
from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.evaluation.metrics import foreground
from lvm_jax.evaluation.tasks import voc
from lvm_jax.evaluation.tasks.foreground import MASK
from lvm_jax.evaluation.tasks.task import Example
from lvm_jax.pictures.loader import SquareLoader

NUM_EPISODES = 1000
_MOST_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class Episode:
    """Names of pictures.

    Attributes:
        supports: that are shown with their masks, the protocol's own last.
        query: that is asked.
        label: the class, 1..20.
    """

    supports: tuple[str, ...]
    query: str
    label: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocOptions:
    """Which episodes are asked.

    Attributes:
        folder: VOCdevkit/VOC2012, see `tasks.voc`.
        lists: folder of fold0.txt to fold3.txt; only segmentation needs it.
        fold: 0 to 3, of five classes each; None, for detection, takes all classes.
        num_pairs: supports of an episode; 1 is the protocol's.
        num_episodes: that there are for a seed, before they begin again.
    """

    folder: str
    lists: str = ""
    fold: int | None = 0
    num_pairs: int = 1
    num_episodes: int = NUM_EPISODES

    def __post_init__(self):
        voc.require_fold(self.fold)
        require_at_least(self, 1, "num_pairs", "num_episodes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocExamples:
    """Episodes as examples: pictures squashed to squares, masks white on black.

    Attributes:
        name: of the task.
        options: which episodes.
        kind: masks of classes, or boxes of single objects.
        loader: reads the pictures; whatever its config says, they are squashed, as by the protocol.
    """

    name: str
    options: VocOptions
    kind: Literal["segmentation", "detection"]
    loader: SquareLoader

    @functools.cached_property
    def _squashing(self) -> SquareLoader:
        config = dataclasses.replace(self.loader.config, resize="squash")
        return SquareLoader(config, self.loader.size)

    @functools.cached_property
    def _queries(self) -> Sequence[tuple[str, int]]:
        if self.kind == "segmentation":
            if self.options.fold is None or not self.options.lists:
                raise ConfigError(
                    Field("lists"), f"={self.options.lists!r} must hold the folds of Pascal-5i"
                )
            return voc.read_fold(self.options.lists, self.options.fold)
        found = [(each.name, each.label) for each in self._objects["val"].values()]
        if not found:
            raise ValueError(
                f"{self.name}: no picture of {self.options.folder} has one small object of fold "
                f"{self.options.fold}; check the folder"
            )
        return found

    @functools.cached_property
    def _supports(self) -> Mapping[int, tuple[str, ...]]:
        """Names by class."""
        if self.kind == "segmentation":
            return voc.by_class(self._queries)
        return voc.by_class([(each.name, each.label) for each in self._objects["train"].values()])

    @functools.cached_property
    def _objects(self) -> Mapping[str, Mapping[str, voc.Object]]:
        """Split -> name -> its one small object, of the fold's classes."""
        fold = self.options.fold
        return {
            split: {
                each.name: each
                for each in voc.read_objects(self.options.folder, split)
                if each.share < _MOST_SHARE and fold in (None, (each.label - 1) // voc.PER_FOLD)
            }
            for split in ("train", "val")
        }

    def episode(self, seed: int, index: int) -> Episode:
        """Episode `index` of a seed."""
        return _episodes(self, seed)[index % self.options.num_episodes]

    def draw(self, seed: int) -> tuple[Episode, ...]:
        """All episodes of a seed.

        Raises:
            ValueError: a class with too few pictures; named.
        """
        drawn = np.random.RandomState(seed)
        episodes = []
        for number in range(self.options.num_episodes):
            query, label = self._queries[number % len(self._queries)]
            names = self._supports.get(label, ())
            if len({*names} - {query}) < self.options.num_pairs:
                raise ValueError(
                    f"{self.name}: class {label} ({voc.CLASSES[label - 1]}) has {len(names)} "
                    f"pictures, too few for num_pairs={self.options.num_pairs} besides the query"
                )
            supports: list[str] = []
            while len(supports) < self.options.num_pairs:
                # One of a permutation, as the protocol draws it.
                chosen = names[int(drawn.choice(len(names), 1, replace=False)[0])]
                if chosen != query and chosen not in supports:
                    supports.append(chosen)
            episodes.append(Episode(tuple(reversed(supports)), query, label))
        return tuple(episodes)

    def example(self, seed: int, index: int) -> Example:
        """See `Examples.example`; its truth has the mask at s = 111 pixels."""
        episode = self.episode(seed, index)
        shown = [
            np.stack([self._picture(name), self._drawn(self._mask(name, episode.label, "train"))])
            for name in episode.supports
        ]
        mask = self._mask(episode.query, episode.label, "val")
        return Example(
            pairs=np.stack(shown),
            query=self._picture(episode.query),
            answer=self._drawn(mask),
            truth={MASK: self._snapped(mask)},
            keys=(*episode.supports, f"{episode.query}__{episode.label:02d}"),
        )

    def _picture(self, name: str) -> np.ndarray:
        return self._squashing.load_file(voc.picture(self.options.folder, name))

    def _mask(self, name: str, label: int, split: str) -> np.ndarray:
        """bool [H, W]."""
        if self.kind == "segmentation":
            return voc.class_mask(self.options.folder, name, label)
        return self._objects[split][name].mask

    def _drawn(self, mask_HW: np.ndarray) -> np.ndarray:
        """uint8 [S, S, 3], white on black."""
        return images.squash(_white(mask_HW), self.loader.size)

    def _snapped(self, mask_HW: np.ndarray) -> np.ndarray:
        """As the protocol resizes it, straight from the file: bool [s, s]."""
        filters, side = PIL.Image.Resampling, foreground.SIDE
        chosen = filters.BICUBIC if self.kind == "segmentation" else filters.BILINEAR
        small = PIL.Image.fromarray(_white(mask_HW)).resize((side, side), chosen)
        return foreground.snap(np.asarray(small))


@functools.lru_cache(maxsize=16)
def _episodes(examples: VocExamples, seed: int) -> tuple[Episode, ...]:
    return examples.draw(seed)


def _white(mask_HW: np.ndarray) -> np.ndarray:
    """White where the mask is: uint8 [H, W, 3]."""
    return np.repeat(np.where(mask_HW, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)
