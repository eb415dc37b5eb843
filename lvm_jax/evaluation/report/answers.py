"""The report's prompts and answers, in pictures."""

from collections.abc import Sequence

from lvm_jax.evaluation.asking.results import Group, TaskResult
from lvm_jax.evaluation.report import wording
from lvm_jax.pages.elements import row, text


def of_results(results: Sequence[TaskResult]) -> str:
    """The prompts that were kept of every task; "" where none were."""
    shown = [result for result in results if result.shown]
    if not shown:
        return ""
    lead = "From the best to the worst by the metric that decides, the median among them."
    if any(group.kind == "answers" for result in shown for group in result.shown[0].groups):
        lead += (
            " The model reads a prompt from left to right; answers are drawn independently. Via "
            "the tokenizer is what is left of the truth after encoding and decoding, as good as "
            "any answer can get."
        )
    cards = "".join(_answer_card(result) for result in shown)
    return f'<h2>Prompts and answers</h2><p class="lead muted">{text(lead)}</p>{cards}'


def _answer_card(result: TaskResult) -> str:
    metric = result.deciding.metric
    num_pictures = sum(
        group.pictures.shape[0] * group.pictures.shape[1] for group in result.shown[0].groups
    )
    # Wide enough for a prompt to stand in one line of a desktop; narrow screens wrap it.
    side = max(56, min(112, 980 // max(1, num_pictures) - 8))
    prompts = []
    for shown in result.shown:
        value = wording.number(metric.value(shown.value))
        prompts.append(
            f'<div class="prompt"><p class="place">{text(f"{shown.place}: {metric.label} {value}")}'
            f"</p>{''.join(map(_group, shown.groups))}</div>"
        )
    said = " ".join(filter(None, [wording.verdict(result), wording.drawn(result)]))
    title = result.name if result.verdict == "measured" else f"{result.name}: {result.verdict}"
    return (
        f'<section class="card"><h3>{text(title)}</h3><p>{text(said)}</p>'
        f'<div class="prompts" style="--side:{side}px">{"".join(prompts)}</div></section>'
    )


def _group(group: Group) -> str:
    # Pictures that stay together are rows of their own within the row.
    together = group.pictures.shape[1] > 1
    pictures = (
        "".join(row(each) for each in group.pictures) if together else row(group.pictures[:, 0])
    )
    return (
        f'<figure class="{group.kind}"><figcaption>{text(group.caption)}</figcaption>'
        f'<div class="row">{pictures}</div></figure>'
    )
