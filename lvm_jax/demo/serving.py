"""A model and its tokenizer -> a page that serves them."""

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence

from lvm_jax.demo import addresses
from lvm_jax.demo.addresses import Address
from lvm_jax.demo.answering import Answerer
from lvm_jax.demo.asking import Reader
from lvm_jax.demo.sessions import Sessions
from lvm_jax.generation.jobs.prompt_files import PromptFile


@contextlib.contextmanager
def served(answerer: Answerer, gallery: Sequence[PromptFile], address: Address) -> Iterator[str]:
    """Serves the page while the block runs, whose value is its address.

    What users give lies in a folder that nobody else may read, and which goes with the page.

    Raises:
        RuntimeError: gradio is not installed, or the port is taken.
    """
    addresses.require_gradio()
    with tempfile.TemporaryDirectory(prefix="lvm_jax_page_") as root, _uploads_in(root):
        from lvm_jax.demo.layout import page

        shared = page.Page(
            answerer=answerer,
            reader=Reader(answerer.reading, answerer.limits),
            sessions=Sessions(root),
            gallery=gallery,
        )
        blocks = page.build(shared)
        try:
            place = page.launch(blocks, address.host, address.port, list(address.users))
        except OSError as error:
            raise RuntimeError(
                f"cannot listen on {address.host}, port {address.port}: give another --port, or "
                "end what listens there"
            ) from error
        try:
            yield place
        finally:
            blocks.close(verbose=False)


@contextlib.contextmanager
def _uploads_in(root: str) -> Iterator[None]:
    """A block in which gradio keeps files in a folder; it reads the place from the environment."""
    # Neither does it ask its own servers anything.
    wanted = {"GRADIO_TEMP_DIR": root, "GRADIO_ANALYTICS_ENABLED": "False"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def wait_for_the_end() -> None:
    """Returns when the program is interrupted or asked to end."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    over.wait()
