"""The study's pictures."""

import contextlib
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lvm_jax import atomic
from studies import plan, statistics
from studies.found import Found, of_task
from studies.results import Results

# Told apart by most people who see few colours (Okabe and Ito 2008).
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MOST_HIGHER = 5.0  # times the lowest bar that one is shown whole
_STYLE: dict[Any, Any] = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}


def draw(folder: pathlib.Path, found: Found) -> None:
    """Writes a picture of every question of which there are results.

    Args:
        folder: gets curves.png, scaling.png, data.png, rare.png and context.png.
        found: what there is.
    """
    sizes, mixtures = found.sizes(), found.mixtures()
    with matplotlib.rc_context(_STYLE):
        if any(sizes.values()):
            with _picture(folder / "curves.png", 1, 1, 5.6, 3.6) as (axes,):
                _curves(axes, sizes)
            with _picture(folder / "scaling.png", 1, 5, 2.7, 2.8) as every:
                _scaling(every, sizes)
        if any(mixtures.values()):
            with _picture(folder / "data.png", 1, 4, 2.7, 2.8) as every:
                for axes, (task, title) in zip(every, plan.TASKS.items()):
                    _bars(axes, of_task(mixtures, task))
                    axes.set_title(title)
        rare = found.rare()
        if rare:
            with _picture(folder / "rare.png", 1, 2, 4.0, 3.2) as every:
                _gains(every, found, rare)
        contexts = {size: found.of_context(size) for size in plan.EVALUATED}
        if any(contexts.values()):
            with _picture(folder / "context.png", 2, 3, 3.4, 2.7) as every:
                _contexts(every, contexts)


@contextlib.contextmanager
def _picture(
    path: pathlib.Path, rows: int, columns: int, width: float, height: float
) -> Iterator[Sequence[Axes]]:
    """A block that draws panels of a width and a height in inches; the picture is then written."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    yield list(figure.subplots(rows, columns, squeeze=False).flat)
    with atomic.writing(path, parents=True) as partial:
        figure.savefig(partial, format="png", dpi=150)


def _curves(axes: Axes, sizes: Mapping[str, Sequence[Results]]) -> None:
    """Training loss against ids, mean over seeds."""
    for color, (size, runs) in zip(_COLORS, sizes.items()):
        for number, run in enumerate(runs):
            ids = np.array(run["training"]["ids"]) / 1e6
            label = f"{size}, {run['config']['parameters'] / 1e6:.1f} M" if number == 0 else None
            loss = run["training"]["loss"]
            axes.plot(ids, loss, color=color, linewidth=0.9, alpha=0.8, label=label)
            axes.plot(ids[-1], run["held_out"]["loss"], "o", ms=3, color=color)
    axes.set_xlabel("ids, millions (points: held-out loss)")
    axes.set_ylabel("nats per id")
    axes.set_xscale("log")
    axes.legend(frameon=False)
    axes.grid(linewidth=0.4, alpha=0.5)


def _scaling(every: Sequence[Axes], sizes: Mapping[str, Sequence[Results]]) -> None:
    runs = [run for of_size in sizes.values() for run in of_size]
    x = np.array([run["config"]["parameters"] for run in runs], np.float64)
    losses = {"held-out loss": [[run["held_out"]["loss"], 0.0] for run in runs]}
    for task, title in plan.TASKS.items():
        losses[title] = [run["evaluations"][task]["nll"] for run in runs]
    for axes, color, (title, pairs) in zip(every, _COLORS, losses.items()):
        y, errors = np.array(pairs).T
        axes.errorbar(x, y, yerr=errors, fmt="o", ms=3, color=color, linewidth=0.8)
        if len(np.unique(x)) > 1:
            law = statistics.fit(x, y)
            along = np.geomspace(x.min(), x.max(), 50)
            label = f"{law.factor:.3g} N^-{law.exponent:.3f}"
            axes.plot(along, law(along), "--", color=color, linewidth=0.8, label=label)
            axes.legend(frameon=False)
        axes.set_xscale("log")
        known = {run["config"]["parameters"]: run["config"]["size"] for run in runs}
        axes.set_xticks(list(known), [f"{size}\n{n / 1e6:.1f}M" for n, size in known.items()])
        axes.set_xticks([], minor=True)
        axes.set_title(title)
        axes.grid(linewidth=0.4, alpha=0.5)
    every[0].set_ylabel("nats per id")


def _bars(axes: Axes, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Mean perplexity of each mixture; a point for each seed.

    A bar many times as high as others, beside which these could not be told apart, is cut, and its
    number stands in it.
    """
    names = list(groups)
    known = {name: [run["perplexity"][0] for run in runs] for name, runs in groups.items() if runs}
    means = {name: float(np.mean(values)) for name, values in known.items()}
    least = min(means.values())
    top = 1.3 * max(mean for mean in means.values() if mean <= _MOST_HIGHER * least)
    for place, (color, name) in enumerate(zip(_COLORS, names)):
        if name in known:
            axes.bar(place, min(means[name], top), color=color, width=0.6)
            axes.plot([place] * len(known[name]), known[name], "k.", ms=3)
            if means[name] > top:
                number = f"{means[name]:,.0f}"
                axes.text(place, 0.9 * top, number, ha="center", color="white", fontsize=7)
    axes.set_ylim(0, top)
    axes.set_xticks(range(len(names)), names, rotation=25)
    axes.set_ylabel("perplexity")


