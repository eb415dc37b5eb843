"""Several evaluations side by side: what they may be compared by, and which one is better."""

import dataclasses
import math
import os
import pathlib
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.evaluation.asking import evaluation_file
from lvm_jax.evaluation.asking.results import (
    CLEAR,
    FEWEST_PROMPTS,
    MODEL,
    MetricResult,
    Rung,
    TaskResult,
    margin,
)
from lvm_jax.evaluation.metrics.metric import Metric

# What must be equal, or numbers say nothing of the models.
COMPARED = ("tokenizer", "task", "settings", "seeds", "prompts", "inputs")
# Where a tokenizer lies is not what it is.
_FREE = ("tokenizer.name",)
_MOST_DIFFERENCES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One file.

    Attributes:
        letter: what tables call it.
        path: of the file.
        manifest: what its numbers depend on.
        results: of its tasks, by their names.
    """

    letter: str
    path: pathlib.Path
    manifest: Mapping[str, Any]
    results: Mapping[str, TaskResult]

    @property
    def model(self) -> str:
        """Where its model came from."""
        return str(self.manifest["model"].get("name") or "unnamed model")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gain:
    """By how much an evaluation is better than the first one.

    Attributes:
        mean: of the differences; positive is better whatever the metric.
        error: its standard error; infinite where nothing can be said.
        num_examples: that both have a value of; of unpaired ones the fewer.
        paired: whether the same examples were scored, each of which is compared with itself.
        clear: whether one of the two is better beyond doubt, see `results.Margin`.
    """

    mean: float
    error: float
    num_examples: int
    paired: bool
    clear: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one task.

    Attributes:
        task: its name.
        rung: where the task is a point of a curve.
        results: letter -> of the metric.
        gains: letter -> against the first evaluation, for all others.
        best: letter of the best mean; "" where no two differ.
        clearly: whether it is clearly better than every other one.
    """

    task: str
    rung: Rung | None
    results: Mapping[str, MetricResult]
    gains: Mapping[str, Gain]
    best: str
    clearly: bool

    @property
    def metric(self) -> Metric:
        """What was measured, in all evaluations."""
        return next(iter(self.results.values())).metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """All of them.

    Attributes:
        evaluations: in the order in which they were given.
        rows: every metric of every task that all of them have.
        allowed: letter -> what differs from the first and was allowed to, in words.
    """

    evaluations: tuple[Evaluation, ...]
    rows: tuple[Row, ...]
    allowed: Mapping[str, str]


def compare(paths: Sequence[str | os.PathLike], allow: Sequence[str] = ()) -> Comparison:
    """Reads evaluations and compares them.

    Args:
        paths: of at least two files, or of the folders that hold them.
        allow: parts of manifests that may differ, such as "settings.temperature".

    Raises:
        ConfigError: a file that is no evaluation, evaluations that cannot be compared, or a part
            that no manifest has; names what differs and both values.
    """
    for part in allow:
        if part.split(".")[0] not in COMPARED:
            known = ", ".join(COMPARED)
            raise ConfigError(
                Field("allow"), f"={part} is none of what must be equal: {known} or parts of these"
            )
    if not 2 <= len(paths) <= len(string.ascii_uppercase):
        raise ValueError(f"two evaluations or more can be compared, 26 at most, not {len(paths)}")
    evaluations = [read(path, letter) for path, letter in zip(paths, string.ascii_uppercase)]
    first, *others = evaluations
    if not any(all(task in other.results for other in others) for task in first.results):
        tasks = "; ".join(
            f"{each.path}: {', '.join(map(repr, each.results))}" for each in evaluations
        )
        raise ValueError(f"the evaluations have no task in common ({tasks})")
    allowed = {other.letter: _require_comparable(first, other, allow) for other in others}
    rows = tuple(_rows(evaluations))
    if not rows:
        raise ValueError("the evaluations have no metric in common; evaluate again, all alike")
    return Comparison(evaluations=tuple(evaluations), rows=rows, allowed=allowed)


def read(path: str | os.PathLike, letter: str) -> Evaluation:
    """Reads a file of `evaluation_file`'s form.

    Args:
        path: the file, or the folder that holds it.
        letter: what tables are to call it.

    Raises:
        ValueError: there is none, or it is of another kind or version; named.
    """
    path = pathlib.Path(path)
    path = path / evaluation_file.FILE if path.is_dir() else path
    results, manifest = evaluation_file.read_with_manifest(path)
    if missing := [part for part in ("model", *COMPARED) if part not in manifest]:
        raise ValueError(f"{path}: its manifest has no {missing[0]!r}; evaluate again")
    for part in ("model", "tokenizer", "task", "inputs"):
        if not isinstance(manifest[part], Mapping):
            raise ValueError(f"{path}: its manifest has no whole {part!r}; evaluate again")
    by_name = {result.name: result for result in results}
    return Evaluation(letter=letter, path=path, manifest=manifest, results=by_name)


