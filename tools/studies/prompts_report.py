"""The prompts study in words and tables, from its numbers alone; see `prompts_summary`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lvm_jax.evaluation.report import wording
from studies.markdown import table

_ALONE = "none"  # what stands in the place of a kind's examples
_IDS = {"all": "all ids", "1": "first id", "8": "first 8"}  # of what a table shows


def lines(sizes: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Paragraphs: which tasks are posed, in every run; the numbers of the largest one.

    Args:
        sizes: size -> evaluations of its runs, the largest size first.
    """
    runs = [(size, found) for size, of_size in sizes.items() for found in of_size]
    if not runs:
        return ["No evaluation yet."]
    heads = [f"{size}, seed {found['run'].rpartition('seed')[2]}" for size, found in runs]
    _, largest = runs[0]
    said = [
        [name, *(_said(found["tasks"][name]) for _, found in runs)] for name in largest["tasks"]
    ]
    text = [
        "A task is posed by its prompt when the true answer is clearly more probable after the "
        "right examples than after another task's and than after the query alone: by all of its "
        "ids, or by the first of them alone, which choose the task. Its answers are better than "
        "all baselines when they beat each of them clearly by the task's own metric.",
        table(["task", *heads], said),
        _counts(largest),
        f"In numbers, of {heads[0]}. Perplexities are of the true answer.",
        tasks_table(largest),
    ]
    for name, group in largest["shared"].items():
        judge = group["judge"]
        text += [
            f"Queries that tasks share, {name}: {group['queries']} of {group['things']} things. Of "
            f"what kind the answers are is judged by their codes; {100 * judge['right']:.0f}% of "
            "pictures that are right in nothing but their kind are told rightly.",
            shares_table(group),
            shared_table(group),
        ]
    return text


def _said(task: Mapping[str, Any]) -> str:
    """What one run makes of a task, in a few words."""
    truth = task["truth"]
    first = [shown for shown in truth if shown != "all" and truth[shown]["posed"]]
    if truth["all"]["posed"]:
        words = "posed"
    else:
        words = f"posed by first {', '.join(first)}" if first else "not posed"
    return f"{words}; better than all" if task["metric"]["beats_all"] else words


def _counts(found: Mapping[str, Any]) -> str:
    """How many tasks are posed, and how many are answered."""
    said = []
    for unseen, what in ((False, "tasks that training poses"), (True, "that it never poses")):
        tasks = {name: t for name, t in found["tasks"].items() if t["unseen"] is unseen}
        posed = [name for name, task in tasks.items() if task["truth"]["all"]["posed"]]
        better = [name for name, task in tasks.items() if task["metric"]["beats_all"]]
        said.append(
            f"of {len(tasks)} {what}, {len(posed)} are posed and {len(better)} better than all "
            f"baselines ({', '.join(better) or 'none'})"
        )
    return f"{found['run']}: {'; '.join(said)}."


def tasks_table(found: Mapping[str, Any]) -> str:
    """Every task: perplexity under each prompt, and the answers' metric beside the best baseline.

    Args:
        found: what `prompts.evaluate` gave.
    """
    rows = []
    for name, task in found["tasks"].items():
        whole, metric = task["truth"]["all"], task["metric"]
        baselines = {n: gain[0] for n, gain in metric["baselines"].items() if gain[0] is not None}
        best = max if metric["better"] == "higher" else min
        rival = best(baselines, key=lambda name: baselines[name], default=None)
        named = "-" if rival is None else f"{_number(baselines[rival])} ({_words(rival)})"
        nats = (whole["right"], whole["other"][0], whole["query"][0])
        rows.append(
            [
                name,
                f"{task['prompts']} of {task['things']}",
                *(_number(math.exp(each)) for each in nats),
                _words(metric["name"]),
                _with_error(*metric["model"]),
                named,
                _number(metric["ceiling"]),
            ]
        )
    heads = ["task", "prompts of things", "right prompt", "another task's", "query alone", "metric"]
    return table([*heads, "answers", "best baseline", "truth through the tokenizer"], rows)


def shares_table(group: Mapping[str, Any]) -> str:
    """Of a group of shared queries: how often answers are of each kind, under each prompt.

    Args:
        group: of `found["shared"]`.
    """
    answers = zip(group["answers"]["share"], group["answers"]["error"])
    rows = [
        [prompt, *(_percent(*each) for each in zip(shares, errors))]
        for prompt, (shares, errors) in zip((*group["kinds"], _ALONE), answers)
    ]
    return table(["examples, answers", *group["kinds"], "like the query"], rows)


def shared_table(group: Mapping[str, Any]) -> str:
    """Of a group of shared queries: what its own examples gain a kind.

    Args:
        group: of `found["shared"]`.
    """
    rows = []
    for kind, task in group["tasks"].items():
        row = [kind]
        for rival in ("other", "query"):
            gains = [*(task["truth"][ids][rival] for ids in _IDS), task["share"][rival]]
            row += [_gain(*gain[1:]) for gain in gains]
        rows.append(row)
    of = (*(f"nats, {words}" for words in _IDS.values()), "share")
    heads = [f"{each}, over {rival}" for rival in ("another's", "none") for each in of]
    return table(["gain of its own examples", *heads], rows)


def _gain(gain: float | None, error: float | None, clear: bool) -> str:
    if gain is None:
        return "-"
    number = f"{gain:+.3f}" + ("" if error is None else f" ± {error:.3f}")
    return f"**{number}**" if clear else number


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float | None) -> str:
    return "-" if value is None else wording.number(value)


def _with_error(value: float | None, error: float | None) -> str:
    return _number(value) + ("" if error is None else f" {wording.off(error)}")


def _percent(share: float, error: float | None) -> str:
    return f"{100 * share:.0f}%" + ("" if error is None else f" ± {100 * error:.0f}")
