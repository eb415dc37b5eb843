"""Evaluations side by side in words, in a table for a terminal, and as a value for JSON."""

import math
from collections.abc import Mapping
from typing import Any

from lvm_jax import configs
from lvm_jax.evaluation.asking.results import (
    CLEAR,
    FEWEST_PROMPTS,
    MetricResult,
    number_or_none,
)
from lvm_jax.evaluation.report import wording
from lvm_jax.evaluation.report.evaluations import Comparison, Gain, Row

HOW = (
    f"A difference is clear when it exceeds {CLEAR:g} of its standard errors, no seed points the "
    f"other way, and there are {FEWEST_PROMPTS} examples or more. Every gain is positive where the "
    "later evaluation is better than A, whether higher or lower values are."
)
_MOST_ITEMS = 20


def headline(comparison: Comparison) -> str:
    """Which evaluation is better, and in how much of what was measured."""
    num = len(comparison.rows)
    of_all = "the one number" if num == 1 else f"{num} numbers"
    wins = {
        each.letter: sum(row.clearly and row.best == each.letter for row in comparison.rows)
        for each in comparison.evaluations
    }
    won = {letter: count for letter, count in wins.items() if count}
    if not won:
        return f"None of the evaluations is clearly the best in any of {of_all}."
    parts = [f"{letter} in {count}" for letter, count in won.items()]
    undecided = num - sum(won.values())
    rest = f"; {undecided} undecided" if undecided else ""
    return f"Clearly the best of {of_all}: {', '.join(parts)}{rest}."


def notes(comparison: Comparison) -> list[str]:
    """What a reader has to know of what was compared."""
    notes = [
        f"{letter} was allowed to differ from A: {said}."
        for letter, said in comparison.allowed.items()
        if said
    ]
    unpaired = list(
        dict.fromkeys(
            row.task
            for row in comparison.rows
            if row.metric.per_example and not all(g.paired for g in row.gains.values())
        )
    )
    if unpaired:
        notes.append(
            f"Not the same examples were scored in {', '.join(unpaired)}: differences are those of "
            "two means, with larger errors."
        )
    names = {id(each): set(each.results) for each in comparison.evaluations}
    shared = set.intersection(*names.values())
    for each in comparison.evaluations:
        if left := [task for task in each.results if task not in shared]:
            notes.append(f"Only some evaluations have {', '.join(left)}; {each.letter} does.")
    return notes


def score(value: MetricResult) -> tuple[str, str]:
    """What was measured, and its standard error where that is in the same unit."""
    if not math.isfinite(value.mean()):
        return "-", ""
    return _number(value.shown(), value.error() if value.metric.shown == "mean" else math.inf)


def gain(value: Gain) -> tuple[str, str]:
    """By how much it is better, and the standard error."""
    return _number(value.mean, value.error, sign="+")


def _number(value: float, error: float, sign: str = "") -> tuple[str, str]:
    """As many digits as the error leaves, four where it is not known; "-" where there is none."""
    if not math.isfinite(value):
        return "-", ""
    if not math.isfinite(error):
        return f"{value:{sign}.4g}", ""
    digits = max(0, 1 - math.floor(math.log10(error))) if error > 0 else 4
    return f"{value:{sign}.{digits}f}", f"± {error:.{digits}f}"


def verdict(row: Row) -> str:
    """Which evaluation is the best, and what speaks against it."""
    if not row.best:
        return "equal"
    if row.clearly:
        return row.best
    if not row.metric.per_example:
        return f"{row.best}, error unknown"
    fewest = min(len(result.all_values()) for result in row.results.values())
    return f"{row.best}, {'not clearly' if fewest >= FEWEST_PROMPTS else 'too few examples'}"


def unit(row: Row) -> str:
    """Of gains, and which values are better."""
    named = f"{row.metric.unit}, " if row.metric.unit else ""
    measured = "exp of the mean, gains in " if row.metric.shown == "exp" else ""
    return f"{measured}{named}{row.metric.better} is better"


def text(comparison: Comparison) -> list[str]:
    """Lines for a terminal."""
    lines = [f"{e.letter}  {e.path}  (model {e.model})" for e in comparison.evaluations]
    letters = [each.letter for each in comparison.evaluations]
    heads = ["task", "metric", *letters, *(f"gain of {letter}" for letter in letters[1:]), "best"]
    rows = [heads]
    for row in comparison.rows:
        arrow = "+" if row.metric.better == "higher" else "-"
        values = [" ".join(score(row.results[letter])) for letter in letters]
        gains = [" ".join(gain(row.gains[letter])) for letter in letters[1:]]
        rows.append([row.task, f"{row.metric.name} ({arrow})", *values, *gains, verdict(row)])
    return [
        *lines,
        "",
        *wording.aligned(rows, {0, 1, len(heads) - 1}),
        "",
        *notes(comparison),
        headline(comparison),
    ]


def report(comparison: Comparison) -> dict[str, Any]:
    """All numbers, for JSON, which has neither NaN nor infinity."""
    return {
        "evaluations": {
            each.letter: {
                "path": str(each.path),
                "hash": each.manifest.get("hash"),
                "model": each.manifest["model"],
                "tokenizer": each.manifest["tokenizer"],
            }
            for each in comparison.evaluations
        },
        "allowed": dict(comparison.allowed),
        "rows": [_row(row) for row in comparison.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "task": row.task,
        "metric": row.metric.name,
        "unit": row.metric.unit,
        "better": row.metric.better,
        "per_example": row.metric.per_example,
        "scores": {
            letter: {
                "mean": number_or_none(result.mean()),
                "standard_error": number_or_none(result.error()),
                "learned": result.learned,
            }
            for letter, result in row.results.items()
        },
        "gains": {
            letter: {
                "mean": number_or_none(g.mean),
                "standard_error": number_or_none(g.error),
                "num_examples": g.num_examples,
                "paired": g.paired,
                "clear": g.clear,
            }
            for letter, g in row.gains.items()
        },
        "best": row.best or None,
        "clearly": row.clearly,
    }


def settings(comparison: Comparison) -> dict[str, str]:
    """What all evaluations have in common, by name."""
    first, *others = comparison.evaluations
    parts = {name: first.manifest[name] for name in ("task", "settings", "seeds")}
    flat: dict[str, str] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{name}.{key}" if name else str(key), inner)
        elif value != [] and all(configs.value_at(o.manifest, name) == value for o in others):
            items = value if isinstance(value, list) else [value]
            said = [configs.shorten(item) for item in items[:_MOST_ITEMS]]
            flat[name.removeprefix("settings.")] = ", ".join(
                [*said, *(["..."] if len(items) > _MOST_ITEMS else [])]
            )

    walk("", parts)
    return flat
