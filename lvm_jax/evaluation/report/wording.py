"""What the scores say, in words and in plain-text tables."""

from collections.abc import Sequence

from lvm_jax.evaluation.analogies import scores
from lvm_jax.evaluation.analogies.scores import TaskResult
from lvm_jax.evaluation.report.losses import MOST_ABOVE_LOWEST, MOST_ABOVE_TRAINING, Losses

CONDITION_NAMES = {
    scores.RIGHT: "right prompt",
    scores.OTHER: "another task's prompt",
    scores.NONE: "no prompt",
    scores.UNIGRAM: "unigram frequencies",
    scores.QUERY: "the query alone",
}
COMPARED_NAMES = {
    scores.ANSWER: "answer",
    scores.CEILING: "tokenizer's best",
    scores.COPY: "copy of the query",
    scores.MEAN: "mean of the prompt's answers",
}
LETTERS = dict(zip(scores.CONDITIONS, "abcde"))


def margin(result: TaskResult, rival: str) -> str:
    """One margin: whether it is clear, and in how many seeds it points that way."""
    against = result.margin(rival)
    beaten = "clearly" if against.clear else "not clearly"
    word = beaten if against.mean > 0 else "not beaten"
    return f"{word}, {against.seeds_ahead} of {_counted(len(result.seeds), 'seed')}"


def gap(result: TaskResult, rival: str) -> str:
    """One margin in numbers, over the prompts of all seeds: mean and standard error."""
    against = result.margin(rival)
    return f"{against.mean:+.2g} ± {against.error:.1g}"


def verdict(result: TaskResult) -> str:
    """Honest sentences: was the task learned from its examples?"""
    unbeaten = result.unbeaten(result.rivals)
    if unbeaten:
        names = _either([CONDITION_NAMES[name] for name in unbeaten])
        text = (
            "Not learned from its examples: they do not make the true answer clearly more probable "
            f"than {names}."
        )
    else:
        word = "Answered" if result.verdict == "answered" else "Recognised, not answered"
        text = (
            f"{word}: its examples make the true answer clearly more probable than every "
            "alternative."
        )
    if scores.OTHER not in result.rivals:
        text += " There was no second task to take a wrong prompt from."
    return text


def pixels(result: TaskResult) -> str:
    """Sentences on squared errors against the two trivial answers."""
    num_prompts = result.margin(scores.COPY).num_prompts
    if num_prompts < scores.FEWEST_PROMPTS:
        return (
            f"{_counted(num_prompts, 'answered prompt')} are too few to judge pixels by; it takes "
            f"{scores.FEWEST_PROMPTS}."
        )
    unbeaten = result.unbeaten(scores.PIXEL_RIVALS)
    if not unbeaten:
        return "In pixels the answers are clearly closer to the truth than both trivial answers."
    if len(unbeaten) == len(scores.PIXEL_RIVALS):
        names = _either([f"the {COMPARED_NAMES[name]}" for name in unbeaten])
        return f"In pixels the answers are not clearly closer to the truth than {names}."
    (beaten,) = set(scores.PIXEL_RIVALS) - set(unbeaten)
    return (
        f"In pixels the answers are clearly closer to the truth than the {COMPARED_NAMES[beaten]}, "
        f"but not than the {COMPARED_NAMES[unbeaten[0]]}."
    )


def headline(results: Sequence[TaskResult]) -> str:
    """The report's first sentence; it claims no more than every task's verdict."""
    answered = [result.name for result in results if result.verdict == "answered"]
    recognised = [result.name for result in results if result.verdict == "recognised"]
    num = len(results)
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


def distance(results: Sequence[TaskResult]) -> str:
    """How the answers' squared error compares with the best possible, from task to task."""
    best = [result.mse(scores.CEILING) for result in results]
    times = [r.mse(scores.ANSWER) / error for r, error in zip(results, best) if error > 0]
    if not times:
        return "not known"
    low, high = f"{min(times):.1f}", f"{max(times):.1f}"
    return f"{low} times" if low == high else f"{low} to {high} times"


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
    """Perplexities, errors and verdicts for a terminal."""
    # Short heads: a terminal has 80 columns, and the report spells them out.
    short = ("right", "other", "none", "unigram", "query")
    heads = [f"({LETTERS[c]}) {name}" for c, name in zip(scores.CONDITIONS, short)]
    rows = []
    for result in results:
        cells = [
            f"{result.perplexity(c):.1f}" if c in result.conditions else "-"
            for c in scores.CONDITIONS
        ]
        rows.append([result.name, *cells, result.verdict])
    errors = [["task", *(COMPARED_NAMES[name] for name in scores.COMPARED)]]
    errors += [[r.name, *(f"{r.mse(name):.4f}" for name in scores.COMPARED)] for r in results]
    return "\n".join(
        ["Perplexity of the true answer under", *_aligned([["task", *heads, "verdict"], *rows])]
        + ["", "Mean squared error against the truth, [0, 1] units", *_aligned(errors)]
    )


def markdown(results: Sequence[TaskResult]) -> str:
    """The same as Markdown; in italics is what is not beaten clearly."""
    heads = [f"({LETTERS[c]}) {CONDITION_NAMES[c]}" for c in scores.CONDITIONS]
    rows = [["task", "verdict", *heads]]
    errors = [["task", *(COMPARED_NAMES[name] for name in scores.COMPARED)]]
    for result in results:
        unbeaten = result.unbeaten((*result.rivals, *scores.PIXEL_RIVALS))
        emphasis = {name: "_" for name in unbeaten} | {scores.RIGHT: "**", scores.ANSWER: "**"}

        def cell(name: str, number: str, emphasis=emphasis) -> str:
            return f"{emphasis.get(name, '')}{number}{emphasis.get(name, '')}"

        cells = [
            cell(c, f"{result.perplexity(c):.1f}") if c in result.conditions else ""
            for c in scores.CONDITIONS
        ]
        rows.append([result.name, result.verdict, *cells])
        errors.append([result.name, *(cell(c, f"{result.mse(c):.4f}") for c in scores.COMPARED)])
    return f"{_markdown_table(rows)}\n\n{_markdown_table(errors)}"


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in (0, len(row) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
