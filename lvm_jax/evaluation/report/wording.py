"""What the numbers say, in words and in plain-text tables, whatever was measured."""

import math
from collections.abc import Collection, Sequence

from lvm_jax.evaluation.asking import results as names
from lvm_jax.evaluation.asking.results import MODEL, MetricResult, TaskResult
from lvm_jax.evaluation.metrics.metric import Metric
from lvm_jax.evaluation.report.losses import MOST_ABOVE_LOWEST, MOST_ABOVE_TRAINING, Losses

_NAMES = {
    names.BEST_BY_LIKELIHOOD: "likeliest candidate",
    names.BEST_BY_ORACLE: "best candidate by the truth (oracle)",
    names.CEILING: "tokenizer's best",
    names.COPY: "copy of the query",
    names.MEAN: "mean of the prompt's answers",
    names.NEAREST_PIXELS: "nearest example's answer (pixels)",
    names.NEAREST_IDS: "nearest example's answer (ids)",
    names.OTHER: "another task's prompt",
    names.NONE: "no prompt",
    names.UNIGRAM: "unigram frequencies",
    names.QUERY: "the query alone",
}
# A terminal has 80 columns, and the report spells them out.
_SHORT = {
    names.BEST_BY_LIKELIHOOD: "likeliest",
    names.BEST_BY_ORACLE: "oracle",
    names.NEAREST_PIXELS: "near px",
    names.NEAREST_IDS: "near ids",
}


def whose(result: MetricResult, name: str) -> str:
    """What readers call the model's numbers or those of something else."""
    return result.own if name == MODEL else _NAMES.get(name, name)


def columns(results: Sequence[MetricResult]) -> list[str]:
    """Whose numbers a table of one metric shows: the model's, the best possible, rivals."""
    first = (MODEL, *names.SELECTIONS, names.CEILING)
    known = dict.fromkeys(name for result in results for name in result.values)
    return [name for name in first if name in known] + [n for n in known if n not in first]


def by_metric(results: Sequence[TaskResult]) -> list[tuple[Metric, list[TaskResult]]]:
    """Every metric with the tasks that it was measured of, in the order of their first place."""
    metrics = dict.fromkeys(of.metric for result in results for of in result.metrics)
    return [(m, [r for r in results if (o := r.metric(m.name)) and o.metric == m]) for m in metrics]


def of(result: TaskResult, metric: Metric) -> MetricResult:
    """A task's result of a metric that it has."""
    found = result.metric(metric.name)
    assert found is not None, (result.name, metric.name)
    return found


