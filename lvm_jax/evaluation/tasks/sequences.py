"""Images and those that should follow: what a model is not asked to draw but scored on.

Legend: n images of a prompt, m targets, S side in pixels.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from lvm_jax import file_names
from lvm_jax.configs import ConfigError, Field
from lvm_jax.draws import Draws, shuffled
from lvm_jax.evaluation.tasks.task import Examples
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import files
from lvm_jax.sentences.sources import Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuation:
    """A prompt and what follows it. All pictures are uint8 [S, S, 3].

    Attributes:
        images: [n, S, S, 3], the prompt; n may be 0.
        targets: [m, S, S, 3].
        keys: names of what is shown, for the manifest.
        where: what errors call it.
    """

    images: np.ndarray
    targets: np.ndarray
    keys: tuple[str, ...]
    where: str


class Sequences(Protocol):
    """A name, and sequences as a pure function of (seed, index)."""

    @property
    def name(self) -> str:
        """Heads the results."""
        ...

    @property
    def num_sequences(self) -> int:
        """How many different ones there are."""
        ...

    def sequence(self, seed: int, index: int) -> Continuation:
        """A prompt and its targets.

        Raises:
            ValueError: its pictures cannot be shown; named.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListedSequence:
    """Paths of one prompt and its targets.

    Attributes:
        images: of the prompt.
        targets: that follow.
        where: what errors call it, such as "FILE line 3".
    """

    images: tuple[str, ...]
    targets: tuple[str, ...]
    where: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListedSequences:
    """Sequences in the order of a list, whatever the seed.

    Attributes:
        name: of the task.
        listed: the list.
        loader: reads the pictures.
    """

    name: str
    listed: Sequence[ListedSequence]
    loader: SquareLoader

    @property
    def num_sequences(self) -> int:
        return len(self.listed)

    def sequence(self, seed: int, index: int) -> Continuation:
        """See `Sequences.sequence`."""
        asked = self.listed[index % len(self.listed)]
        try:
            pixels = [self.loader.load_file(path) for path in (*asked.images, *asked.targets)]
        except ValueError as error:
            raise ValueError(f"{asked.where}: {error}") from error
        stacked, split = np.stack(pixels), len(asked.images)
        return Continuation(
            images=stacked[:split],
            targets=stacked[split:],
            keys=self._names[index % len(self.listed)],
            where=asked.where,
        )

    @functools.cached_property
    def _names(self) -> list[tuple[str, ...]]:
        return file_names.below_their_folder([(*e.images, *e.targets) for e in self.listed])


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameFolders:
    """Every folder of frames in turn, in a shuffled order; where it is long, a window of it.

    Attributes:
        name: of the task.
        folders: name -> paths of its frames in order, see `find_frames`.
        num_frames: of a window, the targets included.
        num_targets: last frames of the window, which are scored.
        loader: reads the frames.
    """

    name: str
    folders: Mapping[str, tuple[str, ...]]
    num_frames: int
    num_targets: int
    loader: SquareLoader

    def __post_init__(self):
        if not 1 <= self.num_targets < self.num_frames:
            raise ConfigError(
                Field("num_targets"), f"={self.num_targets} must lie in 1..{self.num_frames - 1}"
            )
        short = [name for name, frames in self.folders.items() if len(frames) < self.num_frames]
        if short:
            raise ValueError(
                f"folder of frames {short[0]} holds {len(self.folders[short[0]])}, but it takes "
                f"{self.num_frames} ({len(short)} of {len(self.folders)} folders are too short); "
                "ask for less context or leave them out"
            )

    @property
    def num_sequences(self) -> int:
        return len(self.folders)

    def sequence(self, seed: int, index: int) -> Continuation:
        """See `Sequences.sequence`."""
        epoch, place = divmod(index, len(self.folders))
        names = list(self.folders)
        name = names[int(shuffled(len(names), "sequences", seed, epoch)[place])]
        frames = self.folders[name]
        room = len(frames) - self.num_frames + 1
        start = Draws("window", seed, epoch, name).integer(room)
        chosen = frames[start : start + self.num_frames]
        pixels = np.stack([self.loader.load_file(path) for path in chosen])
        return Continuation(
            images=pixels[: -self.num_targets],
            targets=pixels[-self.num_targets :],
            keys=(name, f"frames {start}..{start + self.num_frames - 1}"),
            where=f"folder of frames {name}",
        )


def find_frames(folder: str) -> dict[str, tuple[str, ...]]:
    """Name -> frames in order of every folder below one that holds pictures, sorted by name.

    A number in a frame's name counts as a number: frame10 comes after frame9.

    Raises:
        ValueError: no such folder, or no picture in it.
    """
    found: dict[str, list[tuple[list[tuple[int, str]], str]]] = {}
    for key, path in files.by_stem(folder).items():
        parent, _, name = key.rpartition("/")
        found.setdefault(parent or ".", []).append((file_names.counted(name), path))
    return {
        name: tuple(path for _, path in sorted(frames)) for name, frames in sorted(found.items())
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSequences:
    """Example pairs and a query as images, the answer as the target.

    Attributes:
        examples: analogies.
        num_sequences: how many different ones they are.
    """

    examples: Examples
    num_sequences: int

    @property
    def name(self) -> str:
        return self.examples.name

    def sequence(self, seed: int, index: int) -> Continuation:
        """See `Sequences.sequence`."""
        example = self.examples.example(seed, index)
        images = example.pairs.reshape(-1, *example.query.shape)
        return Continuation(
            images=np.concatenate([images, example.query[None]]),
            targets=example.answer[None],
            keys=example.keys,
            where=f"{self.name} {', '.join(example.keys[-1:])}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentenceSequences:
    """Whole sentences of a source, of which the last pictures are to follow the others.

    Attributes:
        source: such as of videos; its name is that of the sequences.
        num_sequences: how many are asked for; past the source's last sentence a new epoch starts.
        num_targets: last pictures of a sentence, which are scored.
        loader: reads the pictures.
    """

    source: Source
    num_sequences: int
    num_targets: int
    loader: SquareLoader

    def __post_init__(self):
        images = self.source.images_per_sentence
        if not 1 <= self.num_targets < images:
            raise ConfigError(
                Field("num_targets"), f"={self.num_targets} must lie in 1..{images - 1}"
            )

    @property
    def name(self) -> str:
        return self.source.name

    def sequence(self, seed: int, index: int) -> Continuation:
        """See `Sequences.sequence`."""
        epoch, place = divmod(index, self.source.num_sentences())
        images = self.source.sentence(seed, epoch, place).images
        pixels = np.stack([self.loader.load_one(image) for image in images])
        return Continuation(
            images=pixels[: -self.num_targets],
            targets=pixels[-self.num_targets :],
            keys=tuple(image.key for image in images),
            where=f"{self.name}, sentence {index} of seed {seed}",
        )
