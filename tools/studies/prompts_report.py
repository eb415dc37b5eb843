"""The prompts study as tables in Markdown, from its numbers alone; see `prompts_summary`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lvm_jax.evaluation.report import wording

_ALONE = "none"  # what stands in the place of a kind's examples


def tasks_table(found: Mapping[str, Any]) -> str:
    """Every task: perplexity under each prompt, whether that poses it, and the answers' metric.

    Args:
        found: what `prompts.evaluate` gave.
    """
    rows = []
    for name, task in found["tasks"].items():
        truth, metric = task["truth"], task["metric"]
        whole = truth["all"]
        better = max if metric["better"] == "higher" else min
        rival, (value, *_) = better(metric["baselines"].items(), key=lambda item: item[1][0])
        first = [shown for shown in truth if shown != "all" and truth[shown]["posed"]]
        rows.append(
            [
                name,
                f"{task['prompts']} ({task['things']})",
                *(_perplexity(n) for n in (whole["right"], whole["other"][0], whole["query"][0])),
                "yes" if whole["posed"] else "no",
                ", ".join(first) or "none",
                metric["name"].replace("_", " "),
                _with_error(*metric["model"]),
                f"{wording.number(value)} ({rival.replace('_', ' ')})",
                wording.number(metric["ceiling"]),
                "yes" if metric["beats_all"] else "no",
            ]
        )
    heads = ["task", "prompts (things)", "right prompt", "another task's", "query alone", "posed"]
    heads += ["by its first ids", "metric", "answers", "best baseline", "tokenizer's best"]
    return _markdown([*heads, "beats all"], rows)


def shares_table(group: Mapping[str, Any]) -> str:
    """Of a group of shared queries: how often answers are of each kind, under each prompt.

    Args:
        group: of `found["shared"]`.
    """
    rows = []
    answers = zip(group["answers"]["share"], group["answers"]["error"])
    for prompt, (shares, errors) in zip((*group["kinds"], _ALONE), answers):
        rows.append([prompt, *(_percent(*each) for each in zip(shares, errors))])
    return _markdown(["examples \\ answers", *group["kinds"], "like the query"], rows)


def posed_tasks(found: Mapping[str, Any], first: str = "all") -> Iterator[str]:
    """Names of the tasks that their prompts pose, by all ids of the true answer or its first."""
    for name, task in found["tasks"].items():
        if task["truth"][first]["posed"]:
            yield name


def _perplexity(nats: float) -> str:
    return wording.number(math.exp(nats))


def _with_error(value: float, error: float | None) -> str:
    return wording.number(value) + ("" if error is None else f" {wording.off(error)}")


def _percent(share: float, error: float | None) -> str:
    return f"{100 * share:.0f}%" + ("" if error is None else f" ± {100 * error:.0f}")


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = "|" + "---|" * len(heads)
    return "\n".join([f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(r)} |" for r in rows)])
