"""One self-contained HTML file that shows what was trained and how well it works."""

import base64
import dataclasses
import html
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lvm_jax import atomic, images
from lvm_jax.evaluation.analogies import scores
from lvm_jax.evaluation.analogies.scores import TaskResult
from lvm_jax.evaluation.report import charts, wording
from lvm_jax.evaluation.report.charts import Chart
from lvm_jax.evaluation.report.losses import Losses
from lvm_jax.evaluation.report.style import CSS
from lvm_jax.measures import codes, fidelity
from lvm_jax.tokenizer.measuring import Measurement


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All that the report shows; parts left out are not mentioned.

    Attributes:
        title: heads the page, above the headline that the results give.
        results: of the tasks, see `analogies.evaluate`.
        num_codes: size of the codebook, which perplexities are compared with.
        reconstructions: held-out pictures through the tokenizer, all of them shown.
        code_counts: int [num_codes], how often the training data use each code.
        tokenizer_charts, model_charts: training curves.
        losses: of the transformer at the end of its training.
        tiles: (number, what it is) pairs that lead the page, besides those of the results.
        commands: (what it is good for, command line) pairs to go on with.
        facts: section -> name -> value: configuration, timings.
    """

    title: str
    results: tuple[TaskResult, ...]
    num_codes: int
    reconstructions: Measurement | None = None
    code_counts: np.ndarray | None = None
    tokenizer_charts: tuple[Chart, ...] = ()
    model_charts: tuple[Chart, ...] = ()
    losses: Losses | None = None
    tiles: tuple[tuple[str, str], ...] = ()
    commands: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def write(path: str | pathlib.Path, report: Report) -> None:
    """Writes the report; the file appears under its name only when whole.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    atomic.write_text(path, render(report), parents=True)


