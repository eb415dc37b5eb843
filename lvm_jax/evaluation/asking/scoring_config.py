"""How images that follow others are scored."""

import dataclasses
from typing import Literal

from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.vocabulary import Framing

Bos = Literal["trained", "with", "without"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoringConfig:
    """What is scored, and how.

    Attributes:
        seeds: each chooses other windows and other examples.
        num_examples: per seed; 0 takes as many as there are.
        context_images: numbers of images before the targets, each a row of its own; the same
            targets after each. () takes the whole prompt.
        shots: the same by example pairs, 2 k + 1 images.
        bos: whether rows begin with BOS: as the model was trained, or each of several ways.
        over: the ids that share the probability. "codes": an image id follows an image id, as when
            generating; "all": special ids too, as LVM's own evaluation does.
        images_per_example: a whole prompt that is too long loses its oldest images so many at a
            time; 2 for pairs.
        batch_size: rows per device batch.
        num_shown: sequences that the report shows, from the best to the worst.
    """

    seeds: tuple[int, ...] = (0,)
    num_examples: int = 0
    context_images: tuple[int, ...] = ()
    shots: tuple[int, ...] = ()
    bos: tuple[Bos, ...] = ("trained",)
    over: Literal["codes", "all"] = "codes"
    images_per_example: int = 1
    batch_size: int = 4
    num_shown: int = 3

    def __post_init__(self):
        require_at_least(self, 0, "num_examples", "num_shown")
        require_at_least(self, 1, "images_per_example", "batch_size")
        for name in ("seeds", "bos"):
            if not getattr(self, name):
                raise ConfigError(Field(name), " names nothing; one or more are needed")
        for name in ("seeds", "bos", "context_images", "shots"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ConfigError(Field(name), f"={values} must differ from each other")
        if min(self.shots, default=0) < 0 or min(self.context_images, default=1) < 1:
            name = "shots" if min(self.shots, default=0) < 0 else "context_images"
            least = 0 if name == "shots" else 1
            raise ConfigError(Field(name), f"={getattr(self, name)} must be at least {least}")
        if self.shots and self.context_images:
            raise ConfigError(
                Field("shots"),
                " and ",
                Field("context_images"),
                " are two ways to say the length of prompts; give one of them",
            )

    @property
    def rungs(self) -> tuple[tuple[str, int, int], ...]:
        """(what changes, how many, images before the targets) of every row; none: whole prompts."""
        shots = (("example pairs", k, 2 * k + 1) for k in self.shots)
        return (*(("context images", n, n) for n in self.context_images), *shots)

    @property
    def most_images(self) -> int:
        """Before the targets, of all rows; 0 where prompts are taken whole."""
        return max((images for _, _, images in self.rungs), default=0)


def framing_of(bos: Bos, trained: Framing) -> Framing:
    """How rows begin."""
    return trained if bos == "trained" else Framing(bos=bos == "with", eos=trained.eos)