def _require_comparable(first: Evaluation, other: Evaluation, allow: Sequence[str]) -> str:
    """What differs and may, in words; "" if nothing does.

    Raises:
        ConfigError: something differs that may not.
    """
    refused, allowed = [], []
    for name, own, theirs in _differences(first, other):
        where = name.split("[")[0]
        said = f"{name} is {_spelled(theirs)}, not {_spelled(own)}"
        may = any(where == part or where.startswith(f"{part}.") for part in allow)
        (allowed if may else refused).append((where, said))
    if refused:
        parts = dict.fromkeys(_part(where) for where, _ in refused)
        raise ConfigError(
            f"{other.path} cannot be compared with {first.path}: {_few(refused)}; ",
            *(Field("allow"), f"={','.join([*allow, *parts])} compares them nevertheless"),
        )
    return _few(allowed)


def _few(differences: Sequence[tuple[str, str]]) -> str:
    return "; ".join(configs.first_few([said for _, said in differences], _MOST_DIFFERENCES))


def _part(where: str) -> str:
    """What the user is offered to allow: single settings, other things as a whole."""
    first, _, rest = where.partition(".")
    return where if first == "settings" and rest else first


def _differences(one: Evaluation, other: Evaluation) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and other value; of lists that are as long, the first item that differs."""
    for part in COMPARED:
        pair = one.manifest[part], other.manifest[part]
        for name, own, theirs in configs.differences(*pair, part, _FREE):
            while isinstance(own, list) and isinstance(theirs, list) and len(own) == len(theirs):
                index = next(i for i, (a, b) in enumerate(zip(own, theirs)) if a != b)
                name, own, theirs = f"{name}[{index}]", own[index], theirs[index]
            yield name, own, theirs


def _spelled(value: Any) -> str:
    if value is None:
        return "missing"
    text = configs.shorten(value)
    is_long = isinstance(value, list) and text != str(value)
    return f"a list of {len(value)}" if is_long else text


def _rows(evaluations: Sequence[Evaluation]) -> Iterator[Row]:
    first, *others = evaluations
    for task, result in first.results.items():
        same = all(_scored_the_same(first, other, task) for other in others)
        for own in result.metrics:
            known = {
                each.letter: found
                for each in evaluations
                if (of_task := each.results.get(task))
                and (found := of_task.metric(own.metric.name))
                and _meaning(found.metric) == _meaning(own.metric)
            }
            if len(known) == len(evaluations):
                yield _row(result, known, same)


def _meaning(metric: Metric) -> Metric:
    """A metric without its description, which may be worded anew."""
    return dataclasses.replace(metric, about="")


def _scored_the_same(one: Evaluation, other: Evaluation, task: str) -> bool:
    """Whether the examples of a task are the same ones, in the same order."""

    def examples(each: Evaluation) -> tuple[Any, Any]:
        # The points of a curve are of one set of examples, under the curve's name.
        inputs = each.manifest["inputs"]
        return each.manifest["seeds"], inputs.get(task, inputs)

    return examples(one) == examples(other)


def _row(task: TaskResult, results: Mapping[str, MetricResult], same: bool) -> Row:
    first, *others = results
    gains = {letter: gain(results[letter], results[first], same) for letter in others}
    best, clearly = _winner(results, same)
    return Row(
        task=task.name, rung=task.rung, results=results, gains=gains, best=best, clearly=clearly
    )


def _winner(results: Mapping[str, MetricResult], same: bool) -> tuple[str, bool]:
    metric = next(iter(results.values())).metric
    known = {letter: r.mean() for letter, r in results.items() if math.isfinite(r.mean())}
    if len(set(known.values())) < 2:
        return "", False
    best = (max if metric.better == "higher" else min)(known, key=lambda letter: known[letter])
    others = [letter for letter in known if letter != best]
    return best, all(gain(results[best], results[other], same).clear for other in others)


def gain(own: MetricResult, other: MetricResult, same: bool) -> Gain:
    """By how much a result is better than another one.

    Args:
        own, other: of one metric.
        same: whether they are of the same examples in the same order.
    """
    metric, values, others = own.metric, own.values[MODEL], other.values[MODEL]
    plain = metric.gain(own.mean(), other.mean())
    if not metric.per_example:
        return Gain(mean=plain, error=math.inf, num_examples=0, paired=False, clear=False)
    if same and [len(seed) for seed in values] == [len(seed) for seed in others]:
        ahead, behind = (margin(metric, *pair) for pair in ((values, others), (others, values)))
        num = ahead.num_prompts
        return Gain(
            mean=ahead.mean if num else math.nan,
            error=ahead.error,
            num_examples=num,
            paired=True,
            clear=num > 0 and (ahead.clear or behind.clear),
        )
    error = math.hypot(own.error(), other.error())
    num = min(len(each.all_values()) for each in (own, other))
    clear = num >= FEWEST_PROMPTS and abs(plain) > CLEAR * error
    return Gain(mean=plain, error=error, num_examples=num, paired=False, clear=clear)
