"""The fourth tab: ready prompts, and prompts that others have saved."""

from typing import Any

import gradio as gr

from lvm_jax.demo import showing, uploads
from lvm_jax.demo.layout import parts
from lvm_jax.demo.layout.analogy import Analogy
from lvm_jax.demo.layout.parts import Page, problem, session_of
from lvm_jax.demo.layout.sequence import FrameSequence
from lvm_jax.demo.uploads import UploadError
from lvm_jax.generation.jobs.prompt_files import PromptFile

_ABOUT = "Click an example, then *Answer* in its tab. The model has never seen these pictures."
_EMPTY = "No examples: `--gallery=DIR` takes a folder of prompt files or of shards."


def gallery(page: Page, tabs: Any, analogy: Analogy, sequence: FrameSequence) -> None:
    """The components of the tab, and what they do."""
    filled = [*analogy.filled, *sequence.filled, tabs]
    with gr.Row():
        with gr.Column(min_width=240):
            gr.Markdown(_ABOUT if page.gallery else _EMPTY)
        upload = gr.UploadButton(
            "Open a prompt file",
            file_types=[".json"],
            size="sm",
            scale=0,
            min_width=200,
            elem_id="open-prompt",
        )
    upload.preprocess = lambda payload: None if payload is None else payload.path
    line = parts.status("gallery")

    def show(request: gr.Request, prompt: PromptFile) -> tuple[Any, ...]:
        """Values of the line and of `filled`."""
        try:
            read = page.reader.file(prompt)
        except UploadError as error:
            return problem(error), *[gr.skip() for _ in filled]
        page.credits.note(read, prompt.attribution)
        about = ". ".join(filter(None, (prompt.title, prompt.attribution)))
        skipped = lambda components: [gr.skip() for _ in components]
        if prompt.layout == "analogy":
            values = [*analogy.values_of(request, read, about), *skipped(sequence.filled)]
        else:
            values = [*skipped(analogy.filled), *sequence.values_of(request, read, about)]
        name = "analogy" if prompt.layout == "analogy" else "sequence"
        return "", *values, gr.Tabs(selected=name)

    def opened(path: str | None, request: gr.Request) -> tuple[Any, ...]:
        """The same values of an uploaded prompt file; a bad one is said in the line."""
        if path is None:
            return "", *[gr.skip() for _ in filled]
        page.sessions.uses(session_of(request), path)
        try:
            return show(request, uploads.read_prompt(path))
        except UploadError as error:
            return problem(error), *[gr.skip() for _ in filled]

    def shower(prompt: PromptFile) -> Any:
        def take(request: gr.Request) -> tuple[Any, ...]:
            return show(request, prompt)

        return take

    def takes(button: gr.Button, prompt: PromptFile) -> None:
        shown = button.click(shower(prompt), None, [line, *filled], **parts.QUICK)
        analogy.describe(shown.then)

    analogy.describe(upload.upload(opened, upload, [line, *filled], **parts.QUICK).then)
    with gr.Row(elem_classes="examples"):
        for number, prompt in enumerate(page.gallery, 1):
            with gr.Column(min_width=100):
                gr.HTML(showing.thumbnail(prompt), padding=False)
                button = gr.Button(prompt.title, size="sm", elem_id=f"example-{number}")
                gr.HTML(showing.credit(prompt), padding=False)
                takes(button, prompt)
    pairs = [prompt for prompt in page.gallery if prompt.layout == "analogy"]
    if pairs:
        takes(analogy.example, pairs[0])
