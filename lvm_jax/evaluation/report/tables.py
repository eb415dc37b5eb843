"""The report's tables of numbers: perplexities and errors of every task, and of every seed."""

from collections.abc import Sequence

from lvm_jax.evaluation.analogies import scores
from lvm_jax.evaluation.analogies.scores import TaskResult
from lvm_jax.evaluation.report import wording
from lvm_jax.measures import fidelity
from lvm_jax.pages.elements import number_table, text


def of_results(results: Sequence[TaskResult], num_codes: int) -> str:
    """What every task scored, and how to read it.

    Args:
        results: of at least one task.
        num_codes: size of the codebook, which perplexities are compared with.
    """
    seeds = results[0].seeds
    num_examples, num_answered = len(seeds[0].nll[scores.RIGHT]), len(seeds[0].mse[scores.ANSWER])
    heads = ["task"] + [
        f"({wording.LETTERS[name]}) {wording.CONDITION_NAMES[name]}" for name in scores.CONDITIONS
    ]
    rows = [_perplexity_row(result) for result in results]
    error_heads = ["task", *(wording.COMPARED_NAMES[n] for n in scores.COMPARED), "PSNR of answer"]
    errors = [_error_row(result) for result in results]
    return (
        '<h2>In numbers</h2><p class="lead muted">Perplexity of the true answer: between how many '
        f"codes, out of {num_codes}, the model in effect hesitates at each step; lower is "
        "better. A task is recognised from its examples when (a) is clearly lower than all others, "
        "the query alone among them. Below a rival: how much more (a) knows, in nats per id, with "
        f"its standard error over all prompts: {num_examples} of each of {len(seeds)} seeds, which "
        "choose other crops, other examples and other draws. A margin is clear when over all "
        f"prompts it exceeds {scores.CLEAR:g} standard errors, no seed points the other way, and "
        f"there are {scores.FEWEST_PROMPTS} prompts or more.</p>"
        f'<div class="card scroll">{number_table(heads, rows)}</div>'
        '<p class="lead muted">Mean squared error against the truth, in [0, 1] units, over '
        f"{num_answered} prompts per seed and all their answers. A copy of the query and the mean "
        "of the prompt's answers are what one could draw without understanding the task; a task is "
        "answered when it is recognised and its answers are clearly closer to the truth than "
        "both.</p>"
        f'<div class="card scroll">{number_table(error_heads, errors)}{_per_seed(results)}</div>'
    )


def _perplexity_row(result: TaskResult) -> list[str]:
    own = result.perplexity(scores.RIGHT)
    cells = [text(result.name), f'<span class="own">{own:.1f}</span>']
    for rival in scores.RIVALS:
        if rival not in result.rivals:
            cells.append("<small>not measured: there is no other task</small>")
            continue
        value = result.perplexity(rival)
        cells.append(f"{value:.1f}<small>{value / own:.2f} times (a)</small>" + _gap(result, rival))
    return cells


def _error_row(result: TaskResult) -> list[str]:
    own, best = result.mse(scores.ANSWER), result.mse(scores.CEILING)
    times = f"<small>answer: {own / best:.1f} times this</small>" if best else ""
    return [
        text(result.name),
        f'<span class="own">{own:.4f}</span>',
        f"{best:.4f}{times}",
        *(f"{result.mse(name):.4f}" + _gap(result, name) for name in scores.PIXEL_RIVALS),
        f"{fidelity.decibels(own):.1f} dB",
    ]


def _gap(result: TaskResult, rival: str) -> str:
    """How clearly a rival is beaten, for the cell of its value."""
    good = "good" if result.margin(rival).clear else "bad"
    return (
        f"<small>{text(wording.gap(result, rival))}</small>"
        f'<small class="{good}">{text(wording.margin(result, rival))}</small>'
    )


def _per_seed(results: Sequence[TaskResult]) -> str:
    heads = ["task", "seed", *(wording.CONDITION_NAMES[name] for name in scores.CONDITIONS)]
    heads += [f"error: {wording.COMPARED_NAMES[name]}" for name in scores.COMPARED]
    rows = [
        [text(result.name), str(seed.seed)]
        + [
            f"{seed.perplexity(c).of_mean:.1f}<small>{seed.perplexity(c).mean_of_perplexities:.1f}"
            "</small>"
            if c in seed.nll
            else ""
            for c in scores.CONDITIONS
        ]
        + [f"{seed.mse[name].mean():.4f}" for name in scores.COMPARED]
        for result in results
        for seed in result.seeds
    ]
    return (
        "<details><summary>Every seed</summary><p class='small muted'>Perplexity is exp of the "
        "mean over all ids; the small number is the mean over prompts of each one's perplexity, "
        f"as LVM reports it.</p>{number_table(heads, rows)}</details>"
    )
