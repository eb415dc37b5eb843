"""The first tab: example pairs, a query, and answers to it."""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import numpy as np

from lvm_jax.demo import limits, showing
from lvm_jax.demo.asking import Prompt
from lvm_jax.demo.layout import parts
from lvm_jax.demo.layout.parts import (
    Page,
    Settings,
    asked,
    picture,
    problem,
    said,
    session_of,
    small_button,
)
from lvm_jax.demo.uploads import UploadError

_ROWS_AT_FIRST = 2
NAME = "analogy"
_ABOUT = (
    "Show what is to be done by pairs of an input and its output; the model does the same to the "
    "query."
)
_MEASURES = (
    "Perplexity says how surprised the model is by an answer: low is likely. dB is the PSNR, how "
    "near the answer is to the truth, if that is given: high is near."
)


class Analogy:
    """The components of the tab, and what they do."""

    def __init__(self, page: Page):
        self._page = page
        self._most = page.limits.pairs
        self._at_first = min(_ROWS_AT_FIRST, self._most)
        self.count = gr.State(self._at_first)
        with gr.Row():
            with gr.Column(min_width=240):
                gr.Markdown(_ABOUT)
            # One of the gallery, which says what it does.
            self.example = gr.Button(
                "New here? Try an example",
                size="sm",
                scale=0,
                min_width=200,
                visible=any(prompt.layout == NAME for prompt in page.gallery),
                elem_id="try",
            )
        with gr.Row():
            with gr.Column(scale=1):
                self._rows = [self._row(number) for number in range(self._most)]
                with gr.Row():
                    self.add = small_button("Add a pair", "add-pair")
                    self.clear = small_button("Clear all", "clear")
                with gr.Row(elem_classes="pair"):
                    self.query = picture("Query", elem_id="query")
                    self.truth = picture("Truth (optional)", elem_id="truth")
            with gr.Column(scale=1):
                self.settings = Settings(page, NAME)
                self.answers = parts.gallery("Answers", "answers")
                gr.Markdown(_MEASURES)
                with gr.Row():
                    self.look = small_button("What the tokenizer sees", "look")
                    self.save = small_button("Save as a prompt file", "save")
                self.file = gr.File(label="Prompt file", visible=False, elem_id="prompt-file")
                self.seen = parts.gallery(
                    "Pictures as the tokenizer keeps them", "seen", visible=False
                )
        self._connect()

    def _row(self, number: int) -> tuple[Any, Any, Any, Any]:
        """Row, input, output and buttons of an example."""
        visible = number < self._at_first
        with gr.Row(visible=visible, elem_classes="pair", elem_id=f"pair-{number + 1}") as row:
            given = picture(f"Input {number + 1}", elem_id=f"input-{number + 1}")
            made = picture(f"Output {number + 1}", elem_id=f"output-{number + 1}")
            with gr.Column(scale=0, min_width=40, elem_classes="moves"):
                moves = [
                    gr.Button(sign, size="sm", elem_id=f"{name}-{number + 1}")
                    for sign, name in (("↑", "up"), ("↓", "down"), ("✕", "remove"))
                ]
        return row, given, made, moves

    @property
    def _images(self) -> list[Any]:
        return [image for _, given, made, _ in self._rows for image in (given, made)]

    @property
    def filled(self) -> list[Any]:
        """The components that `values_of` fills."""
        rows = [row for row, *_ in self._rows]
        shown = [self.query, self.truth, self.settings.status]
        return [self.count, *rows, *self._images, *shown, *self.settings.inputs, *self._made]

    @property
    def _made(self) -> list[Any]:
        """What was made of the prompt before."""
        return [self.answers, self.seen, self.file]

    def _connect(self) -> None:
        settings, images = self.settings, self._images
        quick, every = parts.QUICK, [*images, self.query, self.truth]
        for image in every:
            image.input(self._page_take, image, [image, settings.status], **quick)
        layout = [self.count, *[row for row, *_ in self._rows], *images]
        for number, (*_, (up, down, remove)) in enumerate(self._rows):
            above, below = max(0, number - 1), min(self._most - 1, number + 1)
            up.click(_swapper(number, above), [self.count, *images], images, **quick)
            down.click(_swapper(number, below), [self.count, *images], images, **quick)
            removed = remove.click(self._remover(number), [self.count, *images], layout, **quick)
            self.describe(removed.then)
        self.describe(self.add.click(self._add, [self.count, *images], layout, **quick).then)
        cleared = [*layout, self.query, self.truth, *self._made]
        self.describe(self.clear.click(self._clear, None, cleared, **quick).then)
        over = settings.runs(self._answer, [self.count, *every], [self.answers])
        self.describe(over.then)
        self.describe(settings.candidates.change)
        prompt = [self.count, *every, *settings.inputs]
        self.look.click(
            self._look,
            prompt,
            [settings.status, self.seen],
            show_progress="minimal",
            api_visibility="private",
            **parts.ONE_AT_A_TIME,
        )
        self.save.click(self._save, prompt, [settings.status, self.file], **quick)

    def _page_take(self, path: str | None, request: gr.Request) -> tuple[str | None, str]:
        return self._page.take(request, path)

    def describe(self, event: Callable[..., Any]) -> None:
        """Says at an event what fits and how long it takes."""
        inputs = [self.count, self.settings.candidates]
        event(self._describe, inputs, self.settings.limits, **parts.QUICK)

    def _describe(self, count: int, candidates: float) -> str:
        config = asked(candidates, 0, 1, 0, 1).config(NAME)
        seconds = self._page.answerer.seconds_needed(2 * count + 1, config)
        return f"{self._page.limits.of_analogy(count)} {limits.of_time(seconds)}"

    def _shown(self, count: int, images: list[Any]) -> list[Any]:
        """Values of `layout`."""
        rows = [gr.update(visible=number < count) for number in range(self._most)]
        return [count, *rows, *images]

    def _add(self, count: int, *images: str | None) -> list[Any]:
        return self._shown(min(self._most, count + 1), list(images))

    def _remover(self, number: int) -> Any:
        def remove(count: int, *images: str | None) -> list[Any]:
            kept = [*images[: 2 * number], *images[2 * number + 2 :], None, None]
            return self._shown(max(0, count - 1), kept)

        return remove

    def _clear(self) -> list[Any]:
        empty = self._shown(self._at_first, [None] * (2 * self._most))
        return [*empty, None, None, *_nothing_made()]

    def _prompt(self, count: int, values: tuple[Any, ...]) -> Prompt:
        *images, query, truth = values[: 2 * self._most + 2]
        pairs = [(images[2 * row], images[2 * row + 1]) for row in range(count)]
        chosen = asked(*values[2 * self._most + 2 :])
        return self._page.reader.analogy(pairs, query, truth, chosen)

    def _answer(self, request: gr.Request, count: int, *values: Any) -> Iterator[tuple[Any, ...]]:
        line = said("Cancelled before it began.")
        yield said("Reading the prompt."), []
        shown: list[tuple[str, str]] = []
        try:
            prompt = self._prompt(count, values)
            yield self._page.begun(prompt), []
            for line, answers in self._page.answers(request, prompt):
                shown = [
                    (
                        self._page.keep(request, showing.enlarged(candidate.images[0]), "answer"),
                        showing.caption(place, candidate),
                    )
                    for place, candidate in enumerate(answers.candidates, 1)
                ]
                yield line, shown
        except (ValueError, RuntimeError) as error:
            line = problem(error)
        yield line, shown

    def _look(self, request: gr.Request, count: int, *values: Any) -> tuple[Any, ...]:
        try:
            prompt = self._prompt(count, values)
        except UploadError as error:
            return problem(error), gr.update(visible=False)
        squares = np.concatenate([prompt.images, prompt.targets])
        names = [f"{'output' if i % 2 else 'input'} {i // 2 + 1}" for i in range(2 * count)]
        names = [*names[: len(prompt.images) - 1], "query", "truth"]
        decoded, psnr = self._page.answerer.squares_as_seen(squares)
        shown = [
            (self._page.keep(request, showing.enlarged(image), "seen"), f"{name}, {value:.1f} dB")
            for image, name, value in zip(decoded, names, psnr)
        ]
        return gr.skip(), gr.update(value=shown, visible=True)

    def _save(self, request: gr.Request, count: int, *values: Any) -> tuple[Any, ...]:
        try:
            asked = self._prompt(count, values)
            text = asked.file(self._page.credits.of(asked)).text()
        except UploadError as error:
            return problem(error), gr.update(visible=False)
        session = session_of(request)
        path = self._page.sessions.keep_bytes(session, text.encode(), "prompt.json")
        return gr.skip(), gr.update(value=path, visible=True)

    def values_of(self, request: gr.Request, prompt: Prompt, line: str) -> list[Any]:
        """Values of `filled` that show a prompt."""
        kept = [self._page.keep(request, image) for image in prompt.images]
        *examples, query = kept
        examples = [*examples, *[None] * (2 * self._most - len(examples))]
        truth = self._page.keep(request, prompt.targets[0]) if len(prompt.targets) else None
        count = (len(kept) - 1) // 2
        settings = parts.setting_values(prompt.asked)
        shown = [*self._shown(count, examples), query, truth, said(line)]
        return [*shown, *settings, *_nothing_made()]


def _nothing_made() -> list[Any]:
    """Values of `_made` before an answer."""
    return [[], gr.update(value=[], visible=False), gr.update(value=None, visible=False)]


def _swapper(one: int, other: int) -> Any:
    """A handler that swaps two rows, if both are there."""

    def swap(count: int, *images: str | None) -> list[str | None]:
        moved = list(images)
        if max(one, other) < count:
            a, b = slice(2 * one, 2 * one + 2), slice(2 * other, 2 * other + 2)
            moved[a], moved[b] = moved[b], moved[a]
        return moved

    return swap
