"""Whether losses fall in an order: each step judged by its standard error."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from studies.statistics import clustered_error

Verdict = Literal["holds", "not decided", "does not hold"]
CLEAR = 2.0
"""Standard errors beyond which a difference counts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """From one to the next of an order.

    Attributes:
        worse, better: names, as the order has them.
        gain: by how much the loss falls, nats per id.
        error: its standard error.
    """

    worse: str
    better: str
    gain: float
    error: float

    @property
    def verdict(self) -> Verdict:
        """What the step says of the order."""
        if abs(self.gain) <= CLEAR * self.error:
            return "not decided"
        return "holds" if self.gain > 0 else "does not hold"

    def __str__(self) -> str:
        return f"{self.worse} to {self.better} {self.gain:+.3f} ± {self.error:.3f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """An order that is expected of losses.

    Attributes:
        name: of what is ordered.
        steps: between neighbours of which there are results.
        missing: those without results.
    """

    name: str
    steps: tuple[Step, ...]
    missing: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """It holds when every step does, and does not when one clearly goes the other way."""
        verdicts = [step.verdict for step in self.steps]
        if "does not hold" in verdicts:
            return "does not hold"
        whole = verdicts and not self.missing and set(verdicts) == {"holds"}
        return "holds" if whole else "not decided"


def of_runs(
    name: str,
    groups: Mapping[str, Sequence[Mapping[str, Any]]],
    deviation: float | None = None,
) -> Order:
    """The order of runs that were asked the same prompts.

    Errors have two parts: of prompts, prompt by prompt and things as one; and of seeds, by the
    deviation within the two groups of a step, or within all groups where one of the two is a single
    run.

    Args:
        name: of the order.
        groups: in the expected order, the worst first: name -> evaluations of one task of its runs,
            see `results`; empty where there are none.
        deviation: from seed to seed, where the groups do not tell.
    """
    known = {group: runs for group, runs in groups.items() if runs}
    steps = []
    for worse, better in itertools.pairwise(known):
        pair = known[worse], known[better]
        if deviation is not None:
            of_one = deviation
        else:
            alone = min(map(len, pair)) == 1
            of_one = seeds_deviation(known.values() if alone else pair)
        gains = _mean_of_prompts(known[worse]) - _mean_of_prompts(known[better])
        of_prompts = clustered_error(gains, known[worse][0]["things"])
        of_seeds = of_one * math.sqrt(1 / len(known[worse]) + 1 / len(known[better]))
        error = math.hypot(of_prompts, of_seeds)
        steps.append(Step(worse=worse, better=better, gain=float(gains.mean()), error=error))
    missing = tuple(group for group in groups if group not in known)
    return Order(name=name, steps=tuple(steps), missing=missing)


def of_lengths(
    name: str, runs: Sequence[Mapping[str, Any]], lengths: Sequence[int], unit: str
) -> Order:
    """The order of lengths of context, over runs of one size.

    Args:
        name: of the order.
        runs: evaluations of one task by length, of each run.
        lengths: the shortest first.
        unit: what lengths count.
    """
    steps = []
    for shorter, longer in itertools.pairwise(lengths):
        gains = np.array([run["by_length"][str(longer)]["gain"] for run in runs])
        # All runs are asked the same prompts, so that their errors do not average out.
        of_prompts = float(gains[:, 1].mean())
        of_seeds = float(gains[:, 0].std(ddof=1) / math.sqrt(len(runs))) if len(runs) > 1 else 0.0
        steps.append(
            Step(
                worse=f"{shorter}",
                better=f"{longer} {unit}",
                gain=float(gains[:, 0].mean()),
                error=math.hypot(of_prompts, of_seeds),
            )
        )
    return Order(name=name, steps=tuple(steps))


def seeds_deviation(groups: Iterable[Sequence[Mapping[str, Any]]]) -> float:
    """The deviation of losses from seed to seed, pooled over groups; 0 where it is unknown."""
    squares, freedom = 0.0, 0
    for runs in groups:
        means = np.array([run["nll"][0] for run in runs])
        squares += float(np.sum((means - means.mean()) ** 2))
        freedom += len(means) - 1
    return math.sqrt(squares / freedom) if freedom else 0.0


def _mean_of_prompts(runs: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Loss of every prompt, mean over the seeds: float64 [prompts]."""
    return np.mean([run["nll_of_prompts"] for run in runs], axis=0)