def render(report: Report) -> str:
    """The report as HTML text."""
    body = "".join(
        [
            _header(report),
            _answers(report),
            _table(report),
            _tokenizer(report),
            _curves(report),
            _next(report),
            _facts(report),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(report.title)}</title><style>{CSS}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


def _header(report: Report) -> str:
    cells = "".join(
        f'<div class="tile"><b>{_text(number)}</b><span>{_text(what)}</span></div>'
        for number, what in _tiles(report)
    )
    headline = wording.headline(report.results) if report.results else "Nothing was asked."
    if report.losses is not None and report.losses.memorised:
        headline += " It has memorised its training data."
    return (
        f'<header><p class="eyebrow">{_text(report.title)}</p><h1>{_text(headline)}</h1>'
        "<p>A picture is a row of codes; a task is posed by example pairs of pictures and a query, "
        "and one transformer writes the codes of the answer. All pictures below were held out: "
        "training saw no part of them.</p>"
        f'<div class="tiles">{cells}</div></header>'
    )


def _tiles(report: Report) -> list[tuple[str, str]]:
    """(number, what it is) pairs."""
    tiles, verdicts = [], [result.verdict for result in report.results]
    if verdicts:
        what = "tasks answered"
        if "recognised" in verdicts:
            what += f", {verdicts.count('recognised')} more recognised"
        tiles.append((f"{verdicts.count('answered')} of {len(verdicts)}", what))
        what = "the squared error of the best possible, the truth through the tokenizer"
        tiles.append((wording.distance(report.results), what))
    if report.losses is not None:
        known = report.losses.held_out
        held_out = f"{report.losses.last:.2f}" if known else "not measured"
        tiles.append((f"{report.losses.training:.2f}", "training loss of the transformer, nats"))
        tiles.append((held_out, "its held-out loss" + (", nats" if known else "")))
    tiles += report.tiles
    if report.reconstructions is not None:
        psnr = report.reconstructions.numbers["psnr"].mean()
        tiles.append((f"{psnr:.1f} dB", "PSNR of held-out pictures through the tokenizer"))
    if report.code_counts is not None:
        tiles.append(
            (f"{codes.usage(report.code_counts):.0%}", f"of {report.num_codes} codes in use")
        )
    return tiles


def _answers(report: Report) -> str:
    shown = [result for result in report.results if result.shown]
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
        pairs = "".join(_pictures(pair) for pair in shown.example.pairs)
        prompts.append(
            f'<div class="prompt">{_group("examples", "examples", pairs)}'
            + _group("asked", "query", _pictures([shown.example.query]))
            + _group("answers", "the model's answers", _pictures(shown.candidates))
            + _group("truth", "truth", _pictures([shown.example.answer]))
            + _group("best", "via the tokenizer", _pictures([shown.ceiling]))
            + "</div>"
        )
    return (
        f'<section class="card"><h3>{_text(result.name)}: {_text(result.verdict)}</h3>'
        f"<p>{_text(wording.verdict(result))} {_text(wording.pixels(result))}</p>"
        f'<div class="prompts" style="--side:{side}px">{"".join(prompts)}</div></section>'
    )


def _group(css: str, caption: str, pictures: str) -> str:
    return (
        f'<figure class="{css}"><figcaption>{_text(caption)}</figcaption>'
        f'<div class="row">{pictures}</div></figure>'
    )


def _pictures(pictures: Iterable[np.ndarray]) -> str:
    return f'<span class="row">{"".join(map(_picture, pictures))}</span>'


def _table(report: Report) -> str:
    if not report.results:
        return ""
    seeds = report.results[0].seeds
    num_examples, num_answered = len(seeds[0].nll[scores.RIGHT]), len(seeds[0].mse[scores.ANSWER])
    heads = ["task"] + [
        f"({wording.LETTERS[name]}) {wording.CONDITION_NAMES[name]}" for name in scores.CONDITIONS
    ]
    rows = [_perplexity_row(result) for result in report.results]
    error_heads = ["task", *(wording.COMPARED_NAMES[n] for n in scores.COMPARED), "PSNR of answer"]
    errors = [_error_row(result) for result in report.results]
    return (
        '<h2>In numbers</h2><p class="lead muted">Perplexity of the true answer: between how many '
        f"codes, out of {report.num_codes}, the model in effect hesitates at each step; lower is "
        "better. A task is recognised from its examples when (a) is clearly lower than all others, "
        "the query alone among them. Below a rival: how much more (a) knows, in nats per id, with "
        f"its standard error over all prompts: {num_examples} of each of {len(seeds)} seeds, which "
        "choose other crops, other examples and other draws. A margin is clear when over all "
        f"prompts it exceeds {scores.CLEAR:g} standard errors, no seed points the other way, and "
        f"there are {scores.FEWEST_PROMPTS} prompts or more.</p>"
        f'<div class="card scroll">{_numbers(heads, rows)}</div>'
        '<p class="lead muted">Mean squared error against the truth, in [0, 1] units, over '
        f"{num_answered} prompts per seed and all their answers. A copy of the query and the mean "
        "of the prompt's answers are what one could draw without understanding the task; a task is "
        "answered when it is recognised and its answers are clearly closer to the truth than "
        "both.</p>"
        f'<div class="card scroll">{_numbers(error_heads, errors)}{_per_seed(report)}</div>'
    )


def _perplexity_row(result: TaskResult) -> list[str]:
    own = result.perplexity(scores.RIGHT)
    cells = [_text(result.name), f'<span class="own">{own:.1f}</span>']
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
        _text(result.name),
        f'<span class="own">{own:.4f}</span>',
        f"{best:.4f}{times}",
        *(f"{result.mse(name):.4f}" + _gap(result, name) for name in scores.PIXEL_RIVALS),
        f"{fidelity.decibels(own):.1f} dB",
    ]


def _gap(result: TaskResult, rival: str) -> str:
    """How clearly a rival is beaten, for the cell of its value."""
    good = "good" if result.margin(rival).clear else "bad"
    return (
        f"<small>{_text(wording.gap(result, rival))}</small>"
        f'<small class="{good}">{_text(wording.margin(result, rival))}</small>'
    )


