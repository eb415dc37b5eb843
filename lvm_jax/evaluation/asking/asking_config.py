"""What is asked of a model in an evaluation, and how much."""

import dataclasses
from typing import Literal

from lvm_jax.configs import ConfigError, Field, require_at_least, within
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.sampling import SamplingConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskingConfig:
    """What is measured, and how much of it.

    Attributes:
        seeds: each chooses other examples and other random streams for the answers.
        num_examples: analogies per task and seed whose true answer is scored.
        num_answered: the first so many of them are also answered, num_candidates times.
        num_candidates: answers per answered analogy.
        num_shown: answered analogies of each task that the report shows, from the best to the
            worst; all, if there are fewer.
        shots: numbers of example pairs, each a row of its own; () takes all pairs of a prompt.
        score_truth: how probable the true answer is, under the right prompt and under others.
        first_ids: the same of the true answer's first so many ids alone, for each number: where
            several tasks could be meant, it is these that choose one.
        select: of several candidates also the one that the model finds most probable.
        pixels: answers are measured as the files of them would be, or before they are rounded.
        temperature, top_k, top_p: how answers are drawn.
        batch_size: rows per device batch.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    num_examples: int = 24
    num_answered: int = 8
    num_candidates: int = 4
    num_shown: int = 4
    shots: tuple[int, ...] = ()
    score_truth: bool = True
    first_ids: tuple[int, ...] = ()
    select: bool = True
    pixels: Literal["uint8", "float32"] = "uint8"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    batch_size: int = 8

    def __post_init__(self):
        for name, values in (
            ("seeds", self.seeds or (0, 0)),
            ("shots", self.shots),
            ("first_ids", self.first_ids),
        ):
            if len(set(values)) != len(values):
                raise ConfigError(
                    Field(name), f"={getattr(self, name)} must be different {name}, one or more"
                )
        if any(shots < 0 for shots in self.shots):
            raise ConfigError(Field("shots"), f"={self.shots} must be at least 0")
        if min(self.first_ids, default=1) < 1:
            raise ConfigError(Field("first_ids"), f"={self.first_ids} must be at least 1")
        require_at_least(self, 1, "num_examples", "num_answered", "num_candidates", "batch_size")
        require_at_least(self, 0, "num_shown")
        if self.num_answered > self.num_examples:
            raise ConfigError(
                Field("num_answered"),
                f"={self.num_answered} exceeds num_examples={self.num_examples}; answer fewer or "
                "take more",
            )
        with within("", seed="seeds"):
            for seed in self.seeds:
                self.asked(seed)

    def asked(self, seed: int) -> AnswerConfig:
        """What one seed asks of the model; ConfigError where that cannot be."""
        return AnswerConfig(
            num_candidates=self.num_candidates,
            seed=seed,
            sampling=SamplingConfig(
                temperature=self.temperature, top_k=self.top_k, top_p=self.top_p
            ),
            images_per_example=2,
            batch_size=self.batch_size,
        )