def number(value: float) -> str:
    """A number in about three digits; "-" where there is none."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    return f"{value:.{1 if size >= 10 else 2 if size >= 1 else 4}f}"


def margin(result: MetricResult, rival: str) -> str:
    """One margin: whether it is clear, and in how many seeds it points that way."""
    against = result.margins[rival]
    if not against.num_prompts:
        return "nothing to compare"
    beaten = "clearly" if against.clear else "not clearly"
    word = beaten if against.mean > 0 else "not beaten"
    return f"{word}, {against.seeds_ahead} of {_counted(len(against.gaps), 'seed')}"


def gap(result: MetricResult, rival: str) -> str:
    """One margin in numbers, over the prompts of all seeds: mean and standard error."""
    against = result.margins[rival]
    if not against.num_prompts:
        return "-"
    return f"{_rounded(against.mean, 2):+g} ± {_rounded(against.error, 1):g}"


def off(error: float) -> str:
    """A standard error, of which one digit says enough."""
    return f"± {_rounded(error, 1):g}"


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def verdict(result: TaskResult) -> str:
    """Honest sentences: was the task learned from its examples?"""
    if result.truth is None:
        return ""
    if result.truth.unbeaten:
        unbeaten = _either([whose(result.truth, name) for name in result.truth.unbeaten])
        text = (
            "Not learned from its examples: they do not make the true answer clearly more probable "
            f"than {unbeaten}."
        )
    else:
        word = "Answered" if result.verdict == "answered" else "Recognised, not answered"
        text = (
            f"{word}: its examples make the true answer clearly more probable than every "
            "alternative."
        )
    if names.OTHER not in result.truth.rivals:
        text += " There was no second task to take a wrong prompt from."
    return text


def drawn(result: TaskResult) -> str:
    """Sentences on the answers against the baselines, by the metric that decides."""
    decides = result.deciding
    if not decides.margins:
        return ""
    num_prompts = min(margin.num_prompts for margin in decides.margins.values())
    if num_prompts < names.FEWEST_PROMPTS:
        return (
            f"{_counted(num_prompts, 'answered prompt')} are too few to judge answers by; it takes "
            f"{names.FEWEST_PROMPTS}."
        )
    label, unbeaten = decides.metric.label, decides.unbeaten
    if not unbeaten:
        return f"By {label} the answers are clearly better than every baseline."
    worse = _either([f"the {whose(decides, name)}" for name in unbeaten])
    text = f"By {label} the answers are not clearly better than {worse}"
    beaten = [f"the {whose(decides, name)}" for name in decides.rivals if name not in unbeaten]
    return f"{text}, but than {_all(beaten)}." if beaten else f"{text}."


def headline(results: Sequence[TaskResult]) -> str:
    """The report's first sentence; it claims no more than every task's verdict."""
    judged = [result for result in results if result.verdict != "measured"]
    if not judged:
        return _measured(results)
    answered = [result.name for result in judged if result.verdict == "answered"]
    recognised = [result.name for result in judged if result.verdict == "recognised"]
    num = len(judged)
    if len(answered) == num:
        what = "the one task" if num == 1 else f"all {num} tasks"
        return f"The model answers {what} from example images alone."
    if not answered and not recognised:
        return "No task was learned clearly in this run."
    if num == 1:
        return "The model recognises the one task from example images, but does not answer it."
    if not answered:
        return (
            f"The model answers none of {num} tasks, but recognises {len(recognised)} from example "
            f"images ({', '.join(recognised)})."
        )
    more = f", and recognises {len(recognised)} more ({', '.join(recognised)})"
    return (
        f"The model answers {len(answered)} of {num} tasks from example images alone "
        f"({', '.join(answered)}){more if recognised else ''}."
    )


def _measured(results: Sequence[TaskResult]) -> str:
    """Of results without verdict: the first, or the best of several by the deciding metric."""
    sign = {"higher": -1, "lower": 1}
    best = min(results, key=lambda r: sign[r.deciding.metric.better] * r.deciding.shown())
    label, value = best.deciding.metric.label, number(best.deciding.shown())
    lead = "At best: " if len(results) > 1 else ""
    said = f"{lead}{label} {value} ({best.name})."
    return said[0].upper() + said[1:]


def distance(results: Sequence[TaskResult]) -> tuple[str, str] | None:
    """How the answers compare with the best possible, from task to task.

    Returns:
        (number, what it is); None where tasks have different metrics or nothing is known.
    """
    metrics = {result.decides for result in results}
    deciding = [r.deciding for r in results if names.CEILING in r.deciding.values]
    if len(metrics) != 1 or not deciding:
        return None
    times = [r.shown() / best for r in deciding if (best := r.shown(names.CEILING)) > 0]
    if not times:
        return None
    low, high = (f"{_rounded(each, 2):g}" for each in (min(times), max(times)))
    label = deciding[0].metric.label
    return (
        f"{low} times" if low == high else f"{low} to {high} times",
        f"the {label} of the best possible, the truth through the tokenizer",
    )


def held_out(losses: Losses) -> str:
    """What the two losses say about memorising."""
    if not losses.held_out:
        return (
            f"The training loss ends at {losses.training:.2f} nats per id. Without held-out data "
            "(eval_data) nobody can tell from it whether the model memorises."
        )
    step, lowest = losses.lowest
    text = (
        f"The held-out loss ends at {losses.last:.2f} nats per id, the training loss at "
        f"{losses.training:.2f}; the lowest held-out loss was {lowest:.2f}, at step {step:,}."
    )
    limits = (
        f"more than {MOST_ABOVE_TRAINING:g} above training or "
        f"{MOST_ABOVE_LOWEST:g} above its own lowest"
    )
    if losses.memorised:
        return (
            f"Memorised: {text} It is {limits}: what was learned holds for the training pictures "
            "more than for others. More pictures, more squares of them or fewer steps help; longer "
            "training does not."
        )
    return f"{text} Memorised would be {limits}."


def text_table(results: Sequence[TaskResult]) -> str:
    """Every metric of every task, and verdicts, for a terminal."""
    blocks = []
    for metric, measured in by_metric(results):
        shown = columns([of(result, metric) for result in measured])
        heads = ["task", *(_short(of(measured[0], metric), name) for name in shown)]
        rows = [[r.name, *_cells(of(r, metric), shown, "-")] for r in measured]
        better = f"{metric.better} is better"
        blocks.append("\n".join([f"{metric.label}, {better}", *aligned([heads, *rows])]))
    judged = [result for result in results if result.verdict != "measured"]
    if judged:
        rows = [["task", "verdict"], *([result.name, result.verdict] for result in judged)]
        blocks.append("\n".join(aligned(rows)))
    return "\n\n".join(blocks)


def precise_table(results: Sequence[TaskResult]) -> str:
    """The model's means of every metric with four digits, and the number of examples."""
    metrics = [metric for metric, _ in by_metric(results)]
    rows = [["", "examples", *(metric.label for metric in metrics)]]
    for result in results:
        measured = [result.metric(metric.name) for metric in metrics]
        cells = ["-" if each is None else f"{each.shown():.4f}" for each in measured]
        rows.append([result.name, str(len(result.deciding.all_values())), *cells])
    return "\n".join(aligned(rows))


def _short(result: MetricResult, name: str) -> str:
    return _SHORT.get(name, whose(result, name) if name == MODEL else name)


def _cells(result: MetricResult, shown: Sequence[str], missing: str) -> list[str]:
    return [number(result.shown(n)) if n in result.values else missing for n in shown]


def markdown(results: Sequence[TaskResult]) -> str:
    """The same as Markdown; in italics is what is not beaten clearly."""
    blocks = []
    for place, (metric, measured) in enumerate(by_metric(results)):
        shown = columns([of(result, metric) for result in measured])
        heads = ["task", *([] if place else ["verdict"])]
        rows = [heads + [whose(of(measured[0], metric), name) for name in shown]]
        for result in measured:
            own = of(result, metric)
            emphasis = {name: "_" for name in own.unbeaten} | {MODEL: "**"}
            marks = [emphasis.get(name, "") if name in own.values else "" for name in shown]
            cells = [f"{m}{c}{m}" for m, c in zip(marks, _cells(own, shown, ""))]
            rows.append([result.name, *([] if place else [result.verdict]), *cells])
        blocks.append(_markdown_table(rows))
    return "\n\n".join(blocks)


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """The lines of a table for a terminal.

    Args:
        rows: heads, then cells.
        left: columns whose cells begin at the left; those of numbers end at the right.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _all(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
