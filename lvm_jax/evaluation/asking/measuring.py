"""Pictures -> numbers: of a model's candidates, of the two best among them, and of baselines.

Legend: n examples, C candidates, S side in pixels, T ids per image.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from lvm_jax import images
from lvm_jax.evaluation.asking import baselines, results
from lvm_jax.evaluation.asking.results import (
    BEST_BY_LIKELIHOOD,
    BEST_BY_ORACLE,
    CEILING,
    MODEL,
    MetricResult,
)
from lvm_jax.evaluation.asking.tokenized import Tokenized
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.tasks.task import Example, Measured, Task
from lvm_jax.tokenizer.codec import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model gave to some examples.

    Attributes:
        ids: int32 [n, C, T].
        surprise: nats per id of each under the model, float64 [n, C]; None where not asked for.
    """

    ids: np.ndarray
    surprise: np.ndarray | None


class Measurements:
    """Collects the numbers of a task, seed by seed.

    Args:
        task: measures.
        tokenizer: decodes answers.
        pixels: measure 8-bit pictures, or floats.
    """

    def __init__(self, task: Task, tokenizer: Tokenizer, pixels: Literal["uint8", "float32"]):
        self._task, self._tokenizer, self._pixels = task, tokenizer, pixels
        self._values: dict[str, dict[str, list[list[float]]]] = {}
        # Numbers of all examples together take sums over them, not their pictures.
        self._is_summed = not all(metric.per_example for metric in task.metrics)
        self._tallies: dict[str, np.ndarray] = {}

    def add(self, number: int, asked: Tokenized, answers: Answers) -> None:
        """Measures some more examples of a seed.

        Args:
            number: of the seed.
            asked: examples.
            answers: to them.
        """
        ids_NT = answers.ids.reshape(-1, answers.ids.shape[-1])
        decoded = np.asarray(self._tokenizer.decode(ids_NT))
        candidates_nC = decoded.reshape(*answers.ids.shape[:2], *decoded.shape[1:])
        ceiling_n = np.asarray(self._tokenizer.decode(asked.answers))
        drawn = baselines.pictures(asked.examples, asked.pairs, asked.queries)
        for n, example in enumerate(asked.examples):
            own = [self._measure(picture, example) for picture in candidates_nC[n]]
            values = [measured.values for measured in own]
            self._note(number, MODEL, _mean(values))
            others = {name: own[which] for name, which in self._chosen(values, answers, n).items()}
            fixed = {CEILING: ceiling_n[n]} | {name: row[n] for name, row in drawn.items()}
            others |= {name: self._measure(picture, example) for name, picture in fixed.items()}
            for name, measured in others.items():
                self._note(number, name, measured.values)
            if self._is_summed:
                others |= {f"{MODEL} {c}": measured for c, measured in enumerate(own)}
                for name, measured in others.items():
                    self._tallies[name] = self._tallies.get(name, 0.0) + measured.tally

    def _measure(self, picture: np.ndarray, example: Example) -> Measured:
        rounds = self._pixels == "uint8" and picture.dtype != np.uint8
        measured = self._task.measure(images.to_uint8(picture) if rounds else picture, example)
        names = [metric.name for metric in self._task.metrics if metric.per_example]
        assert set(names) == set(measured.values), (self._task.name, names, sorted(measured.values))
        values = {name: float(measured.values[name]) for name in names}
        return dataclasses.replace(measured, values=values)

    def _chosen(
        self, measured: Sequence[Mapping[str, float]], answers: Answers, n: int
    ) -> dict[str, int]:
        """Which of several candidates are the best, and by what."""
        if len(measured) < 2:
            return {}
        chosen = {}
        if answers.surprise is not None:
            chosen[BEST_BY_LIKELIHOOD] = int(answers.surprise[n].argmin())
        first = self._task.metrics[0]
        values = np.array([values[first.name] for values in measured])
        worst = -np.inf if first.better == "higher" else np.inf
        values = np.where(np.isfinite(values), values, worst)
        chosen[BEST_BY_ORACLE] = int(
            values.argmax() if first.better == "higher" else values.argmin()
        )
        return chosen

    def _note(self, number: int, whose: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            seeds = self._values.setdefault(name, {}).setdefault(whose, [])
            while len(seeds) <= number:
                seeds.append([])
            seeds[number].append(value)

    def results(self) -> tuple[MetricResult, ...]:
        """Of all metrics of the task, in their order."""
        totals = self._totals() if self._is_summed else {}
        return tuple(self._result(metric, totals) for metric in self._task.metrics)

    def _result(self, metric: Metric, totals: Mapping[str, Mapping[str, float]]) -> MetricResult:
        if not metric.per_example:
            ones = {name: (np.array([total[metric.name]]),) for name, total in totals.items()}
            return MetricResult(metric=metric, values=ones)
        values = {
            whose: tuple(np.array(seed, np.float64) for seed in seeds)
            for whose, seeds in self._values[metric.name].items()
        }
        return MetricResult(metric=metric, values=values)

    def _totals(self) -> dict[str, dict[str, float]]:
        """Whose -> the metrics of all examples together; the model's as means over candidates."""
        by_name = {name: dict(self._task.summarize(t)) for name, t in self._tallies.items()}
        own = [by_name.pop(name) for name in list(by_name) if name.startswith(f"{MODEL} ")]
        return {MODEL: _mean(own)} | by_name


def _mean(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over candidates; of those that have a value, where some have none."""
    means = {}
    for name in measured[0]:
        values = np.array([values[name] for values in measured], np.float64)
        values = values[np.isfinite(values)]
        means[name] = float(values.mean()) if len(values) else float("nan")
    return means


def places(result: MetricResult, number: int) -> list[tuple[str, int]]:
    """Examples to show, from the best to the worst by the model's values.

    Args:
        result: of a per_example metric.
        number: how many at most; one shows the median alone.

    Returns:
        (where it stands, its number among those of all seeds) pairs.
    """
    values = np.concatenate(result.values[results.MODEL])
    order = np.argsort(values if result.metric.better == "lower" else -values, kind="stable")
    order = order[np.isfinite(values[order])]
    total, number = len(order), min(number, len(order))
    if number < 1:
        return []
    middle = (total - 1) // 2
    chosen = np.linspace(0, total - 1, number).round().astype(int)
    if number != 2:  # the median is one of them
        chosen[np.abs(chosen - middle).argmin() if number > 2 else 0] = middle
    words = {middle: "median"}
    if number > 1:  # of two, the median is the better one
        words |= {0: "best", total - 1: "worst"}
    return [(words.get(rank, f"{rank + 1} of {total}"), int(order[rank])) for rank in chosen]
