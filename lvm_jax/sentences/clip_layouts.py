"""How frames of a clip stand in a row: at a stride, with their annotations, around an object.

Paper: Bai et al. 2023, section 3.1: 16 frames of a video at strides of 10, 20 or 30; the views
around an object; frames with their annotations.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Literal

from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.draws import Draws
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences.clips import AnnotatedClips, Clip, Clips
from lvm_jax.sentences.dealing import Deck
from lvm_jax.sentences.layouts import Layout
from lvm_jax.sentences.listings import Listing
from lvm_jax.sentences.squares import Square


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Frames of a clip at a stride that is drawn; see `Frames`."""

    num_frames: int
    strides: tuple[int, ...]

    @property
    def fewest_frames(self) -> int:
        """Of a clip."""
        return self._span(min(self.strides))

    def _span(self, stride: int) -> int:
        return (self.num_frames - 1) * stride + 1

    def draw(self, clip: Clip, draws: Draws) -> range:
        """Numbers of the frames."""
        stride = self.strides[draws.integer(len(self.strides))]
        if self._span(stride) > clip.num_frames:
            stride = max(s for s in self.strides if self._span(s) <= clip.num_frames)
        start = draws.integer(clip.num_frames - self._span(stride) + 1)
        return range(start, start + self._span(stride), stride)


def _require_strides(strides: Sequence[int]) -> None:
    if not strides or min(strides) < 1:
        raise ConfigError(Field("strides"), f"={strides} must be one or more positive numbers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames(Layout):
    """Frames of a video at a stride that is drawn for each sentence.

    A clip that is too short for the stride drawn takes the largest stride that fits it; one that is
    too short for all of them is left out and named in the log.

    Attributes:
        frames_per_sentence: 16 in the paper.
        strides: in frames; 10, 20 and 30 in the paper.
    """

    frames_per_sentence: int = 16
    strides: tuple[int, ...] = (10, 20, 30)

    def __post_init__(self):
        require_at_least(self, 1, "frames_per_sentence")
        _require_strides(self.strides)

    @property
    def _stretch(self) -> Stretch:
        return Stretch(self.frames_per_sentence, self.strides)

    @property
    def listing(self) -> Listing:
        return Clips(self._stretch.fewest_frames)

    def num_images(self, deck: Deck) -> tuple[int, int]:
        return self.frames_per_sentence, self.frames_per_sentence

    def images(
        self, items: Sequence[Clip], squares: Iterator[Square], draws: Draws
    ) -> Iterator[list[ImageRef]]:
        for clip in items:
            square = next(squares)
            yield [clip.show(frame, square) for frame in self._stretch.draw(clip, draws)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnnotatedFrames(Layout):
    """Frames of a video with their annotations: two folders of clips, matched by relative name.

    Frames are matched too: images in folders by name, frames of files by number. They are chosen as
    those of `Frames`.

    Attributes:
        frames_per_sentence: frames, each of which comes with its annotation.
        strides: in frames; 10, 20 and 30 in the paper.
        annotation_folder: the annotated frames.
        layout: "interleaved" f1 a1 f2 a2 ..., "split" f1 f2 ... a1 a2 ..., "mixed" (a coin for
            every sentence).
    """

    frames_per_sentence: int = 8
    strides: tuple[int, ...] = (10, 20, 30)
    annotation_folder: str
    layout: Literal["interleaved", "split", "mixed"] = "mixed"

    def __post_init__(self):
        require_at_least(self, 1, "frames_per_sentence")
        _require_strides(self.strides)

    @property
    def _stretch(self) -> Stretch:
        return Stretch(self.frames_per_sentence, self.strides)

    @property
    def listing(self) -> Listing:
        return AnnotatedClips(self.annotation_folder, self._stretch.fewest_frames)

    def num_images(self, deck: Deck) -> tuple[int, int]:
        return 2 * self.frames_per_sentence, 2 * self.frames_per_sentence

    def images(
        self, items: Sequence[Clip], squares: Iterator[Square], draws: Draws
    ) -> Iterator[list[ImageRef]]:
        is_split = draws.coin() if self.layout == "mixed" else self.layout == "split"
        for clip in items:
            square, annotation = next(squares), clip.annotation
            assert annotation is not None, clip
            frames = self._stretch.draw(clip, draws)
            shown = [clip.show(frame, square) for frame in frames]
            annotated = [
                annotation.show(frame, square, picture.path)
                for frame, picture in zip(frames, shown)
            ]
            mixed = itertools.chain.from_iterable(zip(shown, annotated))
            yield shown + annotated if is_split else list(mixed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views(Layout):
    """Views of an object around a full turn, from a view and in a direction that are drawn.

    The views of an object are the images of one folder, in natural order; after the last comes the
    first. (An arc that does not close is a video.)

    Attributes:
        views_per_sentence: views in a sentence, or as many as there are.
        strides: steps from view to view; one is drawn for each sentence.
    """

    views_per_sentence: int = 16
    strides: tuple[int, ...] = (1,)

    def __post_init__(self):
        require_at_least(self, 2, "views_per_sentence")
        _require_strides(self.strides)

    @property
    def listing(self) -> Listing:
        return Clips(2)

    def num_images(self, deck: Deck) -> tuple[int, int]:
        sizes = {clip.num_frames for clip in deck.items}
        fewest = min(self._num_views(size, stride) for size in sizes for stride in self.strides)
        return fewest, min(self.views_per_sentence, max(sizes))

    def _num_views(self, size: int, stride: int) -> int:
        # No view comes twice.
        return min(self.views_per_sentence, size // math.gcd(size, stride))

    def images(
        self, items: Sequence[Clip], squares: Iterator[Square], draws: Draws
    ) -> Iterator[list[ImageRef]]:
        for clip in items:
            square, size = next(squares), clip.num_frames
            stride = self.strides[draws.integer(len(self.strides))]
            start, step = draws.integer(size), -stride if draws.coin() else stride
            places = range(start, start + step * self._num_views(size, stride), step)
            yield [clip.show(place % size, square) for place in places]
