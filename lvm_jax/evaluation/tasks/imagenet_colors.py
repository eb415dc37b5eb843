"""Episodes of colorization on ImageNet's validation pictures, as visual prompting draws them.

Bar et al. 2022, `evaluate/in_colorization_dataloader.py`: 1,000 queries drawn from all pictures,
supports from the first 999, the middle 111 x 111 pixels of each without any resizing. With one
support and seed 0 these are its own episodes: NumPy's legacy generator never changes, and its
script always begins with 5. The middle is enlarged for the model, and answers are made small again.

FOLDER holds a folder for every class, as ImageNet's are unpacked.

Legend: S side in pixels, s the side of the middle, H height, W width.
"""

import dataclasses
import functools
import os

import numpy as np

from lvm_jax import image_folders, images
from lvm_jax.configs import require_at_least
from lvm_jax.evaluation.metrics import foreground
from lvm_jax.evaluation.tasks import colorization
from lvm_jax.evaluation.tasks.task import Example
from lvm_jax.pictures import derive
from lvm_jax.pictures.loader import SquareLoader

_SEED = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageNetOptions:
    """Which episodes are asked.

    Attributes:
        folder: ImageNet's validation pictures in folders of their classes.
        num_pairs: supports of an episode; 1 is the protocol's.
        num_episodes: that there are for a seed, before they begin again; 1,000 is the protocol's.
    """

    folder: str
    num_pairs: int = 1
    num_episodes: int = 1000

    def __post_init__(self):
        require_at_least(self, 1, "num_pairs")
        require_at_least(self, 2, "num_episodes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageNetColors:
    """Gray middles of pictures, and their colors.

    Attributes:
        name: of the task.
        options: which episodes.
        loader: says how pictures are read, and how large the model's are.
    """

    name: str
    options: ImageNetOptions
    loader: SquareLoader

    @functools.cached_property
    def _paths(self) -> tuple[str, ...]:
        paths = tuple(map(str, image_folders.list_images(self.options.folder)))
        if len(paths) <= self.options.num_episodes:
            raise ValueError(
                f"{self.name}: {self.options.folder} holds {len(paths)} pictures, and "
                f"num_episodes={self.options.num_episodes} take more than as many"
            )
        return paths

    def episode(self, seed: int, index: int) -> tuple[int, ...]:
        """Places of the supports, the protocol's own last, and of the query, among the files."""
        return _episodes(self, seed)[index % self.options.num_episodes]

    def draw(self, seed: int) -> tuple[tuple[int, ...], ...]:
        """All episodes of a seed."""
        drawn, count = np.random.RandomState(_SEED + seed), self.options.num_episodes
        # Neither the last picture nor the last support is ever drawn there.
        queries = drawn.choice(np.arange(len(self._paths) - 1), count, replace=False)
        supports = [
            [int(drawn.choice(np.arange(count - 1))) for _ in range(self.options.num_pairs)]
            for _ in queries
        ]
        return tuple((*reversed(s), int(query)) for s, query in zip(supports, queries))

    def example(self, seed: int, index: int) -> Example:
        """See `Examples.example`; its truth has the picture of s = 111 pixels."""
        places = self.episode(seed, index)
        middles = [self._middle(place) for place in places]
        pairs = np.stack([np.stack([self._shown(derive.gray(m)), self._shown(m)]) for m in middles])
        return Example(
            pairs=pairs[:-1],
            query=pairs[-1, 0],
            answer=pairs[-1, 1],
            truth={colorization.TRUTH: middles[-1]},
            keys=tuple(os.path.relpath(self._paths[p], self.options.folder) for p in places),
        )

    def _shown(self, middle: np.ndarray) -> np.ndarray:
        return images.squash(middle, self.loader.size)

    def _middle(self, place: int) -> np.ndarray:
        """The middle of a picture, with black around it if it is smaller: uint8 [s, s, 3]."""
        config = self.loader.config
        picture = images.read_image(
            self._paths[place], config.max_pixels, background=config.background
        )
        return middle(picture, foreground.SIDE)


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    """The central square, with black around smaller pictures: uint8 [H, W, 3] -> [s, s, 3]."""
    missing = [max(0, side - length) for length in picture.shape[:2]]
    around = [(length // 2, (length + 1) // 2) for length in missing]
    padded = np.pad(picture, (*around, (0, 0)))
    top, left = (round((length - side) / 2) for length in padded.shape[:2])
    return np.ascontiguousarray(padded[top : top + side, left : left + side])


@functools.lru_cache(maxsize=16)
def _episodes(examples: ImageNetColors, seed: int) -> tuple[tuple[int, ...], ...]:
    return examples.draw(seed)
