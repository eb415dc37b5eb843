"""One self-contained HTML file that shows what was trained and how well it works."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from lvm_jax import atomic, commands
from lvm_jax.evaluation.asking.results import TaskResult
from lvm_jax.evaluation.report import answers, charts, result_charts, tables, wording
from lvm_jax.evaluation.report.charts import Chart
from lvm_jax.evaluation.report.losses import Losses
from lvm_jax.measures import codes
from lvm_jax.pages.elements import document, facts, figure, header, picture, text
from lvm_jax.tokenizer.measuring import Measurement

OF_PROMPTS = (
    "A picture is a row of codes; a task is posed by example pairs of pictures and a query, "
    "and one transformer writes the codes of the answer. All pictures below were held out: "
    "training saw no part of them."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All that the report shows; parts left out are not mentioned.

    Attributes:
        title: heads the page, above the headline that the results give.
        results: of the tasks, see `runner.evaluate`.
        num_codes: size of the codebook, which perplexities are compared with.
        lead: what was done, under the headline.
        reconstructions: held-out pictures through the tokenizer, all of them shown.
        code_counts: int [num_codes], how often the training data use each code.
        tokenizer_charts, model_charts: training curves.
        losses: of the transformer at the end of its training.
        tiles: (number, what it is) pairs that lead the page, besides those of the results.
        commands: (what it is good for, command line) pairs to go on with; tools are named as files,
            and shown as this program was run.
        facts: section -> name -> value: configuration, timings.
    """

    title: str
    results: tuple[TaskResult, ...]
    num_codes: int
    lead: str = OF_PROMPTS
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
    pictures = answers.of_results(report.results)
    numbers = _charts(report) + (tables.of_results(report.results) if report.results else "")
    # Where nothing is drawn, numbers are what one comes for.
    is_drawn = any(result.verdict != "measured" for result in report.results)
    body = "".join(
        [
            _header(report),
            *((pictures, numbers) if is_drawn else (numbers, pictures)),
            _tokenizer(report),
            _curves(report),
            _next(report),
            _facts(report),
        ]
    )
    return document(report.title, body)


def _header(report: Report) -> str:
    headline = wording.headline(report.results) if report.results else "Nothing was asked."
    if report.losses is not None and report.losses.memorised:
        headline += " It has memorised its training data."
    return header(report.title, headline, report.lead, _tiles(report))


def _tiles(report: Report) -> list[tuple[str, str]]:
    """(number, what it is) pairs."""
    tiles, verdicts = [], [r.verdict for r in report.results if r.verdict != "measured"]
    if verdicts:
        what = "tasks answered"
        if "recognised" in verdicts:
            what += f", {verdicts.count('recognised')} more recognised"
        tiles.append((f"{verdicts.count('answered')} of {len(verdicts)}", what))
        if distance := wording.distance(report.results):
            tiles.append(distance)
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


def _charts(report: Report) -> str:
    """Curves over context and examples, and bars of the metrics that decide."""
    curves = [(c.title, charts.line_chart(c)) for c in result_charts.ladders(report.results)]
    bars = [(b.title, charts.bar_chart(b)) for b in result_charts.bars(report.results)]
    if not curves and not bars:
        return ""
    drawings = "".join(figure(title, svg) for title, svg in (*curves, *bars))
    return (
        '<h2>In charts</h2><p class="lead muted">Bands, and lines at the ends of bars, are one '
        f'standard error over prompts.</p><div class="columns">{drawings}</div>'
    )


def _tokenizer(report: Report) -> str:
    parts = []
    if report.reconstructions is not None:
        shown = report.reconstructions
        side = max(64, min(112, 4 * shown.originals.shape[1]))
        cells = "".join(
            f"<figure>{picture(original)}{picture(decoded)}<figcaption>{db:.1f} dB</figcaption>"
            "</figure>"
            for original, decoded, db in zip(shown.originals, shown.decoded, shown.numbers["psnr"])
        )
        parts.append(
            '<section class="card"><h3>Reconstructions</h3><p class="muted">Above the original, '
            "below what is left of it after encoding and decoding, with the PSNR.</p>"
            f'<div class="strip" style="--side:{side}px">{cells}</div></section>'
        )
    figures = [figure(chart.title, charts.line_chart(chart)) for chart in report.tokenizer_charts]
    if report.code_counts is not None:
        counts = report.code_counts
        note = (
            f"{codes.usage(counts):.0%} of the {report.num_codes} codes occur in the training "
            f"data; their use is as even as that of {codes.perplexity(counts):.0f} equally "
            "frequent codes."
        )
        svg = charts.frequency_chart(counts)
        figures.insert(0, figure("Codebook usage", svg, note))
    if figures:
        parts.append(f'<div class="columns">{"".join(figures)}</div>')
    return f"<h2>The tokenizer</h2>{''.join(parts)}" if parts else ""


def _curves(report: Report) -> str:
    note = "" if report.losses is None else wording.held_out(report.losses)
    if not report.model_charts and not note:
        return ""
    figures = "".join(figure(c.title, charts.line_chart(c)) for c in report.model_charts)
    lead = f'<p class="lead">{text(note)}</p>' if note else ""
    return f'<h2>The transformer</h2>{lead}<div class="columns">{figures}</div>'


def _next(report: Report) -> str:
    if not report.commands:
        return ""
    items = "".join(
        f"<p>{text(what)}:</p><pre>{text(commands.spelled(command))}</pre>"
        for what, command in report.commands
    )
    return f'<h2>What next</h2><section class="card next">{items}</section>'


def _facts(report: Report) -> str:
    cards = [facts(section, values) for section, values in report.facts.items()]
    if not cards:
        return ""
    return f'<h2>Configuration and timings</h2><div class="columns">{"".join(cards)}</div>'
