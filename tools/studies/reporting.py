"""The files of results -> tables in words and numbers, and pictures.

Nothing else is read, so that a report can be made wherever the files are.
"""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lvm_jax import atomic
from studies import besides_report, figures, orderings, plan, prompts_report, scaling_laws
from studies.found import Found, of_task
from studies.markdown import table
from studies.orderings import Order
from studies.plan import FRAMES_BEFORE, PAIRS_BEFORE, TASKS, VIDEOS
from studies.results import Results

FILE = "report.md"
_UP_TO = 7  # frames, to which losses are expected to fall


def write(folder: pathlib.Path) -> str:
    """Writes the report and its pictures beside the files of results; returns what it says."""
    found = Found.read(folder)
    text = "\n\n".join(
        [
            "# The study",
            *_head(found),
            *_scaling(found),
            *_data(found),
            *_context(found),
            "## Prompts",
            *prompts_report.lines({size: found.of_prompts(size) for size in plan.EVALUATED}),
            "## Reasons",
            *besides_report.lines(found),
        ]
    )
    figures.draw(folder, found)
    atomic.write_text(folder / FILE, text + "\n")
    return text


def order_line(order: Order) -> str:
    """An order, its verdict and its steps."""
    steps = ", ".join(map(str, order.steps)) or "no two of it are there"
    missing = f"; missing: {', '.join(order.missing)}" if order.missing else ""
    return f"- {order.name}: **{order.verdict}** ({steps}{missing})"


def _head(found: Found) -> list[str]:
    lines = [
        "Made by `tools/study.py --report` from the files beside it. Losses are nats per id, "
        "errors standard errors: over prompts, those about one thing as one, and over seeds. A "
        f"step of an order counts beyond {orderings.CLEAR:g} of them."
    ]
    if found.missing:
        lines.append(f"Missing yet: {', '.join(found.missing)}.")
    sweep = {run.name: run for run in plan.sweep(found.grid) if run.name in found.results}
    if sweep:
        rows = []
        for size in plan.SWEPT:
            of_c = {run.c: found.results[n] for n, run in sweep.items() if run.size == size}
            rows.append(
                [size]
                + [
                    f"{of_c[c]['held_out']['loss']:.4f}" if c in of_c else ""
                    for c in sorted(found.grid)
                ]
            )
        head = ["held-out loss, peak = c / width", *(f"c = {c:g}" for c in sorted(found.grid))]
        chosen = "not chosen yet" if found.c is None else f"chosen: c = {found.c:g}"
        if found.c in (min(found.grid), max(found.grid)):
            chosen += ", at the end of the grid: a wider one might find a better"
        lines += [table(head, rows), chosen]
    return lines


def _groups_table(groups: Mapping[str, Sequence[Results]], columns: Mapping[str, Any]) -> str:
    """A row for each group: some of its config, held-out loss, perplexities of the tasks."""
    rows = []
    for name, runs in groups.items():
        if not runs:
            continue
        config = runs[0]["config"]
        row = [name, *(form(config) for form in columns.values()), str(len(runs))]
        row.append(_spread([run["held_out"]["loss"] for run in runs]))
        for task in TASKS:
            own = [run["evaluations"][task] for run in runs]
            perplexity = np.mean([each["perplexity"][0] for each in own])
            row.append(f"{perplexity:.2f} ({_spread([each['nll'][0] for each in own])})")
        rows.append(row)
    tasks = [f"{title}, {task}" for task, title in TASKS.items()]
    return table(["", *columns, "seeds", "held-out loss", *tasks], rows)


def _same_for_all(groups: Mapping[str, Sequence[Results]]) -> str:
    """Which losses of different seeds can be compared.

    Files that do not say which held-out rows they are of come from a time when the seed drew them.
    """
    configs = [run["config"] for runs in groups.values() for run in runs]
    rows = {config.get("held_out_data", f"seed {config['seed']}") for config in configs}
    if len(rows) == 1:
        return "Prompts and held-out rows are the same for every run."
    return (
        "Prompts are the same for every run; held-out rows are not, but for those of one seed: "
        "so that loss can be compared within a seed alone."
    )


