"""The page for programs: a prompt file in, answers as they are made out."""

from collections.abc import Iterator

import gradio as gr

from lvm_jax.demo import showing
from lvm_jax.demo.layout.parts import ONE_AT_A_TIME, Page
from lvm_jax.generation.jobs import prompt_files


def add_api(page: Page) -> None:
    """Adds `/answer`, which waits in the same queue as the buttons do."""

    def answer(prompt: dict) -> Iterator[dict]:
        """Answers a prompt.

        Takes the content of a prompt file (JSON: "images", a list of data: addresses, "layout",
        "answer"). Gives, again and again while it is being made, {"done", "seconds",
        "truth_perplexity", "candidates": [{"number", "perplexity", "psnr", "images"}]}, the
        likeliest candidate first.
        """
        try:
            asked = page.reader.file(prompt_files.parse(prompt, "prompt"))
            for answers in page.answerer.answer(asked.question()):
                yield showing.as_json(answers)
        except (ValueError, RuntimeError) as error:
            raise gr.Error(" ".join(str(error).split()), print_exception=False) from error

    gr.api(answer, api_name="answer", **ONE_AT_A_TIME)
