"""Laws of the loss: against parameters and FLOPs, beside those that others found."""

from collections.abc import Mapping, Sequence

import numpy as np

from studies import statistics
from studies.markdown import table
from studies.results import Results
from studies.statistics import Law

# Bai et al. 2023, 300M to 3B: parameters, and perplexity after five pairs.
PAPER_SIZES = (2.91e8, 6.48e8, 1.147e9, 3.275e9)
PAPER = {
    "segmentation": (23.1, 18.8, 16.8, 14.0),
    "depth": (21.1, 17.5, 15.9, 13.5),
    "normals": (15.9, 14.1, 13.2, 12.0),
    "edges": (282.4, 215.7, 193.0, 155.0),
}
TOTO = (7.32, 0.0378)
"""Rajasegaran et al. 2025: L = 7.32 C^-0.0378, nats per id of 8k codes."""
_SEED = 0
_BURN_IN = 0.1  # share of a run whose loss is still that of its beginning


def lines(sizes: Mapping[str, Sequence[Results]], tasks: Mapping[str, str]) -> list[str]:
    """What a report says of them, with a table.

    Args:
        sizes: size -> runs.
        tasks: task -> the paper's name of it.
    """
    runs = [run for of_size in sizes.values() for run in of_size]
    known = [size for size, of_size in sizes.items() if of_size]
    if len(known) < 3:
        return ["Laws need three sizes or more."]
    rows = []
    for name, law in held_out(runs).items():
        rows.append([name, *_cells(law)])
    envelope = of_envelope(runs)
    rows.append(["training loss, the lowest at its FLOPs", *_cells(envelope)])
    for task, title in tasks.items():
        rows.append([f"{title}, against parameters", *_cells(of_task(runs, task))])
        bent = of_task(runs, task, statistics.fit_with_constant)
        rows.append([f"{title}, against parameters, with a constant", *_cells(bent)])
        paper = statistics.fit(np.array(PAPER_SIZES), np.log(PAPER[title]))
        rows.append([f"{title}, the paper's four points", *_cells(paper)])
    rows.append(["Toto, against FLOPs", f"{TOTO[0]:g}", f"{TOTO[1]:g}", "", "", ""])
    head = ["L = constant + factor x^-exponent", "factor", "exponent", "95%", "constant"]
    return [
        table([*head, "residuals, largest"], rows),
        "Intervals are 2.5 to 97.5% of 2,000 samples: of runs with deviations from seed to seed "
        "(held-out loss), and with other things asked about too (tasks); those of the lowest "
        "training loss are not known, since its points are of the same few runs. Where no constant "
        "stands, the logarithms are fitted by a line; with four sizes a constant is hardly "
        "determined. Losses of other tokenizers and data differ in level, so exponents alone can "
        "be compared, and they fall as what is left of the loss at any size rises.",
    ]


def held_out(runs: Sequence[Results]) -> dict[str, Law]:
    """Laws of the final held-out loss, by name."""
    loss = np.array([run["held_out"]["loss"] for run in runs])
    sizes = [run["config"]["size"] for run in runs]
    samples = statistics.resampled_seeds(loss, sizes, np.random.default_rng(_SEED))
    laws = {}
    for what in ("parameters", "matrix_parameters", "flops"):
        x = np.array([run["config"][what] for run in runs], np.float64)
        name = f"held-out loss, against {_WORDS[what]}"
        laws[name] = statistics.with_interval(statistics.fit, x, loss, samples)
        if what != "matrix_parameters":
            law = statistics.with_interval(statistics.fit_with_constant, x, loss, samples)
            laws[f"{name}, with a constant"] = law
    return laws


_WORDS = {
    "parameters": "parameters",
    "matrix_parameters": "parameters of layers",
    "flops": "FLOPs",
}


def of_task(runs: Sequence[Results], task: str, fit: statistics.Fit = statistics.fit) -> Law:
    """The loss of a task against parameters."""
    own = [run["evaluations"][task] for run in runs]
    loss = np.array([each["nll"][0] for each in own])
    x = np.array([run["config"]["parameters"] for run in runs], np.float64)
    sizes = [run["config"]["size"] for run in runs]
    rng = np.random.default_rng(_SEED)
    weights = statistics.resampled_clusters(own[0]["things"], rng)
    of_prompts = weights @ np.array([each["nll_of_prompts"] for each in own]).T
    samples = of_prompts + statistics.resampled_seeds(loss, sizes, rng) - loss
    # Their means are those of the sizes, around which runs are drawn.
    return statistics.with_interval(fit, x, loss, samples)


def of_envelope(runs: Sequence[Results]) -> Law:
    """The lowest training loss that any run has after so many FLOPs, against these."""
    points = []
    for run in runs:
        ids, loss = (np.array(run["training"][key], np.float64) for key in ("ids", "loss"))
        flops = run["config"]["flops"] * ids / run["config"]["ids_with_loss"]
        late = ids > _BURN_IN * ids[-1]
        points += list(zip(flops[late], loss[late]))
    lowest, envelope = np.inf, []
    for flops, loss in sorted(points):
        if loss < lowest:
            lowest = loss
            envelope.append((flops, loss))
    x, y = np.array(envelope).T
    return statistics.fit(x, y)


def _cells(law: Law) -> list[str]:
    interval = "" if law.interval is None else "{:.3f} to {:.3f}".format(*law.interval)
    constant = f"{law.constant:.3f}" if law.constant else ""
    residual = f"{np.abs(law.residuals).max():.3f}"
    return [f"{law.factor:.3g}", f"{law.exponent:.4f}", interval, constant, residual]
