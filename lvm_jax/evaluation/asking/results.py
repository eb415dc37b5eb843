"""Numbers of tasks by metric: the model's beside those of baselines, over seeds.

Legend: n examples of a seed, S side in pixels, k pictures that stay together.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lvm_jax.evaluation.metrics.metric import Metric

# Whose numbers they are. The model's own: mean over candidates; of the candidate that the model
# itself finds most probable; of the one that the first metric likes best, which takes the truth.
MODEL = "model"
BEST_BY_LIKELIHOOD = "best_by_likelihood"
BEST_BY_ORACLE = "best_by_oracle"
SELECTIONS = (BEST_BY_LIKELIHOOD, BEST_BY_ORACLE)
CEILING = "ceiling"  # the truth, encoded and decoded: as good as the tokenizer allows
# What one could draw without understanding the task; to be beaten, each of them.
COPY = "copy"  # the query itself
MEAN = "mean"  # the mean of the prompt's answers
NEAREST_PIXELS = "nearest_pixels"  # the answer of the example whose input is nearest in pixels
NEAREST_IDS = "nearest_ids"  # the same, by equal ids
# What the true answer is scored under beside the right prompt; to be beaten too.
OTHER = "other"  # another task's example pairs, then this query
NONE = "none"  # nothing but BOS
UNIGRAM = "unigram"  # no model: the frequencies of the codes in the training data
QUERY = "query"  # the query without example pairs
POSERS = (OTHER, QUERY)  # prompts that ask with the same query, but do not say for what

# A margin is clear when it exceeds this many standard errors over the prompts of all seeds,
CLEAR = 2.0
# and there are so many prompts at least: of fewer, standard errors say little.
FEWEST_PROMPTS = 8

Verdict = Literal["answered", "recognised", "not learned", "measured"]
_NOT_RIVALS = (MODEL, *SELECTIONS, CEILING)

TRUTH = Metric(
    name="perplexity_of_truth",
    unit="nats per id",
    better="lower",
    per_example=True,
    shown="exp",
    about="Perplexity of the true answer: between how many codes the model in effect hesitates at "
    "each of its ids, exp of the mean over all of them.",
)


def truth_metric(first: int = 0) -> Metric:
    """How probable the true answer is by its first so many ids; 0 takes all of them."""
    if not first:
        return TRUTH
    of = "first id" if first == 1 else f"first {first} ids"
    return dataclasses.replace(
        TRUTH,
        name=f"perplexity_of_{of.replace(' ', '_')}",
        about=f"Perplexity of the true answer by its {of} alone, from which on the task is known.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Margin:
    """By how much a rival is beaten: differences within prompts, of which good ones are positive.

    Attributes:
        gaps: of each seed, for every prompt: float64 in the metric's unit.
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
        return standard_error(np.concatenate(self.gaps))

    @property
    def seeds_ahead(self) -> int:
        """In how many seeds the rival is beaten on average."""
        return sum(float(gap.mean()) > 0 for gap in self.gaps if len(gap))

    @property
    def clear(self) -> bool:
        """Whether the rival is beaten beyond doubt: see CLEAR, and no seed disagrees."""
        return (
            self.num_prompts >= FEWEST_PROMPTS
            and self.seeds_ahead == len(self.gaps)
            and self.mean > CLEAR * self.error
        )


