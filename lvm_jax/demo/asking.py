"""What stands on the page -> a prompt, or one sentence about what is missing.

Legend: n images of a prompt, K targets, S side of an image in pixels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from lvm_jax import images as images_lib
from lvm_jax.demo import limits, uploads
from lvm_jax.demo.answering import Question
from lvm_jax.demo.limits import Limits
from lvm_jax.demo.uploads import UploadError
from lvm_jax.generation.jobs.job import Picture
from lvm_jax.generation.jobs.prompt_files import Asked, PromptFile
from lvm_jax.images import ImageConfig


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """A prompt whose pictures are read.

    Attributes:
        images: uint8 [n, S, S, 3].
        targets: uint8 [K, S, S, 3].
        layout: analogy: example pairs and a query; sequence: frames in order.
        asked: how it is answered.
    """

    images: np.ndarray
    targets: np.ndarray
    layout: Literal["sequence", "analogy"]
    asked: Asked

    def question(self) -> Question:
        """What the model is asked."""
        config = self.asked.config(self.layout)
        return Question(images=self.images, config=config, targets=self.targets)

    def file(self, attribution: str = "") -> PromptFile:
        """The prompt as it is passed on; `attribution` says whose its pictures are."""
        return PromptFile(
            images=tuple(map(images_lib.encode_png, self.images)),
            targets=tuple(map(images_lib.encode_png, self.targets)),
            layout=self.layout,
            answer=self.asked,
            attribution=attribution,
        )


class Reader:
    """Makes prompts of files.

    Args:
        reading: how pictures become squares.
        known: what fits the model.
    """

    def __init__(self, reading: ImageConfig, known: Limits):
        self._reading, self._limits = reading, known

    def square(self, path: str) -> np.ndarray:
        """`uploads.read_square` for the model."""
        return uploads.read_square(path, self._reading, self._limits.image_size)

    def frame(self, frame: Picture) -> np.ndarray:
        """`uploads.read_frame` for the model."""
        return uploads.read_frame(frame, self._reading, self._limits.image_size)

    def squared(self, image: np.ndarray) -> np.ndarray:
        """A picture that is in memory, uint8 [H, W, 3], as the model sees it."""
        return images_lib.RESIZES[self._reading.resize](image, self._limits.image_size)

    def analogy(
        self,
        pairs: Sequence[tuple[str | None, str | None]],
        query: str | None,
        truth: str | None,
        asked: Asked,
    ) -> Prompt:
        """A prompt of example pairs and a query.

        Args:
            pairs: files of inputs and outputs, None where there is none; empty rows do not count.
            query: what is asked about.
            truth: the true answer, if it is known.
            asked: how it is answered; it gets one new image.

        Raises:
            UploadError: half a pair, no query, too much, or a file that is no picture.
        """
        paths: list[str] = []
        for number, (given, made) in enumerate(pairs, 1):
            if given and made:
                paths += [given, made]
            elif given or made:
                missing = "output" if given else "input"
                raise UploadError(f"Example {number} has no {missing}: give it, or remove the row.")
        if query is None:
            raise UploadError("The query is missing: give the picture to be answered.")
        asked = dataclasses.replace(asked, num_new_images=1)
        return self._prompt([*paths, query], [truth] if truth else [], "analogy", asked)

    def _prompt(
        self,
        paths: Sequence[str],
        targets: Sequence[str],
        layout: Literal["sequence", "analogy"],
        asked: Asked,
    ) -> Prompt:
        squares = self._stacked([self.square(path) for path in [*paths, *targets]])
        images, truths = np.split(squares, [len(paths)])
        return self._checked(Prompt(images=images, targets=truths, layout=layout, asked=asked))

    def sequence(self, frames: Sequence[Picture], held_back: int, asked: Asked) -> Prompt:
        """A prompt of frames, as many of the last ones as fit.

        Args:
            frames: in order.
            held_back: of them at the end, as the truth.
            asked: how it is answered.

        Raises:
            UploadError: no frame is left, too much is asked, or a frame does not decode.
        """
        used, truths = self.split(frames, held_back)
        targets = truths[: asked.num_new_images]
        read = [self.frame(frame) for frame in [*used, *targets]]
        images, true = np.split(self._stacked(read), [len(used)])
        return self._checked(Prompt(images=images, targets=true, layout="sequence", asked=asked))

    def split(
        self, frames: Sequence[Picture], held_back: int
    ) -> tuple[Sequence[Picture], Sequence[Picture]]:
        """The frames that make a prompt, and those that are held back.

        Raises:
            UploadError: none is left for the prompt.
        """
        given = len(frames) - held_back
        if not frames:
            raise UploadError("No frames yet: give pictures in order, a video or an animation.")
        if given < 1:
            raise UploadError(
                f"All {len(frames)} frames are held back as the truth: hold back fewer."
            )
        return frames[max(0, given - self._limits.prompt_images) : given], frames[given:]

    def file(self, prompt: PromptFile) -> Prompt:
        """A prompt that was passed on.

        Raises:
            UploadError: it does not fit the model, or a picture of it is none.
        """
        images, targets = uploads.squares_of(prompt, self._reading, self._limits.image_size)
        return self._checked(
            Prompt(images=images, targets=targets, layout=prompt.layout, asked=prompt.answer)
        )

    def _stacked(self, squares: Sequence[np.ndarray]) -> np.ndarray:
        size = self._limits.image_size
        return np.stack(squares) if squares else np.zeros((0, size, size, 3), np.uint8)

    def _checked(self, prompt: Prompt) -> Prompt:
        most = self._limits.prompt_images
        if len(prompt.images) > most:
            raise UploadError(
                f"A prompt of {len(prompt.images)} pictures does not fit: the model looks at "
                f"{self._limits.images}, so at most {most} beside a new one."
            )
        for name, value, most in (
            ("candidates", prompt.asked.num_candidates, limits.MOST_CANDIDATES),
            ("new images", prompt.asked.num_new_images, limits.MOST_NEW_FRAMES),
        ):
            if value > most:
                raise UploadError(f"{value} {name} are too many: this page makes at most {most}.")
        return prompt
