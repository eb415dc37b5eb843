"""What is asked of a model beside its prompts."""

import dataclasses
from typing import Literal

from lvm_jax import configs
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.model.few_rows import WeightPrecision


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """How many answers a prompt gets, how long they are, and how they are drawn.

    Attributes:
        num_new_images: images of an answer. Beyond the context the oldest images make room, one new
            image at a time.
        num_candidates: answers to draw; number c is the same whatever the number asked for.
        seed: of the drawing; same seed, same answer.
        sampling: how each id is drawn.
        images_per_example: oldest images are dropped this many at a time, so that an example is
            never halved; 2 for analogies.
        drop_oldest: a prompt that is too long for the context loses its oldest images, with a
            warning; else it is refused.
        batch_size: candidates decoded at a time.
        weights: precision of the matrices while ids are made, one at a time; prompts are read in
            the model's own. "compute" is that one, too. "bfloat16" and "int8" (a scale per column,
            and one per row of activations) need less memory and time, and change answers a little.
        cache: precision of the keys and values of what was read; "compute" is the model's own.
    """

    num_new_images: int = 1
    num_candidates: int = 1
    seed: int = 0
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    images_per_example: int = 1
    drop_oldest: bool = True
    batch_size: int = 8
    weights: WeightPrecision = "compute"
    cache: Literal["compute", "bfloat16"] = "compute"

    def __post_init__(self):
        at_least_one = ("num_new_images", "num_candidates", "images_per_example", "batch_size")
        configs.require_at_least(self, 1, *at_least_one)
        if not 0 <= self.seed < 2**32:
            raise configs.ConfigError(configs.Field("seed"), f"={self.seed} must lie in [0, 2**32)")
