"""What the scores say, in words and in plain-text tables."""

from collections.abc import Sequence

from lvm_jax.evaluation import scores
from lvm_jax.evaluation.scores import TaskResult

CONDITION_NAMES = {
    scores.RIGHT: "right prompt",
    scores.OTHER: "another task's prompt",
    scores.NONE: "no prompt",
    scores.UNIGRAM: "unigram frequencies",
    scores.QUERY: "query alone",
}
COMPARED_NAMES = {
    scores.ANSWER: "answer",
    scores.CEILING: "tokenizer's best",
    scores.COPY: "copy of the query",
    scores.MEAN: "mean of the prompt's answers",
}


def margin(result: TaskResult, rival: str) -> str:
    """One margin: "holds in 3 of 3 seeds", and whether clearly."""
    holds, clear, num_seeds = result.holds(rival), result.clear(rival), len(result.seeds)
    if holds == 0:
        return f"does not hold in any of {_seeds(num_seeds)}"
    text = f"holds in {holds} of {_seeds(num_seeds)}"
    if clear == holds:
        return text + ", clearly"
    return text + (f", clearly in {clear}" if clear else ", never clearly")


def verdict(result: TaskResult) -> str:
    """One honest sentence: was the task learned?"""
    num_seeds = len(result.seeds)
    missing = [name for name in scores.RIVALS if name not in result.rivals]
    note = " There was no second task to take a wrong prompt from." if missing else ""
    if result.learned:
        return (
            "Learned: with the right prompt the true answer is clearly more probable than under "
            f"every alternative, in {'all of ' if num_seeds > 1 else ''}{_seeds(num_seeds)}." + note
        )
    failing = [r for r in result.rivals if result.holds(r) < num_seeds]
    if not failing:
        unclear = [r for r in result.rivals if result.clear(r) < num_seeds]
        return (
            f"Learned in part: the right prompt wins in {_seeds(num_seeds)}, but not clearly "
            f"against {_names(unclear)}." + note
        )
    return (
        "Not learned in this run: the right prompt does not beat "
        f"{_names(failing)} in every seed." + note
    )


def pixels(result: TaskResult) -> str:
    """One sentence on squared errors against the two trivial answers."""
    answer = result.mse(scores.ANSWER)
    beaten = [n for n in (scores.COPY, scores.MEAN) if answer < result.mse(n)]
    if len(beaten) == 2:
        return "In pixels its answers are closer to the truth than both trivial answers."
    if not beaten:
        return (
            "In pixels its answers are further from the truth than both trivial answers: a single "
            "drawn answer pays for every detail it guesses wrong."
        )
    other = scores.MEAN if beaten[0] == scores.COPY else scores.COPY
    return (
        f"In pixels its answers are closer to the truth than the {COMPARED_NAMES[beaten[0]]}, "
        f"but not than the {COMPARED_NAMES[other]}."
    )


def headline(results: Sequence[TaskResult]) -> str:
    """The report's first sentence."""
    learned = [result.name for result in results if result.learned]
    num = len(results)
    if len(learned) == num:
        what = "the one task" if num == 1 else f"all {num} tasks"
        return f"The model answers {what} from example images alone."
    if not learned:
        return "No task was learned clearly in this run."
    return (
        f"The model answers {len(learned)} of {num} tasks from example images alone "
        f"({', '.join(learned)})."
    )


def text_table(results: Sequence[TaskResult]) -> str:
    """Perplexities, errors and margins for a terminal."""
    # Short heads: a terminal has 80 columns, and the report spells them out.
    heads = ["task", "(a) right", "(b) other", "(c) none", "(d) unigram", "query", "margins"]
    conditions = (scores.RIGHT, scores.OTHER, scores.NONE, scores.UNIGRAM, scores.QUERY)
    rows = []
    for result in results:
        found = [
            f"{result.perplexity(c):.1f}" if c in result.conditions else "-" for c in conditions
        ]
        num_seeds = len(result.seeds)
        holds = ", ".join(
            f"a<{letter} {result.holds(rival)}/{num_seeds}"
            for letter, rival in zip("bcd", scores.RIVALS)
            if rival in result.rivals
        )
        rows.append([result.name, *found, holds])
    errors = [["task", *(COMPARED_NAMES[name] for name in scores.COMPARED)]]
    errors += [[r.name, *(f"{r.mse(name):.4f}" for name in scores.COMPARED)] for r in results]
    return "\n".join(
        ["Perplexity of the true answer under", *_aligned([heads, *rows])]
        + ["", "Mean squared error against the truth, [0, 1] units", *_aligned(errors)]
    )


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


def _names(rivals: Sequence[str]) -> str:
    return " or ".join(CONDITION_NAMES[name] for name in rivals)


def _seeds(number: int) -> str:
    return f"{number} seed" + ("" if number == 1 else "s")
