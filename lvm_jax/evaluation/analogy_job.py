"""A whole evaluation: trained model, tokenizer and held-out pictures -> scores and a report."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lvm_jax import configs, image_record, images
from lvm_jax.evaluation import training_codes
from lvm_jax.evaluation.analogy_experiment import AnalogyExperiment
from lvm_jax.evaluation.asking import evaluation_file, manifest, runner
from lvm_jax.evaluation.asking.manifest import Asked
from lvm_jax.evaluation.asking.parts import FOLDER, Parts
from lvm_jax.evaluation.asking.results import TaskResult
from lvm_jax.evaluation.metrics import perplexity
from lvm_jax.evaluation.report import (
    answers_sheet,
    facts,
    losses,
    page,
    training_charts,
)
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.tokenizer import measuring
from lvm_jax.tokenizer.codec import Tokenizer
from lvm_jax.tokenizer.measuring import Measurement
from lvm_jax.training import metrics as metrics_lib
from lvm_jax.training import workdir as workdir_lib

REPORT_FILE = "report.html"
PICTURE_FILE = "answers.png"
_PICTURE_CACHE_BYTES = 256 * 2**20


def run(
    experiment: AnalogyExperiment,
    model: LanguageModel,
    tokenizer: Tokenizer,
    out: pathlib.Path,
    *,
    model_dir: pathlib.Path,
    tokenizer_dir: pathlib.Path,
    commands: Sequence[tuple[str, str]] = (),
    progress: Callable[[str], Any] | None = None,
) -> tuple[TaskResult, ...]:
    """Evaluates, and writes evaluation.json, answers.png and report.html into `out`.

    Args:
        experiment: what to measure.
        model, tokenizer: loaded.
        out: directory, made when missing.
        model_dir: the model's workdir, for its configuration and training curves.
        tokenizer_dir: the tokenizer's; curves come from metrics.jsonl in it or beside it.
        commands: (what it is good for, command) that the report ends with, before those of the
            experiment.
        progress: called with what begins, `num_parts` times.

    Raises:
        ValueError: the tokenizer is not the model's, or pictures or shards are missing.
    """
    started, how = time.monotonic(), experiment.evaluation
    model.check_tokenizer(tokenizer)
    resolved = workdir_lib.read_config(model_dir)
    counts = training_codes.count(resolved, model.vocabulary.num_codes, experiment.shards)
    image_config = image_record.config_for(model.images, str(model_dir), experiment.images)
    loader = SquareLoader(image_config, tokenizer.image_size, _PICTURE_CACHE_BYTES)
    evaluated = runner.evaluate(
        model,
        tokenizer,
        [experiment.task_of(source, loader) for source in experiment.tasks],
        how,
        unigram=perplexity.unigram(counts),
        parts=Parts(out / FOLDER),
        progress=progress,
    )
    asked = Asked(
        model=model,
        tokenizer=tokenizer,
        names={"model": str(model_dir), "tokenizer": str(tokenizer_dir)},
        image_config=image_config,
        task=_what(experiment),
        settings=how,
    )
    made_of = manifest.build(asked, evaluated)
    evaluation_file.write(out / evaluation_file.FILE, evaluated.results, made_of)
    if (picture := answers_sheet.draw(evaluated.results)) is not None:
        images.write_image(out / PICTURE_FILE, picture)
    if progress is not None:
        progress("report")
    report = page.Report(
        title=experiment.title,
        results=evaluated.results,
        num_codes=tokenizer.num_codes,
        reconstructions=_reconstructions(experiment, tokenizer, loader),
        commands=(*commands, *experiment.commands),
        facts={
            "Evaluation": facts.of_evaluation(how, image_config, experiment.tasks),
            "Manifest": facts.of_manifest(made_of),
        },
    )
    report = _with_trainings(report, asked, counts, model_dir, tokenizer_dir, started)
    page.write(out / REPORT_FILE, report)
    return evaluated.results


def _what(experiment: AnalogyExperiment) -> dict[str, Any]:
    """Which tasks, measured how, for the manifest."""
    return {
        "analogies": [task.name for task in experiment.tasks],
        "measures": configs.plain(experiment.measures),
    }


def _with_trainings(
    report: page.Report,
    asked: Asked,
    counts: np.ndarray,
    model_dir: pathlib.Path,
    tokenizer_dir: pathlib.Path,
    started: float,
) -> page.Report:
    """The report with what the trainings of the model and of its tokenizer left."""
    tokenizer_lines = _metrics_near(tokenizer_dir)
    model_lines = metrics_lib.read_metrics(model_dir)
    seconds = [metrics_lib.training_seconds(lines) for lines in (tokenizer_lines, model_lines)]
    timings = {"tokenizer training": seconds[0], "transformer training": seconds[1]}
    timings["evaluation"] = time.monotonic() - started
    return dataclasses.replace(
        report,
        tokenizer_charts=training_charts.of_tokenizer(tokenizer_lines),
        model_charts=training_charts.of_transformer(model_lines, counts),
        code_counts=counts,
        losses=losses.from_metrics(model_lines),
        tiles=facts.tiles(asked.model, seconds),
        facts={
            "Timings": facts.of_timings(timings, model_lines),
            "Transformer": facts.of_model(asked.model),
            "Transformer training": facts.of_training(
                workdir_lib.read_config(model_dir), model_lines
            ),
            "Tokenizer": facts.of_tokenizer(asked.tokenizer),
            **report.facts,
        },
    )


def num_parts(experiment: AnalogyExperiment) -> int:
    """How often `run` calls progress."""
    return runner.num_parts(len(experiment.tasks), experiment.evaluation) + 1


def _reconstructions(
    experiment: AnalogyExperiment, tokenizer: Tokenizer, loader: SquareLoader
) -> Measurement | None:
    sources = experiment.reconstructions
    if not sources or not experiment.num_reconstructions:
        return None
    pictures = []
    for number in range(experiment.num_reconstructions):
        turn, which = divmod(number, len(sources))
        epoch, index = divmod(turn, sources[which].num_sentences())
        sentence = sources[which].sentence(experiment.evaluation.seeds[0], epoch, index)
        pictures.append(loader.load_one(sentence.images[0]))
    originals = np.stack(pictures)
    return measuring.measure(
        measuring.with_tokenizer(tokenizer),
        [originals],
        tokenizer.num_codes,
        num_shown=len(originals),
    )


def _metrics_near(tokenizer_dir: pathlib.Path) -> list[dict[str, Any]]:
    # A training writes its tokenizer into workdir/tokenizer, and its metrics into workdir.
    for folder in (tokenizer_dir, tokenizer_dir.absolute().parent):
        lines = metrics_lib.read_metrics(folder)
        if lines:
            return lines
    return []
