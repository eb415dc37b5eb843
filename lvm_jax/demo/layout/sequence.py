"""The second tab: frames or a clip, and the frames that follow."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from lvm_jax.demo import clips, limits, showing, uploads
from lvm_jax.demo.answering import Answers
from lvm_jax.demo.asking import Prompt
from lvm_jax.demo.layout import parts
from lvm_jax.demo.layout.parts import Page, Settings, asked, gallery, problem, said, session_of
from lvm_jax.demo.uploads import UploadError
from lvm_jax.generation.jobs.job import Picture

NAME = "sequence"
_AT_FIRST_NEW = 2
_MOST_STRIDE = 32
_ABOUT = (
    "Give frames, which are taken in the order of their names, or a video or an animation; the "
    "model draws how it goes on."
)


class FrameSequence:
    """The components of the tab, and what they do."""

    def __init__(self, page: Page):
        self._page = page
        gr.Markdown(_ABOUT)
        with gr.Row():
            with gr.Column(scale=1):
                self.files = gr.File(
                    label="Frames or a clip",
                    file_count="multiple",
                    height=150,
                    elem_id="frames",
                )
                self.files.preprocess = lambda payload: [file.path for file in payload or []]
                with gr.Row():
                    self.stride = gr.Slider(
                        1,
                        _MOST_STRIDE,
                        value=1,
                        step=1,
                        label="Take every n-th frame",
                        info="1 takes all. The last one given is always taken.",
                        min_width=240,
                    )
                    self.held_back = gr.Slider(
                        0,
                        limits.MOST_NEW_FRAMES,
                        value=0,
                        step=1,
                        label="Hold back as the truth",
                        info="So many at the end, which answers are compared with.",
                        min_width=240,
                    )
                self.used = gallery("The prompt", "used", columns=6)
            with gr.Column(scale=1):
                with gr.Row():
                    self.new = gr.Slider(
                        1,
                        limits.MOST_NEW_FRAMES,
                        value=_AT_FIRST_NEW,
                        step=1,
                        label="New frames",
                        min_width=240,
                    )
                    self.rate = gr.Slider(
                        1, 30, value=8, step=1, label="Frames per second", min_width=240
                    )
                self.settings = Settings(page, NAME, candidates=1)
                self.strip = gr.Image(
                    label="All frames in a strip",
                    visible=False,
                    interactive=False,
                    elem_id="strip",
                    buttons=["download", "fullscreen"],
                )
                with gr.Row():
                    self.moving, self.clips = _moving(), _clips()
        self._connect()

    @property
    def filled(self) -> list[Any]:
        """The components that `values_of` fills."""
        shown = [self.stride, self.held_back, self.new, self.settings.status]
        return [self.files, *shown, *self.settings.inputs, *self._results]

    @property
    def _results(self) -> list[Any]:
        return [self.strip, self.moving, self.clips]

    @property
    def _chosen(self) -> list[Any]:
        return [self.files, self.stride, self.held_back, self.new]

    def _connect(self) -> None:
        settings = self.settings
        shown = [settings.status, settings.limits, self.used]
        chosen = [*self._chosen, settings.candidates]
        gr.on([component.change for component in chosen], self._look, chosen, shown, **parts.QUICK)
        over = settings.runs(self._answer, [*self._chosen, self.rate], self._results)
        self.describe(over.then)

    def describe(self, event: Callable[..., Any]) -> None:
        """Says at an event what fits and how long it takes."""
        inputs = [*self._chosen, self.settings.candidates]
        event(self._fits, inputs, self.settings.limits, **parts.QUICK)

    def _frames(self, files: Sequence[str], stride: float) -> list[Picture]:
        frames = uploads.frames_of(files)
        return frames[::-1][:: int(stride)][::-1]  # the last one stays

    def _look(self, request: gr.Request, *chosen: Any) -> tuple[Any, ...]:
        """What is used of what was given, before anything is computed."""
        files, stride, held_back, *_ = chosen
        try:
            for path in files:
                self._page.sessions.uses(session_of(request), path)
            used, first = self._used(files, stride, held_back)
            squares = [self._page.reader.frame(frame) for frame in used]
        except UploadError as error:
            return (problem(error) if files else gr.skip()), self._fits(*chosen), []
        shown = [
            (self._page.keep(request, showing.enlarged(square), "frame"), str(number))
            for number, square in enumerate(squares, first)
        ]
        return gr.skip(), self._fits(*chosen), shown

    def _used(
        self, files: Sequence[str], stride: float, held_back: float
    ) -> tuple[Sequence[Picture], int]:
        """The frames of the prompt, and the number of the first of them from 1."""
        frames = self._frames(files, stride)
        used, _ = self._page.reader.split(frames, int(held_back))
        return used, len(frames) - int(held_back) - len(used) + 1

    def _fits(
        self, files: list[str], stride: float, held_back: float, new: float, candidates: float
    ) -> str:
        """How many frames fit, and how long it takes."""
        try:
            used, first = self._used(files, stride, held_back)
        except UploadError:
            return self._page.limits.of_sequence(0, 0, int(new))
        config = asked(candidates, 0, 1, 0, 1, num_new_images=int(new)).config(NAME)
        seconds = self._page.answerer.seconds_needed(len(used), config)
        fits = self._page.limits.of_sequence(first - 1 + len(used), len(used), int(new))
        return f"{fits} {limits.of_time(seconds)}"

    def _answer(
        self,
        request: gr.Request,
        files: list[str],
        stride: float,
        held_back: float,
        new: float,
        rate: float,
        *values: Any,
    ) -> Iterator[tuple[Any, ...]]:
        line = said("Cancelled before it began.")
        yield said("Reading the frames."), *_results()
        strip = None
        answers: Answers | None = None
        try:
            chosen = asked(*values, num_new_images=int(new))
            frames = self._frames(files, stride)
            prompt = self._page.reader.sequence(frames, int(held_back), chosen)
            yield self._page.begun(prompt), *_results()
            for line, answers in self._page.answers(request, prompt):
                drawn = showing.strip(prompt.images, answers, prompt.targets)
                strip = self._page.keep(request, drawn, "strip")
                yield line, *_results(strip)
            if answers is not None:
                yield line, *_results(strip, *self._clips(request, prompt, answers, rate))
                return
        except (ValueError, RuntimeError) as error:
            line = problem(error)
        yield line, *_results(strip)

    def _clips(
        self, request: gr.Request, prompt: Prompt, answers: Answers, rate: float
    ) -> tuple[str, list[str]]:
        """An animation to look at, and the files to download."""
        frames = showing.clip(prompt.images, answers.candidates[0])
        session, keep = session_of(request), self._page.sessions.keep_bytes
        written = clips.write(frames, rate)
        files = [keep(session, data, f"answer{suffix}") for suffix, data in written.items()]
        return files[0], files

    def values_of(self, request: gr.Request, prompt: Prompt, line: str) -> list[Any]:
        """Values of `filled` that show a prompt."""
        files = [
            self._page.keep(request, square, f"frame_{number:03d}")
            for number, square in enumerate([*prompt.images, *prompt.targets], 1)
        ]
        settings = parts.setting_values(prompt.asked)
        new = min(prompt.asked.num_new_images, limits.MOST_NEW_FRAMES)
        return [files, 1, len(prompt.targets), new, said(line), *settings, *_results()]


def _results(
    strip: str | None = None, moving: str | None = None, clips: list[str] | None = None
) -> list[Any]:
    """Values of what shows answers, as far as there is something to show."""
    return [gr.update(value=value, visible=bool(value)) for value in (strip, moving, clips)]


def _moving() -> gr.Image:
    """A place for an answer that moves."""
    return gr.Image(
        label="The likeliest, moving",
        visible=False,
        interactive=False,
        elem_id="moving",
        scale=2,
        height=220,
        min_width=240,
        buttons=["download", "fullscreen"],
    )


def _clips() -> gr.File:
    """A place for answers to be taken away."""
    return gr.File(
        label="To download",
        visible=False,
        interactive=False,
        elem_id="clips",
        scale=3,
        min_width=240,
    )