def _gains(every: Sequence[Axes], found: Found, runs: Mapping[plan.Run, Results]) -> None:
    """What all other pictures gain beside annotations, against how rare these are."""
    pairs = [
        (run, alone, runs[whole])
        for run, alone in runs.items()
        if run.mixture != "all" and (whole := run.beside_all) in runs
    ]
    seen = lambda results: results["config"]["epochs"]
    chosen = {
        "as many steps": [pair for pair in pairs if pair[0].passes is None],
        "annotations seen as often": [
            pair for pair in pairs if math.isclose(seen(pair[1]), seen(pair[2]), rel_tol=0.1)
        ],
    }
    for axes, (title, own) in zip(every, chosen.items()):
        few = [run.few for run, *_ in own]
        for color, (task, label) in zip(_COLORS, plan.TASKS.items()):
            steps = [found.gain(task, run.size, alone, whole) for run, alone, whole in own]
            gains, errors = [step.gain for step in steps], [step.error for step in steps]
            axes.errorbar(few, gains, yerr=errors, fmt="o-", ms=3, color=color, label=label)
        axes.axhline(0, color="gray", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xticks(few, ["all" if n == 1 else f"1 in {n}" for n in few])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("annotated sentences that are there")
        axes.set_title(title)
        axes.grid(linewidth=0.4, alpha=0.5)
    every[0].set_ylabel("nats gained by other pictures")
    every[0].legend(frameon=False)


def _contexts(every: Sequence[Axes], sizes: Mapping[str, Sequence[Results]]) -> None:
    panels = [
        *((task, plan.FRAMES_BEFORE, "frames before") for task in plan.VIDEOS),
        *((task, plan.PAIRS_BEFORE, "example pairs") for task in plan.TASKS),
    ]
    for axes, (task, lengths, unit) in zip(every, panels):
        for color, (size, runs) in zip(_COLORS, sizes.items()):
            own = [run["evaluations"][task]["by_length"] for run in runs]
            # Not its mean perplexity, which a few prompts can turn.
            values = [[each[str(n)]["nll"][0] for n in lengths] for each in own]
            for number, line in enumerate(values):
                label = size if number == 0 else None
                axes.plot(lengths, line, "o-", ms=3, color=color, linewidth=0.9, label=label)
        axes.set_title(plan.TASKS.get(task, task))
        axes.set_xlabel(unit)
        axes.set_xticks(lengths)
        axes.grid(linewidth=0.4, alpha=0.5)
    every[0].set_ylabel("nats per id")
    every[0].legend(frameon=False)
