"""What the tabs of the page share: places for pictures, settings, and how an answer runs."""

import contextlib
import dataclasses
import html
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
import numpy as np

from lvm_jax.demo import limits, sessions, showing, uploads
from lvm_jax.demo.answering import Answerer, Answers
from lvm_jax.demo.asking import Prompt, Reader
from lvm_jax.demo.credits import Credits
from lvm_jax.generation.jobs.prompt_files import Asked, PromptFile

# One answer at a time: the device has one memory.
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": 1}
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
_SOURCES = ["upload", "webcam", "clipboard"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """What the handlers share.

    Attributes:
        answerer: the model.
        reader: of what is given to it.
        sessions: files of those who use the page.
        gallery: ready prompts.
        credits: whose the pictures of shown prompts are.
    """

    answerer: Answerer
    reader: Reader
    sessions: sessions.Sessions
    gallery: Sequence[PromptFile]
    credits: Credits = dataclasses.field(default_factory=Credits)

    @property
    def limits(self) -> limits.Limits:
        """What fits the model."""
        return self.answerer.limits

    def keep(self, request: gr.Request, image: np.ndarray, name: str = "picture") -> str:
        """A picture as a file that components show: uint8 [H, W, 3]."""
        return self.sessions.keep(session_of(request), image, name)

    def take(self, request: gr.Request, path: str | None) -> tuple[str | None, str]:
        """A picture that was given: as the model sees it, or what is wrong with it."""
        if path is None:
            return None, said("")
        self.sessions.uses(session_of(request), path)
        try:
            return self.keep(request, self.reader.square(path)), said("")
        except uploads.UploadError as error:
            return None, problem(error)

    def begun(self, prompt: Prompt) -> str:
        """A line until the first image is there."""
        config = prompt.question().config
        is_first = self.answerer.seconds_needed(len(prompt.images), config) is None
        compiling = ": its program is compiled first, which takes a while" if is_first else ""
        return said(f"Drawing the first image{compiling}.")

    def answers(self, request: gr.Request, prompt: Prompt) -> Iterator[tuple[str, Answers]]:
        """What there is of an answer and a line about it, until it is done or stopped."""
        session = session_of(request)
        if self.sessions.is_stopped(session):
            return
        with contextlib.closing(self.answerer.answer(prompt.question())) as stream:
            for answers in stream:
                stopped = self.sessions.is_stopped(session)
                yield said(showing.progress(answers, stopped=stopped)), answers
                if stopped:
                    return


def session_of(request: gr.Request) -> str:
    """What the browser's tab calls itself."""
    return request.session_hash or ""


def picture(label: str, **options: Any) -> gr.Image:
    """A place for a picture: handlers get the path of its file, whatever that holds."""
    image = gr.Image(
        label=label,
        type="filepath",
        sources=_SOURCES,
        min_width=100,
        buttons=[],
        elem_classes="square",
        placeholder="Drop, paste or click",
        **{"height": 170, **options},
    )
    # gradio's own reading would meet a bad file before `uploads` could say what is wrong with it.
    image.preprocess = lambda payload: None if payload is None else payload.path
    return image


def gallery(label: str, name: str, **options: Any) -> gr.Gallery:
    """Pictures with captions."""
    return gr.Gallery(
        label=label,
        height="auto",
        object_fit="contain",
        elem_id=name,
        elem_classes="answers",
        buttons=["download", "fullscreen"],
        interactive=False,
        **{"columns": 4, **options},
    )


def small_button(text: str, elem_id: str) -> gr.Button:
    """A button that stays beside its neighbor on a phone."""
    return gr.Button(text, size="sm", min_width=120, elem_id=elem_id)


def status(name: str) -> gr.HTML:
    """A line for what happens."""
    return gr.HTML(elem_id=f"{name}-status", elem_classes="status", container=False, padding=False)


def said(text: str) -> str:
    """A line on the page."""
    return f'<div role="status">{html.escape(text)}</div>'


def problem(error: Exception) -> str:
    """What went wrong, on the page."""
    return f'<div role="alert" class="problem">{html.escape(" ".join(str(error).split()))}</div>'


class Settings:
    """How answers are drawn, and the buttons that begin and end one."""

    def __init__(self, page: Page, name: str, candidates: int = 4):
        self._page = page
        with gr.Row():
            self.run = gr.Button("Answer", variant="primary", min_width=120, elem_id=f"{name}-run")
            self.cancel = gr.Button(
                "Cancel", interactive=False, min_width=120, elem_id=f"{name}-cancel"
            )
        self.status = status(name)
        self.limits = gr.Markdown(elem_id=f"{name}-limits")
        self.candidates = gr.Slider(
            1,
            limits.MOST_CANDIDATES,
            value=candidates,
            step=1,
            label="Candidates",
            info="Answers to draw, each another one.",
        )
        with gr.Accordion("How answers are drawn", open=False):
            with gr.Row():
                self.temperature = gr.Slider(
                    *(0, 2),
                    value=1,
                    step=0.05,
                    label="Temperature",
                    info="1: as the model thinks. Less: safer; 0 is the likeliest. More: wilder.",
                )
                self.top_p = gr.Slider(
                    *(0.05, 1),
                    value=1,
                    step=0.05,
                    label="Top-p",
                    info="Only the likeliest codes, which together have this probability.",
                )
            with gr.Row():
                self.top_k = gr.Slider(
                    *(0, page.answerer.tokenizer.num_codes),
                    value=0,
                    step=1,
                    label="Top-k",
                    info="Only so many of the likeliest codes; 0 for all.",
                )
                self.seed = gr.Number(
                    0,
                    precision=0,
                    minimum=0,
                    maximum=2**32 - 1,
                    label="Seed",
                    info="The same seed draws the same answers again.",
                )

    @property
    def inputs(self) -> list[Any]:
        """The components whose values `asked` takes."""
        return [self.candidates, self.seed, self.temperature, self.top_k, self.top_p]

    def runs(self, answer: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> Any:
        """Lets the buttons begin an answer and end it.

        Args:
            answer: handler of the inputs' values and those of `self.inputs`; yields values of the
                status line and of the outputs.
            inputs, outputs: its components.

        Returns:
            The event after which the answer is over.
        """
        buttons = [self.run, self.cancel]
        begun = self.run.click(self._begin, outputs=[self.status, *buttons], **QUICK)
        answered = begun.then(
            answer,
            inputs=[*inputs, *self.inputs],
            outputs=[self.status, *outputs],
            show_progress="minimal",
            show_progress_on=[self.status],
            api_visibility="private",
            **ONE_AT_A_TIME,
        )
        self.cancel.click(self._stop, outputs=[self.status, self.cancel], **QUICK)
        return answered.then(_free, outputs=buttons, **QUICK)

    def _begin(self, request: gr.Request) -> tuple[Any, ...]:
        self._page.sessions.begin_answer(session_of(request))
        busy, free = gr.update(interactive=False), gr.update(interactive=True)
        return said("Waiting for its turn."), busy, free

    def _stop(self, request: gr.Request) -> tuple[Any, ...]:
        self._page.sessions.stop(session_of(request))
        return said("Cancelling: it ends with the image being made."), gr.update(interactive=False)


def _free() -> tuple[Any, ...]:
    return gr.update(interactive=True), gr.update(interactive=False)


def asked(
    candidates: float, seed: float, temperature: float, top_k: float, top_p: float, **more: int
) -> Asked:
    """The settings of a tab."""
    return Asked(
        num_candidates=int(candidates),
        seed=int(seed or 0),
        temperature=float(temperature),
        top_k=int(top_k),
        top_p=float(top_p),
        **more,
    )


def setting_values(chosen: Asked) -> tuple[Any, ...]:
    """The values of `Settings.inputs` that stand for what is asked."""
    return (
        min(chosen.num_candidates, limits.MOST_CANDIDATES),
        chosen.seed,
        chosen.temperature,
        chosen.top_k,
        chosen.top_p,
    )
