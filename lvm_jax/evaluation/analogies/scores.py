"""Scores of analogies over seeds: perplexities of the true answer, errors of the model's answers.

Legend: N examples, n answered examples, C candidates, S side in pixels.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.evaluation.tasks.task import Example

# What the true answer is scored under.
RIGHT = "right"  # the task's own example pairs, then the query
OTHER = "other"  # another task's example pairs, then this query
NONE = "none"  # nothing but BOS
UNIGRAM = "unigram"  # no model: the frequencies of the codes in the training data
QUERY = "query"  # the query without example pairs
# A recognised task is better with the right prompt than under each of these.
RIVALS = (OTHER, NONE, UNIGRAM, QUERY)
CONDITIONS = (RIGHT, *RIVALS)

# Images compared with the true answer.
ANSWER = "answer"  # the model's, mean over candidates of their errors
CEILING = "ceiling"  # the truth, encoded and decoded: as good as the tokenizer allows
COPY = "copy"  # the query itself
MEAN = "mean"  # the mean of the prompt's answers
COMPARED = (ANSWER, CEILING, COPY, MEAN)
# An answered task is also drawn closer to the truth than each of these.
PIXEL_RIVALS = (COPY, MEAN)

# A margin is clear when it exceeds this many standard errors over the prompts of all seeds,
CLEAR = 2.0
# and there are so many prompts at least: of fewer, standard errors say little.
FEWEST_PROMPTS = 8

Verdict = Literal["answered", "recognised", "not learned"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Margin:
    """By how much a rival is beaten: differences within prompts, of which good ones are positive.

    Attributes:
        gaps: of each seed, rival minus own for every prompt: float64, nats per id or squared error.
    """

    gaps: tuple[np.ndarray, ...]

    @property
    def num_prompts(self) -> int:
        """Of all seeds together."""
        return sum(map(len, self.gaps))

    @property
    def mean(self) -> float:
        """Over the prompts of all seeds."""
        return float(np.concatenate(self.gaps).mean())

    @property
    def error(self) -> float:
        """Standard error of `mean`; infinite for a single prompt, of which nothing can be said."""
        if self.num_prompts < 2:
            return float("inf")
        return float(np.concatenate(self.gaps).std(ddof=1) / np.sqrt(self.num_prompts))

    @property
    def seeds_ahead(self) -> int:
        """In how many seeds the rival is beaten on average."""
        return sum(float(gap.mean()) > 0 for gap in self.gaps)

    @property
    def clear(self) -> bool:
        """Whether the rival is beaten beyond doubt: see CLEAR, and no seed disagrees."""
        return (
            self.num_prompts >= FEWEST_PROMPTS
            and self.seeds_ahead == len(self.gaps)
            and self.mean > CLEAR * self.error
        )

    def to_json(self) -> dict[str, Any]:
        """Numbers of all seeds together."""
        return {
            "mean": self.mean,
            "standard_error": self.error if np.isfinite(self.error) else None,
            "seeds_ahead": self.seeds_ahead,
            "clear": self.clear,
        }


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

    def gaps(self, rival: str) -> np.ndarray:
        """Rival minus own for every prompt: float64 [N] of nats per id, or [n] of squared error."""
        if rival in PIXEL_RIVALS:
            return self.mse[rival] - self.mse[ANSWER]
        return self.nll[rival] - self.nll[RIGHT]


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

    def margin(self, rival: str) -> Margin:
        """By how much one of `rivals` or PIXEL_RIVALS is beaten, over all seeds."""
        return Margin(gaps=tuple(seed.gaps(rival) for seed in self.seeds))

    def unbeaten(self, rivals: tuple[str, ...]) -> tuple[str, ...]:
        """Those of some rivals that are not beaten clearly."""
        return tuple(rival for rival in rivals if not self.margin(rival).clear)

    @property
    def verdict(self) -> Verdict:
        """No more than the weakest evidence carries.

        "recognised": the examples make the true answer more probable than every rival does.
        "answered": and what is drawn is closer to the truth than the query and the mean answer.
        """
        if self.unbeaten(self.rivals):
            return "not learned"
        return "recognised" if self.unbeaten(PIXEL_RIVALS) else "answered"

    def to_json(self) -> dict[str, Any]:
        """Numbers only: over all seeds, and of every prompt of each."""
        rivals = (*self.rivals, *PIXEL_RIVALS)
        return {
            "name": self.name,
            "verdict": self.verdict,
            "perplexity": {name: self.perplexity(name) for name in self.conditions},
            "mean_of_perplexities": {n: self.mean_of_perplexities(n) for n in self.conditions},
            "mse": {name: self.mse(name) for name in COMPARED},
            "margins": {rival: self.margin(rival).to_json() for rival in rivals},
            "seeds": [
                {
                    "seed": seed.seed,
                    "perplexity": {n: seed.perplexity(n).of_mean for n in self.conditions},
                    "mse": {name: float(seed.mse[name].mean()) for name in COMPARED},
                    "margins": {r: Margin(gaps=(seed.gaps(r),)).to_json() for r in rivals},
                    "nll_per_prompt": {n: seed.nll[n].tolist() for n in self.conditions},
                    "mse_per_prompt": {name: seed.mse[name].tolist() for name in COMPARED},
                }
                for seed in self.seeds
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TaskResult":
        """What `to_json` gave, without pictures."""
        seeds = (
            SeedScores(
                seed=seed["seed"],
                nll={name: np.array(values) for name, values in seed["nll_per_prompt"].items()},
                mse={name: np.array(values) for name, values in seed["mse_per_prompt"].items()},
            )
            for seed in content["seeds"]
        )
        return cls(name=content["name"], seeds=tuple(seeds))
