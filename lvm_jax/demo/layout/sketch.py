"""The third tab: a query that is drawn."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from lvm_jax.demo import showing, sketches, uploads
from lvm_jax.demo.layout import parts
from lvm_jax.demo.layout.analogy import Analogy
from lvm_jax.demo.layout.parts import Page, problem, said, session_of
from lvm_jax.demo.uploads import UploadError

_SIDE = 512  # of the canvas in pixels
_BRUSH = 24
_ABOUT = (
    "Give a picture and paint on it, or take the brush on the left and paint alone, and use it as "
    "the query of the examples in the first tab."
)
_COLORS = ["#ffffff", "#000000", "#dc2626", "#16a34a", "#2563eb", "#facc15"]


def sketch(page: Page, tabs: Any, analogy: Analogy) -> None:
    """The components of the tab, and what they do."""
    gr.Markdown(_ABOUT)
    with gr.Row():
        with gr.Column(scale=2):
            canvas = _canvas()
        with gr.Column(scale=1):
            forms = [
                (f"{name.capitalize()}: {form.about}", name)
                for name, form in sketches.FORMS.items()
            ]
            form = gr.Radio(forms, value="hole", label="What the strokes are", elem_id="form")
            with gr.Row():
                look = gr.Button("Preview", min_width=120, elem_id="preview")
                use = gr.Button(
                    "Use as query", variant="primary", min_width=120, elem_id="use-sketch"
                )
            line = parts.status("sketch")
            drawn = gr.Image(
                label="The query",
                interactive=False,
                height=200,
                buttons=["fullscreen"],
                elem_id="drawn",
            )

    def files(value: Any, request: gr.Request) -> tuple[str | None, list[str]]:
        """The picture under a sketch and its layers; each becomes one of the session."""
        session = session_of(request)
        kept = [_file(page, session, part) for part in _parts(canvas, value)]
        return kept[0], [path for path in kept[1:] if path is not None]

    def draw(value: Any, form: str, request: gr.Request) -> tuple[str, str]:
        """The query, and the same to look at."""
        background, layers = files(value, request)
        under = None if background is None else uploads.read_layer(background)
        made = sketches.query(under, [uploads.read_layer(layer) for layer in layers], form)
        square = page.reader.squared(made)
        enlarged = showing.enlarged(square)
        return page.keep(request, square, "sketch"), page.keep(request, enlarged, "drawn")

    def preview(value: Any, form: str, request: gr.Request) -> tuple[Any, ...]:
        try:
            return draw(value, form, request)[1], said("")
        except UploadError as error:
            return None, problem(error)

    def take(value: Any, form: str, request: gr.Request) -> tuple[Any, ...]:
        """Values of `filled`: the drawing becomes the query of an analogy."""
        try:
            path, shown = draw(value, form, request)
        except UploadError as error:
            return gr.skip(), gr.skip(), gr.skip(), None, problem(error)
        # The truth was another query's.
        return path, None, gr.Tabs(selected="analogy"), shown, said("")

    look.click(preview, [canvas, form], [drawn, line], **parts.QUICK)
    filled = [analogy.query, analogy.truth, tabs, drawn, line]
    use.click(take, [canvas, form], filled, **parts.QUICK)


def _canvas() -> gr.ImageEditor:
    """Where people draw; what it holds stays in files, until somebody wants it."""
    canvas = gr.ImageEditor(
        label="Canvas",
        height=f"min({_SIDE + 60}px, 100vw)",
        type="filepath",
        brush=gr.Brush(default_size=_BRUSH, colors=_COLORS, default_color=_COLORS[2]),
        layers=False,
        transforms=[],
        canvas_size=(_SIDE, _SIDE),
        fixed_canvas=True,
        buttons=["fullscreen"],
        elem_id="canvas",
    )
    canvas.preprocess = lambda payload: payload
    return canvas


def _parts(canvas: Any, value: Any) -> Iterator[Any]:
    """Picture and layers of a sketch, as uploads or as bytes that the canvas has sent before."""
    if value is None:
        yield None
        return
    sent = canvas.blob_storage.pop(value.id, value) if value.id is not None else value
    yield sent.background
    yield from sent.layers or []


def _file(page: Page, session: str, part: Any) -> str | None:
    if part is None:
        return None
    if isinstance(part, bytes):
        return page.sessions.keep_bytes(session, part, "layer.png")
    page.sessions.uses(session, part.path)
    return part.path