def _spread(values: Sequence[float]) -> str:
    """Mean, and the deviation from seed to seed where there are several."""
    deviation = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{deviation}"


def _scaling(found: Found) -> list[str]:
    sizes = found.sizes()
    lines = ["## Scaling"]
    if not any(sizes.values()):
        return [*lines, "No run yet."]
    columns = {
        "parameters": lambda config: f"{config['parameters'] / 1e6:.2f} M",
        "FLOPs": lambda config: f"{config['flops']:.2g}",
        "ids": lambda config: f"{config['ids_with_loss'] / 1e6:.1f} M",
    }
    lines += [
        _groups_table(sizes, columns),
        "Perplexity of the true answer after five pairs, and in brackets its loss with the "
        f"deviation from seed to seed. {_same_for_all(sizes)}",
        "\n".join(
            order_line(orderings.of_runs(f"{title} falls with size", of_task(sizes, task)))
            for task, title in TASKS.items()
        ),
        "![losses](curves.png) ![scaling](scaling.png)",
        *scaling_laws.lines(sizes, TASKS),
    ]
    return lines


def _data(found: Found) -> list[str]:
    mixtures = found.mixtures()
    lines = ["## Data"]
    if not any(mixtures.values()):
        return [*lines, "No run yet."]
    columns = {
        "ids": lambda config: f"{config['ids_with_loss'] / 1e6:.1f} M",
        "passes": lambda config: f"{config['epochs']:.1f}",
    }
    return [
        *lines,
        _groups_table(mixtures, columns),
        "Held-out loss is of everything that `all` shows, which the others have seen in part.",
        "\n".join(
            order_line(orderings.of_runs(f"{title} in the paper's order", of_task(mixtures, task)))
            for task, title in TASKS.items()
        ),
        "![data](data.png)",
    ]


def _context(found: Found) -> list[str]:
    lines = ["## Context"]
    sizes = {size: found.of_context(size) for size in plan.EVALUATED}
    if not any(sizes.values()):
        return [*lines, "No evaluation yet."]
    questions = (
        (VIDEOS, FRAMES_BEFORE, "frames", _UP_TO),
        (tuple(TASKS), PAIRS_BEFORE, "pairs", max(PAIRS_BEFORE)),
    )
    for names, lengths, unit, most in questions:
        rows, gains, verdicts = [], [], []
        for size, task in ((size, task) for size, runs in sizes.items() if runs for task in names):
            own = [run["evaluations"][task] for run in sizes[size]]
            rows.append([f"{size}, {task}", *(_of_length(own, n) for n in lengths)])
            steps = orderings.of_lengths(task, own, lengths, unit).steps
            gains.append(
                [f"{size}, {task}", *(f"{step.gain:+.3f} ± {step.error:.3f}" for step in steps)]
            )
            asked = [n for n in lengths if n <= most]
            verdict = orderings.of_lengths(task, own, asked, unit).verdict
            verdicts.append(f"- {task} falls up to {most} {unit}, size {size}: **{verdict}**")
        pairs = [f"{a} to {b}" for a, b in itertools.pairwise(lengths)]
        lines += [
            table([f"perplexity (loss) after ... {unit}", *map(str, lengths)], rows),
            table([f"nats gained by more {unit}", *pairs], gains),
            "\n".join(verdicts),
        ]
    return [*lines, "![context](context.png)"]


def _of_length(runs: Sequence[Mapping[str, Any]], length: int) -> str:
    """Perplexity, and in brackets its loss, by which lengths are judged.

    A few prompts of high perplexity can turn its mean, not that of the losses.
    """
    own = [run["by_length"][str(length)] for run in runs]
    mean = lambda key: np.mean([each[key][0] for each in own])
    return f"{mean('perplexity'):.2f} ({mean('nll'):.3f})"
