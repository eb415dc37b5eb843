"""The report's prompts and answers, in pictures."""

from collections.abc import Sequence

from lvm_jax.evaluation.analogies.scores import TaskResult
from lvm_jax.evaluation.report import wording
from lvm_jax.pages.elements import row, text


def of_results(results: Sequence[TaskResult]) -> str:
    """The prompts that were kept of every task; "" where none were."""
    shown = [result for result in results if result.shown]
    if not shown:
        return ""
    return (
        '<h2>Prompts and answers</h2><p class="lead muted">The model reads a prompt\'s examples, '
        "then its query. The answers are drawn independently; beside the truth stands what is left "
        "of it after encoding and decoding, as good as any answer can get.</p>"
    ) + "".join(_answer_card(result) for result in shown)


def _answer_card(result: TaskResult) -> str:
    num_pairs = len(result.shown[0].example.pairs)
    num_candidates = len(result.shown[0].candidates)
    # Wide enough for a prompt to stand in one line of a desktop; narrow screens wrap it.
    side = max(56, min(112, 940 // (2 * num_pairs + num_candidates + 3) - 4))
    prompts = []
    for shown in result.shown:
        pairs = "".join(row(pair) for pair in shown.example.pairs)
        prompts.append(
            f'<div class="prompt">{_group("examples", "examples", pairs)}'
            + _group("asked", "query", row([shown.example.query]))
            + _group("answers", "the model's answers", row(shown.candidates))
            + _group("truth", "truth", row([shown.example.answer]))
            + _group("best", "via the tokenizer", row([shown.ceiling]))
            + "</div>"
        )
    return (
        f'<section class="card"><h3>{text(result.name)}: {text(result.verdict)}</h3>'
        f"<p>{text(wording.verdict(result))} {text(wording.pixels(result))}</p>"
        f'<div class="prompts" style="--side:{side}px">{"".join(prompts)}</div></section>'
    )


def _group(css: str, caption: str, pictures: str) -> str:
    return (
        f'<figure class="{css}"><figcaption>{text(caption)}</figcaption>'
        f'<div class="row">{pictures}</div></figure>'
    )