def _per_seed(report: Report) -> str:
    heads = ["task", "seed", *(wording.CONDITION_NAMES[name] for name in scores.CONDITIONS)]
    heads += [f"error: {wording.COMPARED_NAMES[name]}" for name in scores.COMPARED]
    rows = [
        [_text(result.name), str(seed.seed)]
        + [
            f"{seed.perplexity(c).of_mean:.1f}<small>{seed.perplexity(c).mean_of_perplexities:.1f}"
            "</small>"
            if c in seed.nll
            else ""
            for c in scores.CONDITIONS
        ]
        + [f"{seed.mse[name].mean():.4f}" for name in scores.COMPARED]
        for result in report.results
        for seed in result.seeds
    ]
    return (
        "<details><summary>Every seed</summary><p class='small muted'>Perplexity is exp of the "
        "mean over all ids; the small number is the mean over prompts of each one's perplexity, "
        f"as LVM reports it.</p>{_numbers(heads, rows)}</details>"
    )


def _tokenizer(report: Report) -> str:
    parts = []
    if report.reconstructions is not None:
        shown = report.reconstructions
        side = max(64, min(112, 4 * shown.originals.shape[1]))
        cells = "".join(
            f"<figure>{_picture(original)}{_picture(decoded)}<figcaption>{db:.1f} dB</figcaption>"
            "</figure>"
            for original, decoded, db in zip(shown.originals, shown.decoded, shown.numbers["psnr"])
        )
        parts.append(
            '<section class="card"><h3>Reconstructions</h3><p class="muted">Above the original, '
            "below what is left of it after encoding and decoding, with the PSNR.</p>"
            f'<div class="strip" style="--side:{side}px">{cells}</div></section>'
        )
    figures = [_figure(chart.title, charts.line_chart(chart)) for chart in report.tokenizer_charts]
    if report.code_counts is not None:
        counts = report.code_counts
        note = (
            f"{codes.usage(counts):.0%} of the {report.num_codes} codes occur in the training "
            f"data; their use is as even as that of {codes.perplexity(counts):.0f} equally "
            "frequent codes."
        )
        svg = charts.frequency_chart(counts)
        figures.insert(0, _figure("Codebook usage", svg, note))
    if figures:
        parts.append(f'<div class="columns">{"".join(figures)}</div>')
    return f"<h2>The tokenizer</h2>{''.join(parts)}" if parts else ""


def _curves(report: Report) -> str:
    note = "" if report.losses is None else wording.held_out(report.losses)
    if not report.model_charts and not note:
        return ""
    figures = "".join(_figure(c.title, charts.line_chart(c)) for c in report.model_charts)
    lead = f'<p class="lead">{_text(note)}</p>' if note else ""
    return f'<h2>The transformer</h2>{lead}<div class="columns">{figures}</div>'


def _next(report: Report) -> str:
    if not report.commands:
        return ""
    items = "".join(
        f"<p>{_text(what)}:</p><pre>{_text(command)}</pre>" for what, command in report.commands
    )
    return f'<h2>What next</h2><section class="card next">{items}</section>'


def _facts(report: Report) -> str:
    cards = []
    for section, values in report.facts.items():
        rows = "".join(
            f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>"
            for name, value in values.items()
        )
        cards.append(
            f'<section class="card"><h3>{_text(section)}</h3>'
            f'<table class="facts">{rows}</table></section>'
        )
    if not cards:
        return ""
    return f'<h2>Configuration and timings</h2><div class="columns">{"".join(cards)}</div>'


def _figure(title: str, svg: str, note: str = "") -> str:
    caption = f"<figcaption>{_text(note)}</figcaption>" if note else ""
    return f'<figure class="card"><h3>{_text(title)}</h3>{svg}{caption}</figure>'


def _numbers(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of numbers; heads are text, cells are HTML."""
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="numbers"><tr>{head}</tr>{body}</table>'


def _picture(picture: np.ndarray) -> str:
    data = base64.b64encode(images.encode_png(picture)).decode()
    return f'<img alt="" src="data:image/png;base64,{data}">'


def _text(value: Any) -> str:
    return html.escape(str(value))
