r"""Measures a model: perplexity of target images, or whole tasks with a report.

  python tools/evaluate.py --task=perplexity --model=DIR --tokenizer=DIR --input_file=FILE
  python tools/evaluate.py --task=analogies --model=DIR --tokenizer=DIR \
      --config=experiments/quickstart_evaluation.py --out=DIR

A line of the input file is {"input": ["a.png", ...], "target": ["b.png", ...]}: the images of a
prompt, and the images that should follow. Analogies write report.html, evaluation.json and
answers.png into OUT. Pictures are read as those were that the model learned from: its workdir says
how. --fit, --background and --max_pixels read them otherwise; for analogies config.images does the
same.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import cli
import json_lines
import next_steps
from experiment_files import ExperimentFile
from lvm_jax import configs
from options import Place
from picture_options import ReadingOptions

if TYPE_CHECKING:
    import numpy as np

    from lvm_jax.generation.language_model import LanguageModel
    from lvm_jax.tokenizer.codec import Tokenizer

_Task = Literal["perplexity", "analogies"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analogies(ReadingOptions):
    """Whole tasks of a model.

    Attributes:
        task: what to do.
        config: the experiment.
        model: workdir of a training.
        tokenizer: the model's tokenizer.
        out: directory to write to; perplexity without it is only printed.
    """

    task: _Task
    config: ExperimentFile
    model: Place
    tokenizer: Place
    out: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity(ReadingOptions):
    """Targets of prompts.

    Attributes:
        task: what to do.
        model: workdir of a training.
        tokenizer: the model's tokenizer.
        out: directory to write to; without it the result is only printed.
        input_file: prompts and targets.
        over: the ids that share the probability; all: special ids too, as LVM's own.
        images_per_example: a prompt too long loses its oldest images this many at a time; 2 for
            pairs.
        batch_size: examples per device batch.
    """

    task: _Task
    model: Place
    tokenizer: Place
    out: str | None = None
    input_file: str
    over: Literal["codes", "all"] = "codes"
    images_per_example: int = 1
    batch_size: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "images_per_example", "batch_size")


def analogies(options: Analogies) -> None:
    """Every task of the experiment, every seed; writes the report, prints its table."""
    values = options.config.load()
    changes = {"images": changed} if (changed := options.changes()) else {}
    # Imported after the flags are known to be good: a typo should not wait for jax.
    import lvm_jax
    from lvm_jax import progress_bar
    from lvm_jax.evaluation import analogy_experiment, analogy_job
    from lvm_jax.evaluation.report import wording
    from lvm_jax.storage import paths

    experiment = options.config.build(
        analogy_experiment.build_experiment, configs.merged(values, changes)
    )
    tokenizer = lvm_jax.load_tokenizer(options.tokenizer)
    model = lvm_jax.load_model(options.model)
    out = pathlib.Path(options.out)
    with (
        progress_bar.Bar(total=analogy_job.num_parts(experiment), unit="part") as bar,
        configs.within("config"),
    ):

        def progress(what: str) -> None:
            # Told what begins, which ends what began before.
            bar.update(1 if bar.desc else 0)
            bar.set_description(what)

        results = analogy_job.run(
            experiment,
            model,
            tokenizer,
            out,
            model_dir=paths.path(options.model),
            tokenizer_dir=paths.path(options.tokenizer),
            commands=[
                next_steps.ask(
                    paths.path(options.model),
                    paths.path(options.tokenizer),
                    out,
                    experiment.tasks[0].images_per_sentence,
                    experiment.evaluation.temperature,
                )
            ],
            progress=progress,
        )
        bar.update(1)
    print(wording.text_table(results))
    print(f"\n{wording.headline(results)}\nreport: {out / analogy_job.REPORT_FILE}")


def perplexity(options: Perplexity) -> None:
    """Perplexity of the targets of every line."""
    lines = [
        (json_lines.paths(values, "input", where), json_lines.paths(values, "target", where))
        for where, values in json_lines.read(options.input_file)
    ]
    import lvm_jax
    from lvm_jax import atomic, progress_bar
    from lvm_jax.evaluation.metrics import perplexity as perplexity_lib

    tokenizer = lvm_jax.load_tokenizer(options.tokenizer)
    model = lvm_jax.load_model(options.model)
    model.check_tokenizer(tokenizer)
    prompt_ids, target_ids = _tokenized(options, lines, model, tokenizer)
    with progress_bar.Bar(total=len(lines), unit="line", desc="scoring") as bar:
        nll = perplexity_lib.target_nll_of_each(
            model,
            prompt_ids,
            target_ids,
            over=options.over,
            batch_size=options.batch_size,
            progress=bar.update,
        )
    summary = perplexity_lib.summarize(nll)
    print(f"examples                        {summary.num_examples}")
    print(f"mean of perplexities (LVM's)    {summary.mean_of_perplexities:.4f}")
    print(f"exp(mean NLL)                   {summary.of_mean:.4f}")
    if options.out is not None:
        path = pathlib.Path(options.out) / "perplexity.json"
        per_line = {"nll_per_line": [float(line.mean()) for line in nll]}
        atomic.write_json(path, configs.to_dict(summary) | per_line, parents=True)
        print(f"wrote {path}")


def _tokenized(
    options: Perplexity,
    lines: Sequence[tuple[Sequence[str], Sequence[str]]],
    model: "LanguageModel",
    tokenizer: "Tokenizer",
) -> tuple[list["np.ndarray"], list["np.ndarray"]]:
    """Ids of the prompt, and ids of the targets, of every line."""
    from lvm_jax import image_record, progress_bar
    from lvm_jax.generation import prompts
    from lvm_jax.pictures.loader import SquareLoader

    config = image_record.config_for(model.images, options.model, options.changes())
    loader = SquareLoader(config, tokenizer.image_size)
    prompt_ids, target_ids = [], []
    for inputs, targets in progress_bar.Bar(lines, unit="line", desc="tokenizing"):
        ids = tokenizer.encode([loader.load_file(path) for path in (*inputs, *targets)])
        prompt_ids.append(
            prompts.sequential(
                ids[: len(inputs)],
                vocabulary=model.vocabulary,
                framing=model.framing,
                context=model.config.context,
                num_new_images=len(targets),
                images_per_example=options.images_per_example,
            )
        )
        target_ids.append(ids[len(inputs) :].ravel())
    return prompt_ids, target_ids


def keys() -> dict[str, type]:
    from lvm_jax.evaluation.analogy_experiment import AnalogyExperiment

    return {"config": AnalogyExperiment}


if __name__ == "__main__":
    cli.run({"--task=perplexity": perplexity, "--task=analogies": analogies}, keys=keys)
