"""What is left of an evaluation on disk: evaluation.json and report.html."""

import pathlib
from collections.abc import Mapping
from typing import Any

from lvm_jax.evaluation.asking import evaluation_file, manifest
from lvm_jax.evaluation.asking.runner import Evaluation
from lvm_jax.evaluation.report import facts, page
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.images import ImageConfig
from lvm_jax.tokenizer.codec import Tokenizer

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
    out: pathlib.Path,
    evaluated: Evaluation,
    *,
    model: LanguageModel,
    tokenizer: Tokenizer,
    names: Mapping[str, str],
    image_config: ImageConfig,
    task: Mapping[str, Any],
    settings: Any,
    title: str,
    lead: str = OF_TASKS,
) -> None:
    """Writes both files, each of which appears under its name only when whole.

    Args:
        out: directory, made when missing.
        evaluated: what was found.
        model, tokenizer, names, image_config, task, settings: as for `manifest.build`.
        title: heads the report.
        lead: what was done, under its headline.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    made_of = manifest.build(
        model=model,
        tokenizer=tokenizer,
        names=names,
        image_config=image_config,
        task=task,
        settings=settings,
        inputs=evaluated.inputs,
        prompts=evaluated.prompts,
    )
    evaluation_file.write(out / evaluation_file.FILE, evaluated.results, made_of)
    report = page.Report(
        title=title,
        results=evaluated.results,
        num_codes=tokenizer.num_codes,
        lead=lead,
        tiles=facts.tiles(model, (0,)),
        facts={
            "Manifest": facts.of_manifest(made_of),
            "Transformer": facts.of_model(model),
            "Tokenizer": facts.of_tokenizer(tokenizer),
        },
    )
    page.write(out / REPORT_FILE, report)
