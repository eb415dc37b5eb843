"""The report is one file with everything in it, and says what was and was not learned."""

import dataclasses
import html.parser
import re

import numpy as np
import pytest

from lvm_jax.evaluation.asking import results as names
from lvm_jax.evaluation.asking import runner
from lvm_jax.evaluation.asking.results import MODEL, TRUTH, MetricResult, Rung, Shown, TaskResult
from lvm_jax.evaluation.report import charts, page, training_charts
from lvm_jax.evaluation.report.charts import Chart, Curve
from lvm_jax.evaluation.report.losses import Losses
from lvm_jax.evaluation.report.page import Report
from lvm_jax.evaluation.tasks.pixels import MSE
from lvm_jax.evaluation.tasks.task import Example
from lvm_jax.measures import fidelity
from lvm_jax.pages.style import CSS
from lvm_jax.tokenizer.measuring import Measurement

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)


def task(name, gap, rung=None):
    right = np.linspace(1, 2, 6)
    conditions = (MODEL, names.OTHER, names.NONE, names.UNIGRAM, names.QUERY)
    compared = (MODEL, names.CEILING, names.COPY, names.MEAN)
    nll = {c: (right + gap * i + 1e-3 * np.arange(6),) * 3 for i, c in enumerate(conditions)}
    mse = {c: (np.full(4, 0.02 + gap * i),) * 3 for i, c in enumerate(compared)}
    example = Example(pairs=PIXELS[:4].reshape(2, 2, 16, 16, 3), query=PIXELS[4], answer=PIXELS[5])
    shown = Shown(place="median", value=0.02, groups=runner.groups(example, PIXELS[5:8], PIXELS[6]))
    return TaskResult(
        name=name,
        seeds=(0, 1, 2),
        metrics=(
            MetricResult(metric=TRUTH, values=nll, own="right prompt"),
            MetricResult(metric=MSE, values=mse),
        ),
        decides="mse",
        shown=(shown,),
        rung=rung,
    )


@pytest.fixture(scope="module")
def report():
    """Of a task that was answered and one that was not, with every part of the page."""
    steps = np.arange(1000.0)
    curve = Curve(label="train/loss", steps=steps, values=np.exp(-steps / 300))
    return Report(
        title="A title <with> marks",
        results=(task("edges & lines", 0.5), task("inpainting", -0.5)),
        num_codes=4,
        reconstructions=Measurement(
            numbers={"psnr": fidelity.psnr(PIXELS[:3], PIXELS[3:6])},
            code_counts=np.array([5, 3, 0, 1]),
            originals=PIXELS[:3],
            decoded=PIXELS[3:6],
        ),
        code_counts=np.array([5, 3, 0, 1]),
        tokenizer_charts=(Chart(title="Error", unit="mse", curves=(curve,)),),
        model_charts=(Chart(title="Loss", unit="nats", curves=(curve,), levels={"flat": 0.5}),),
        losses=Losses(training=0.02, held_out=((10, 3.5), (20, 9.65))),
        tiles=(("2.1 million", "parameters"),),
        commands=(("Train <longer>", "python tools/train.py --config=a&b"),),
        facts={"Timings": {"training": "3 min"}},
    )


class Structure(html.parser.HTMLParser):
    """Checks that tags close in order, and collects what the page shows."""

    VOID = frozenset(["meta", "img", "path", "use", "rect", "br"])

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.sources.append(dict(attributes)["src"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_and_self_contained(report, tmp_path):
    page.write(tmp_path / "new" / "report.html", report)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
    text = (tmp_path / "new" / "report.html").read_text()
    shown = Structure(text)
    # Two prompts of 4 + 1 + 3 + 2 pictures, three reconstructions of 2.
    assert len(shown.sources) == 2 * 10 + 6
    assert all(source.startswith("data:image/png;base64,") for source in shown.sources)
    # Nothing is fetched: no scripts, no style sheets, no fonts; XML namespaces are only names.
    assert not re.search(r"<(script|link|iframe)|url\((?!#)|@import", text)
    assert text.count("<svg") == 3 + 2  # and the bars of both tasks


def test_it_says_what_was_learned_and_what_was_not(report):
    words = " ".join(Structure(page.render(report)).words)
    assert "The model answers 1 of 2 tasks from example images alone (edges & lines)." in words
    assert "edges & lines: answered" in words and "inpainting: not learned" in words
    assert "clearly, 3 of 3 seeds" in words
    assert "not beaten, 0 of 3 seeds" in words
    assert "A title <with> marks" in words  # escaped, not a tag
    assert "75% of the 4 codes" in words


def test_memorising_is_said_where_it_cannot_be_missed(report):
    shown = Structure(page.render(report))
    words = " ".join(shown.words)
    assert "It has memorised its training data." in words[: words.index("Prompts and answers")]
    assert "The held-out loss ends at 9.65 nats per id, the training loss at 0.02" in words
    for tile in ("0.02", "9.65"):
        assert tile in shown.words
    silent = dataclasses.replace(report, losses=Losses(training=0.02))
    words = " ".join(Structure(page.render(silent)).words)
    assert "memorised" not in words and "not measured" in words


def test_commands_are_shown_as_they_are_typed(report):
    words = Structure(page.render(report)).words
    assert "python tools/train.py --config=a&b" in words and "Train <longer>:" in words


def test_a_narrow_page_shows_query_truth_and_answers_before_the_examples(report):
    """The pictures of a prompt wrap instead of scrolling out of sight."""
    text = page.render(report)
    prompts = text[text.index('<div class="prompts"') : text.index("In numbers")]
    assert "scroll" not in prompts
    narrow = CSS[CSS.index("@media (max-width: 700px)") :]
    order = {
        name: int(re.search(rf"\.{name} {{ order: (\d)", narrow)[1])
        for name in ("answers", "examples")
    }
    assert 0 < order["answers"] < order["examples"]


def test_points_of_a_curve_are_drawn_as_one():
    rungs = [Rung(series="frames", axis="context images", value=value) for value in (1, 3)]
    results = tuple(task(rung.name, 0.5, rung) for rung in rungs)
    text = page.render(Report(title="t", results=results, num_codes=4))
    shown = Structure(text)
    assert text.count("<svg") == 2  # a chart for each metric, and no bars
    assert "context images" in " ".join(shown.words) and "frames, 3 context images" in shown.words


def test_parts_left_out_are_not_mentioned():
    text = page.render(Report(title="t", results=(), num_codes=4))
    Structure(text)
    for word in ("Reconstructions", "Codebook", "In numbers", "<svg"):
        assert word not in text


def test_charts_take_their_colours_from_the_page(report):
    svg = charts.line_chart(report.model_charts[0])
    assert "var(--series-1)" in svg
    assert "var(--muted)" in svg
    assert not set(re.findall(r"#[0-9a-f]{6}\b", svg)) - {"#000000", "#ffffff"}
    # A thousand points are thinned to what a screen can show.
    assert len(svg) < 40_000


def test_equal_reports_are_equal_files(report):
    assert page.render(report) == page.render(report)


def test_curves_are_chosen_by_name():
    lines = [
        {"step": 1, "train/loss": 3.0},
        {"step": 2, "train/loss": 2.0, "eval/held_out/loss": 2.5, "perf/mfu": 0.1},
    ]
    curves = training_charts.curves(lines, "(train|eval/.*)/loss")
    assert [curve.label for curve in curves] == ["training", "held out"]
    assert curves[0].steps.tolist() == [1, 2]
    assert training_charts.curves(lines, "nothing") == ()
