"""Scores of analogies over seeds: perplexities of the true answer, errors of the model's answers.

Legend: N examples, n answered examples, C candidates, S side in pixels.
"""

import dataclasses
from typing import Any

import numpy as np

from lvm_jax.evaluation import perplexity
from lvm_jax.evaluation.tasks import Example

# What the true answer is scored under.
RIGHT = "right"  # the task's own example pairs, then the query
OTHER = "other"  # another task's example pairs, then this query
QUERY = "query"  # the query without example pairs
NONE = "none"  # nothing but BOS
UNIGRAM = "unigram"  # no model: the frequencies of the codes in the training data
CONDITIONS = (RIGHT, OTHER, NONE, UNIGRAM, QUERY)
# A learned task is better with the right prompt than under each of these.
RIVALS = (OTHER, NONE, UNIGRAM)

# Images compared with the true answer.
ANSWER = "answer"  # the model's, mean over candidates of their errors
CEILING = "ceiling"  # the truth, encoded and decoded: as good as the tokenizer allows
COPY = "copy"  # the query itself
MEAN = "mean"  # the mean of the prompt's answers
COMPARED = (ANSWER, CEILING, COPY, MEAN)

# A margin in one seed is clear when it exceeds this many standard errors over the examples.
CLEAR = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedScores:
    """One task, one seed.

    Attributes:
        seed: the seed.
        nll: condition -> nats per id of every example, float64 [N].
        mse: compared image -> error of every answered example, float64 [n], [0, 1] units.
    """

    seed: int
    nll: dict[str, np.ndarray]
    mse: dict[str, np.ndarray]

    def perplexity(self, condition: str) -> perplexity.Perplexity:
        """Over the examples of this seed, for one of the conditions of `nll`."""
        return perplexity.summarize(self.nll[condition][:, None])

    def margin(self, rival: str) -> tuple[float, float]:
        """How much worse the rival prompt is: mean and standard error of the paired difference.

        Returns:
            nats per id, over the examples; the error is 0 for a single example.
        """
        gap_N = self.nll[rival] - self.nll[RIGHT]
        spread = gap_N.std(ddof=1) / np.sqrt(len(gap_N)) if len(gap_N) > 1 else 0.0
        return float(gap_N.mean()), float(spread)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """One answered analogy for the eye; uint8 images.

    Attributes:
        example: pairs, query and truth.
        candidates: [C, S, S, 3], the model's answers.
        ceiling: the truth through the tokenizer.
    """

    example: Example
    candidates: np.ndarray
    ceiling: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskResult:
    """One task over all seeds."""

    name: str
    seeds: tuple[SeedScores, ...]
    shown: tuple[Shown, ...] = ()

    @property
    def conditions(self) -> tuple[str, ...]:
        """Those that could be measured; "other" is missing when there is no other task."""
        return tuple(name for name in CONDITIONS if name in self.seeds[0].nll)

    @property
    def rivals(self) -> tuple[str, ...]:
        """The measured conditions that the right prompt is held against."""
        return tuple(name for name in RIVALS if name in self.conditions)

    def perplexity(self, condition: str) -> float:
        """exp(mean NLL) over all seeds and examples."""
        return float(np.exp(np.mean([seed.nll[condition].mean() for seed in self.seeds])))

    def mean_of_perplexities(self, condition: str) -> float:
        """LVM's way: the mean over examples of each example's perplexity."""
        return float(np.mean([np.exp(seed.nll[condition]).mean() for seed in self.seeds]))

    def mse(self, compared: str) -> float:
        """Mean squared error over all seeds and examples, pixels in [0, 1]."""
        return float(np.mean([seed.mse[compared].mean() for seed in self.seeds]))

    def holds(self, rival: str) -> int:
        """In how many seeds the right prompt beats the rival."""
        return sum(seed.margin(rival)[0] > 0 for seed in self.seeds)

    def clear(self, rival: str) -> int:
        """In how many seeds it does so by more than CLEAR standard errors."""
        margins = [seed.margin(rival) for seed in self.seeds]
        return sum(mean > CLEAR * error for mean, error in margins)

    @property
    def learned(self) -> bool:
        """Every margin is clear in every seed."""
        return all(self.clear(rival) == len(self.seeds) for rival in self.rivals)

    def to_json(self) -> dict[str, Any]:
        """Numbers only, per seed and over all."""

        def numbers(nll_of, mse_of):
            return {
                "perplexity": {name: nll_of(name) for name in self.conditions},
                "mse": {name: mse_of(name) for name in COMPARED},
            }

        return {
            "name": self.name,
            "learned": self.learned,
            **numbers(self.perplexity, self.mse),
            "mean_of_perplexities": {n: self.mean_of_perplexities(n) for n in self.conditions},
            "margins": {
                rival: {"holds": self.holds(rival), "clear": self.clear(rival)}
                for rival in self.rivals
            },
            "seeds": [
                {
                    "seed": seed.seed,
                    "num_examples": len(seed.nll[RIGHT]),
                    "num_answered": len(seed.mse[ANSWER]),
                    **numbers(
                        lambda name, seed=seed: seed.perplexity(name).of_mean,
                        lambda name, seed=seed: float(seed.mse[name].mean()),
                    ),
                    "margin_nats": {rival: seed.margin(rival)[0] for rival in self.rivals},
                    "margin_standard_error": {r: seed.margin(r)[1] for r in self.rivals},
                }
                for seed in self.seeds
            ],
        }
