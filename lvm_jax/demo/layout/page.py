"""The page, and the server that shows it."""

import gradio as gr

from lvm_jax.demo import limits
from lvm_jax.demo.layout import looks
from lvm_jax.demo.layout.analogy import Analogy
from lvm_jax.demo.layout.api import add_api
from lvm_jax.demo.layout.gallery import gallery
from lvm_jax.demo.layout.parts import QUICK, Page, session_of
from lvm_jax.demo.layout.sequence import FrameSequence
from lvm_jax.demo.layout.sketch import sketch

TITLE = "Visual prompting"
_MEBIBYTE = 2**20


def build(page: Page) -> gr.Blocks:
    """The page, not launched yet."""

    def arrive(request: gr.Request) -> None:
        page.sessions.begin(session_of(request))

    def leave(request: gr.Request) -> None:
        page.sessions.end(session_of(request))

    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        gr.Markdown(f"# {TITLE}\n{page.answerer.limits.of_model()}")
        with gr.Tabs() as tabs:
            with gr.Tab("Analogy", id="analogy"):
                analogy = Analogy(page)
            with gr.Tab("Sequence", id="sequence"):
                sequence = FrameSequence(page)
            with gr.Tab("Sketch", id="sketch"):
                sketch(page, tabs, analogy)
            with gr.Tab("Gallery", id="gallery"):
                gallery(page, tabs, analogy, sequence)
        add_api(page)
        for tab in (analogy, sequence):
            tab.describe(blocks.load)
        blocks.load(arrive, **QUICK)
        blocks.unload(leave)
    blocks.queue(max_size=limits.MOST_WAITING)
    return blocks


def launch(blocks: gr.Blocks, host: str, port: int, users: list[tuple[str, str]]) -> str:
    """Serves the page and returns its address.

    Raises:
        OSError: the port is taken.
    """
    _, address, _ = blocks.launch(
        server_name=host,
        server_port=port,
        auth=users or None,
        # Letters that the machine has: nothing is asked of other servers.
        theme=gr.themes.Default(
            font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ).set(
            block_info_text_color="*neutral_500",
            block_info_text_color_dark="*neutral_400",
        ),
        css=looks.CSS,
        head=f"<script>{looks.SCRIPT}</script>",
        max_file_size=limits.MOST_MEGABYTES * _MEBIBYTE,
        footer_links=[],
        share=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    return address
