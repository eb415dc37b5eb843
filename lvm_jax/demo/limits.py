"""What a page takes, said before it is asked for more."""

import dataclasses

from lvm_jax.generation import prompts

MOST_CANDIDATES = 16
MOST_PAIRS = 8
MOST_NEW_FRAMES = 64
MOST_SEQUENCE_FILES = 256
MOST_MEGAPIXELS = 64
MOST_MEGABYTES = 64
MOST_WAITING = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What fits a model.

    Attributes:
        context: most ids that it looks at.
        tokens_per_image: ids of an image.
        image_size: side of the tokenizer's images in pixels.
    """

    context: int
    tokens_per_image: int
    image_size: int

    @property
    def images(self) -> int:
        """Images that the context holds, new ones included."""
        return self.context // self.tokens_per_image

    @property
    def prompt_images(self) -> int:
        """Most images of a prompt: one place is for a new one.

        Raises:
            ValueError: there is none.
        """
        return prompts.images_that_fit(self.context, self.tokens_per_image, 1)

    @property
    def pairs(self) -> int:
        """Most example pairs beside a query and its answer."""
        return min(MOST_PAIRS, (self.prompt_images - 1) // 2)

    def of_model(self) -> str:
        """One line about the model and the uploads."""
        side = self.image_size
        return (
            f"The model looks at {self.images} pictures at a time, the one it draws included, each "
            f"as a square of {side} x {side} pixels. Files may have up to {MOST_MEGABYTES} MB and "
            f"{MOST_MEGAPIXELS} megapixels."
        )

    def of_analogy(self, num_pairs: int) -> str:
        """How full a prompt of so many pairs is."""
        left = self.pairs - num_pairs
        room = "no room for another pair" if left < 1 else f"room for {_count(left, 'more pair')}"
        return (
            f"{_count(num_pairs, 'pair')}, the query and its answer: {2 * num_pairs + 2} of "
            f"{self.images} pictures, {room}."
        )

    def of_sequence(self, num_given: int, num_used: int, num_new: int) -> str:
        """What becomes of so many frames."""
        room = f"at most {self.prompt_images} fit beside a new one"
        if not num_given:
            return f"No frames yet: {room}."
        used = f"{_count(num_given, 'frame')} to go on from, {num_used} used as the prompt"
        over = num_used + num_new - self.images
        slides = (
            f"; for the last {over} new the oldest frames make room, one at a time"
            if over > 0
            else ""
        )
        return f"{used}: {room}. {_count(num_new, 'new frame')}{slides}."


def of_time(seconds: float | None) -> str:
    """How long an answer takes."""
    if seconds is None:
        return "The first answer of this length compiles a program and takes longer."
    return f"At most {spell_seconds(seconds)}, as the last one of this length."


def spell_seconds(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 1:
        return "a second"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"
