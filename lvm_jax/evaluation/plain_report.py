"""What is left of an evaluation on disk: evaluation.json and report.html."""

import pathlib

from lvm_jax.evaluation.asking import evaluation_file, manifest
from lvm_jax.evaluation.asking.manifest import Asked
from lvm_jax.evaluation.asking.runner import Evaluation
from lvm_jax.evaluation.report import facts, page

REPORT_FILE = "report.html"
OF_TASKS = (
    "A task is posed by example pairs of pictures and a query, and one transformer writes the "
    "codes of the answer. Beside the model stands what one could draw without understanding it."
)
OF_SEQUENCES = (
    "How perplexed the model is by the codes of pictures that follow others: between how many it "
    "in effect hesitates at each step. The same targets stand behind every length of prompts."
)


def write(
    out: pathlib.Path, evaluated: Evaluation, asked: Asked, *, title: str, lead: str = OF_TASKS
) -> None:
    """Writes both files, each of which appears under its name only when whole.

    Args:
        out: directory, made when missing.
        evaluated: what was found.
        asked: of which model, and how.
        title: heads the report.
        lead: what was done, under its headline.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    made_of = manifest.build(asked, evaluated)
    evaluation_file.write(out / evaluation_file.FILE, evaluated.results, made_of)
    report = page.Report(
        title=title,
        results=evaluated.results,
        num_codes=asked.tokenizer.num_codes,
        lead=lead,
        tiles=facts.tiles(asked.model, (0,)),
        facts={
            "Manifest": facts.of_manifest(made_of),
            "Transformer": facts.of_model(asked.model),
            "Tokenizer": facts.of_tokenizer(asked.tokenizer),
        },
    )
    page.write(out / REPORT_FILE, report)
