"""One self-contained HTML file that shows what was trained and how well it works."""

import base64
import dataclasses
import html
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lvm_jax import atomic, images
from lvm_jax.evaluation import charts, image_metrics, scores, wording
from lvm_jax.evaluation import perplexity as perplexity_lib
from lvm_jax.evaluation.charts import Chart
from lvm_jax.evaluation.report_style import CSS
from lvm_jax.evaluation.scores import TaskResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstructions:
    """Held-out pictures through the tokenizer; both uint8 [N, S, S, 3]."""

    originals: np.ndarray
    decoded: np.ndarray

    def psnr(self) -> np.ndarray:
        """dB per picture, float64 [N]."""
        return image_metrics.psnr(image_metrics.mse(self.decoded, self.originals))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All that the report shows; parts left out are not mentioned.

    Attributes:
        title: heads the page, above the headline that the results give.
        results: of the tasks, see `analogies.evaluate`.
        num_codes: size of the codebook, which perplexities are compared with.
        reconstructions: see `Reconstructions`.
        code_counts: int [num_codes], how often the training data use each code.
        tokenizer_charts, model_charts: training curves.
        tiles: (number, what it is) pairs that lead the page, besides those of the results.
        facts: section -> name -> value: configuration, timings.
    """

    title: str
    results: tuple[TaskResult, ...]
    num_codes: int
    reconstructions: Reconstructions | None = None
    code_counts: np.ndarray | None = None
    tokenizer_charts: tuple[Chart, ...] = ()
    model_charts: tuple[Chart, ...] = ()
    tiles: tuple[tuple[str, str], ...] = ()
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
            _facts(report),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(report.title)}</title><style>{CSS}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


def usage(counts: np.ndarray) -> tuple[float, float]:
    """Codebook usage: the share of codes that occur at all, and exp(entropy) of their use."""
    return float(np.mean(counts > 0)), float(np.exp(perplexity_lib.code_entropy(counts)))


def _header(report: Report) -> str:
    tiles = list(report.tiles)
    if report.results:
        learned = sum(result.learned for result in report.results)
        tiles.insert(0, (f"{learned} of {len(report.results)}", "tasks clearly learned"))
    if report.reconstructions is not None:
        psnr = report.reconstructions.psnr().mean()
        tiles.append((f"{psnr:.1f} dB", "PSNR of held-out pictures through the tokenizer"))
    if report.code_counts is not None:
        tiles.append((f"{usage(report.code_counts)[0]:.0%}", f"of {report.num_codes} codes in use"))
    cells = "".join(
        f'<div class="tile"><b>{_text(number)}</b><span>{_text(what)}</span></div>'
        for number, what in tiles
    )
    headline = wording.headline(report.results) if report.results else "Nothing was asked."
    return (
        f'<header><p class="eyebrow">{_text(report.title)}</p><h1>{_text(headline)}</h1>'
        "<p>A picture is a row of codes; a task is posed by example pairs of pictures and a query, "
        "and one transformer writes the codes of the answer. All pictures below were held out: "
        "training saw no part of them.</p>"
        f'<div class="tiles">{cells}</div></header>'
    )


def _answers(report: Report) -> str:
    shown = [result for result in report.results if result.shown]
    if not shown:
        return ""
    return (
        '<h2>Prompts and answers</h2><p class="lead muted">Each row is one prompt, read from left '
        "to right as the model reads it. The answers are drawn independently; the last column is "
        "the truth after encoding and decoding, as good as any answer can get.</p>"
    ) + "".join(_answer_card(result) for result in shown)


def _answer_card(result: TaskResult) -> str:
    num_pairs = len(result.shown[0].example.pairs)
    num_candidates = len(result.shown[0].candidates)
    columns = 2 * num_pairs + num_candidates + 3
    side = max(56, min(112, 1000 // columns - 4))
    pairs = "".join(f'<th colspan="2">example {i + 1}</th>' for i in range(num_pairs))
    head = (
        f'<tr>{pairs}<th class="apart">query</th>'
        f'<th class="answers" colspan="{num_candidates}">the model\'s answers</th>'
        '<th class="truth">truth</th><th>via the tokenizer</th></tr>'
    )
    rows = []
    for shown in result.shown:
        cells = [(picture, "") for pair in shown.example.pairs for picture in pair]
        cells += [(shown.example.query, "apart")]
        cells += [(picture, "") for picture in shown.candidates]
        cells += [(shown.example.answer, ""), (shown.ceiling, "")]
        rows.append(
            "<tr>"
            + "".join(
                f'<td class="{css}">{_picture(picture)}</td>'
                if css
                else f"<td>{_picture(picture)}</td>"
                for picture, css in cells
            )
            + "</tr>"
        )
    return (
        f'<section class="card"><h3>{_text(result.name)}</h3>'
        f"<p>{_text(wording.verdict(result))} {_text(wording.pixels(result))}</p>"
        f'<div class="scroll"><table class="pictures" style="--side:{side}px">'
        f"{head}{''.join(rows)}</table></div></section>"
    )


def _table(report: Report) -> str:
    if not report.results:
        return ""
    seeds = report.results[0].seeds
    num_examples, num_answered = len(seeds[0].nll[scores.RIGHT]), len(seeds[0].mse[scores.ANSWER])
    heads = ["task"] + [
        f"({letter}) {wording.CONDITION_NAMES[name]}"
        for letter, name in zip("abcd", (scores.RIGHT, *scores.RIVALS))
    ]
    heads.append(wording.CONDITION_NAMES[scores.QUERY])
    rows = [_perplexity_row(result) for result in report.results]
    errors = [
        [_text(r.name), f'<span class="own">{r.mse(scores.ANSWER):.4f}</span>']
        + [f"{r.mse(name):.4f}" for name in scores.COMPARED[1:]]
        + [f"{image_metrics.psnr(r.mse(scores.ANSWER)):.1f} dB"]
        for r in report.results
    ]
    error_heads = ["task", *(wording.COMPARED_NAMES[n] for n in scores.COMPARED), "PSNR of answer"]
    return (
        '<h2>In numbers</h2><p class="lead muted">Perplexity of the true answer: between how many '
        f"codes, out of {report.num_codes}, the model in effect hesitates at each step; lower is "
        "better. A task is learned when (a) is lower than (b), (c) and (d). A seed chooses other "
        f"crops, other examples and other draws: {len(seeds)} seeds, {num_examples} prompts per "
        f"task and seed. A margin is clear when it exceeds {scores.CLEAR:g} standard errors.</p>"
        f'<div class="card scroll">{_numbers(heads, rows)}</div>'
        '<p class="lead muted">Mean squared error against the truth, in [0, 1] units, over '
        f"{num_answered} prompts per seed and all their answers. A copy of the query and the mean "
        "of the prompt's answers are what one could say without understanding the task.</p>"
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
        good = "good" if result.holds(rival) == len(result.seeds) else "bad"
        cells.append(
            f"{value:.1f}<small>{value / own:.2f} times (a)</small>"
            f'<small class="{good}">{_text(wording.margin(result, rival))}</small>'
        )
    query = result.perplexity(scores.QUERY)
    return [*cells, f"{query:.1f}<small>{query / own:.2f} times (a)</small>"]


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
        found = report.reconstructions
        side = max(64, min(112, 4 * found.originals.shape[1]))
        cells = "".join(
            f"<figure>{_picture(original)}{_picture(decoded)}<figcaption>{db:.1f} dB</figcaption>"
            "</figure>"
            for original, decoded, db in zip(found.originals, found.decoded, found.psnr())
        )
        parts.append(
            '<section class="card"><h3>Reconstructions</h3><p class="muted">Above the original, '
            "below what is left of it after encoding and decoding, with the PSNR.</p>"
            f'<div class="strip" style="--side:{side}px">{cells}</div></section>'
        )
    figures = [_figure(chart.title, charts.line_chart(chart)) for chart in report.tokenizer_charts]
    if report.code_counts is not None:
        share, perplexity = usage(report.code_counts)
        note = (
            f"{share:.0%} of the {report.num_codes} codes occur in the training data; their use is "
            f"as even as that of {perplexity:.0f} equally frequent codes."
        )
        svg = charts.frequency_chart(report.code_counts)
        figures.insert(0, _figure("Codebook usage", svg, note))
    if figures:
        parts.append(f'<div class="columns">{"".join(figures)}</div>')
    return f"<h2>The tokenizer</h2>{''.join(parts)}" if parts else ""


def _curves(report: Report) -> str:
    if not report.model_charts:
        return ""
    figures = "".join(_figure(c.title, charts.line_chart(c)) for c in report.model_charts)
    return f'<h2>The transformer</h2><div class="columns">{figures}</div>'


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