def standard_error(values: np.ndarray) -> float:
    """Of the mean of some values; infinite for fewer than two."""
    if len(values) < 2:
        return float("inf")
    return float(values.std(ddof=1) / np.sqrt(len(values)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricResult:
    """One metric of one task over all seeds.

    Attributes:
        metric: what is measured.
        values: whose -> of each seed the values of its examples, float64 [n]; NaN where an example
            has none. Of a metric that is not per_example one array with the one number.
        own: what readers call the model's.
    """

    metric: Metric
    values: Mapping[str, tuple[np.ndarray, ...]]
    own: str = "answer"

    @property
    def rivals(self) -> tuple[str, ...]:
        """Those that the model must beat, in order."""
        return tuple(name for name in self.values if name not in _NOT_RIVALS)

    def all_values(self, whose: str = MODEL) -> np.ndarray:
        """Of the examples of all seeds that have one: float64."""
        values = np.concatenate(self.values[whose])
        return values[np.isfinite(values)]

    def mean(self, whose: str = MODEL) -> float:
        """Over the examples of all seeds; NaN where none has a value."""
        values = self.all_values(whose)
        return float(values.mean()) if len(values) else float("nan")

    def error(self, whose: str = MODEL) -> float:
        """Standard error of `mean`; infinite where nothing can be said."""
        return standard_error(self.all_values(whose)) if self.metric.per_example else float("inf")

    def shown(self, whose: str = MODEL) -> float:
        """What a report shows of the mean."""
        return self.metric.value(self.mean(whose))

    @functools.cached_property
    def margins(self) -> dict[str, Margin]:
        """By how much each rival is beaten; empty of a metric that is not per_example."""
        if not self.metric.per_example:
            return {}
        return {rival: self.margin(rival) for rival in self.rivals}

    def margin(self, other: str) -> Margin:
        """By how much another one is beaten, over the examples in which both have a value."""
        return margin(self.metric, self.values[MODEL], self.values[other])

    @property
    def unbeaten(self) -> tuple[str, ...]:
        """Rivals that are not beaten clearly."""
        return tuple(rival for rival, margin in self.margins.items() if not margin.clear)

    @property
    def posed(self) -> bool | None:
        """Whether the examples pose the task: clearly better than another task's and than none.

        None where one of these was not measured.
        """
        if not self.margins.keys() >= set(POSERS):
            return None
        return all(self.margins[name].clear for name in POSERS)

    @property
    def learned(self) -> bool | None:
        """Whether all rivals are beaten clearly; None where there are none to compare with."""
        return not self.unbeaten if self.margins else None


def margin(metric: Metric, values: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> Margin:
    """By how much values are better than others of the same examples; of those that have both.

    Args:
        metric: of both.
        values, others: of each seed, float64 [n].
    """
    gaps = []
    for own, rival in zip(values, others, strict=True):
        gap = own - rival if metric.better == "higher" else rival - own
        gaps.append(gap[np.isfinite(gap)])
    return Margin(gaps=tuple(gaps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Pictures of a prompt that are shown together.

    Attributes:
        kind: "examples", "asked", "answers", "truth" or "best", which decides how it looks.
        caption: over it.
        pictures: uint8 [n, k, S, S, 3], n times k pictures.
    """

    kind: str
    caption: str
    pictures: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """One example for the eye.

    Attributes:
        place: where it stands among all by the deciding metric, such as "best".
        value: of the model by that metric.
        groups: what is shown, in order.
    """

    place: str
    value: float
    groups: tuple[Group, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rung:
    """One point of a curve: the same examples under more or less context.

    Attributes:
        series: what all of the curve share, the task's own name.
        family: what all curves of a chart share, where several are shown in one; "" otherwise.
        axis: what changes, in the plural, such as "example pairs".
        value: how many.
    """

    series: str
    axis: str
    value: int
    family: str = ""

    @property
    def name(self) -> str:
        """Of the result: differs from all others'."""
        axis = self.axis.removesuffix("s") if self.value == 1 else self.axis
        return f"{self.series}, {self.value} {axis}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskResult:
    """One task over all seeds.

    Attributes:
        name: of the task.
        seeds: in the order of all values.
        metrics: what was measured; the probability of the truth, if it was, before the task's own.
        decides: name of the task's first metric.
        shown: examples from the best to the worst.
        rung: where it is a point of a curve.
    """

    name: str
    seeds: tuple[int, ...]
    metrics: tuple[MetricResult, ...]
    decides: str
    shown: tuple[Shown, ...] = ()
    rung: Rung | None = None

    def metric(self, name: str) -> MetricResult | None:
        """The result of a metric, if it was measured."""
        return next((result for result in self.metrics if result.metric.name == name), None)

    @property
    def deciding(self) -> MetricResult:
        """Of the metric that decides whether the task is learned."""
        result = self.metric(self.decides)
        assert result is not None, self.decides
        return result

    @property
    def truth(self) -> MetricResult | None:
        """How probable the true answer was, where it was measured beside rivals."""
        result = self.metric(TRUTH.name)
        return result if result is not None and result.margins else None

    @property
    def verdict(self) -> Verdict:
        """No more than the weakest evidence carries.

        "recognised": the examples make the true answer more probable than every rival does.
        "answered": and by the deciding metric what is drawn beats every baseline.
        "measured": there is nothing to compare with.
        """
        if self.deciding.learned is None:
            return "measured"
        if self.truth is not None and not self.truth.learned:
            return "not learned"
        if self.deciding.learned:
            return "answered"
        return "not learned" if self.truth is None else "recognised"


def number_or_none(value: float) -> Any:
    """For JSON, which has no infinity."""
    return float(value) if np.isfinite(value) else None
