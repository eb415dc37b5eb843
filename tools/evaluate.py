r"""Measures a model: perplexity of target images, or whole tasks with baselines and a report.

  python tools/evaluate.py --task=perplexity --model=DIR --tokenizer=DIR --input_file=FILE
  python tools/evaluate.py --task=perplexity --model=DIR --tokenizer=DIR --frames=DIR \
      --context_images=1,3,7,11,15 --bos=with,without --out=DIR
  python tools/evaluate.py --task=perplexity --model=DIR --tokenizer=DIR --pairs=DIR \
      --shots=0,1,2,3,4,5,6,7 --out=DIR
  python tools/evaluate.py --task=segmentation --options=num_labels=21 --model=DIR \
      --tokenizer=DIR --pairs=DIR --shots=5 --out=DIR
  python tools/evaluate.py --task=analogies --model=DIR --tokenizer=DIR \
      --config=experiments/quickstart_evaluation.py --out=DIR
  python tools/evaluate.py --pretrained=uvd_mini --task=edges --pairs=DIR --out=DIR

Where pictures come from, one of these:
  --pairs       DIR/inputs/NAME.png with DIR/targets/NAME.png, or NAME_input.png with
                NAME_target.png: LVM's prompts, --shots other pairs (5 by default), then the query
  --input_file  lines {"input": ["a.png", ...], "target": ["b.png", ...]}: prompts of your own, the
                images in order (of a task pairs and then the query), and what should follow
  --frames      a folder of pictures in order for each clip
  --config      sources of sentences; how much is asked is --config.evaluation's
  --options=folder=DIR  for pascal_segmentation, pascal_detection and imagenet_colorization

OUT gets evaluation.json, report.html and parts/, from which an interrupted evaluation goes on; of a
config answers.png too. Pictures are read as those were that the model learned from, unless --fit,
--background or --max_pixels (of a config config.images) say otherwise. compare_evaluations.py puts
several OUT side by side; compare_folders.py measures FID and KID of folders of answers.
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

import cli
import evaluation_sources as sources
import next_steps
from evaluation_options import OWN_PICTURES, TASKS, Analogies, Perplexity, Tasks
from lvm_jax import configs

if TYPE_CHECKING:
    from lvm_jax.evaluation.analogy_experiment import AnalogyExperiment
    from lvm_jax.evaluation.asking.results import TaskResult


def analogies(options: Analogies) -> None:
    """Every task of the experiment, every seed; writes the report, prints its table."""
    _experiment(options)


def tasks(options: Tasks) -> None:
    """One kind of task, on pairs, frames, prompts of the user or the sources of an experiment."""
    if options.config is not None:
        if options.task in OWN_PICTURES or options.source():
            raise ValueError("--config names the pictures itself; drop it or what else names some")
        options.require_defaults_beside_config()
        asked = Analogies(
            **{
                field.name: getattr(options, field.name)
                for field in dataclasses.fields(Analogies)
                if field.name not in ("task", "config")
            },
            task="analogies",
            config=options.config,
        )
        _experiment(asked, options)
        return
    if options.task not in OWN_PICTURES:
        sources.require_one(options)
    sources.read_lines(options.input_file)
    pair = options.pair()
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax import progress_bar
    from lvm_jax.evaluation import plain_report
    from lvm_jax.evaluation.asking import runner
    from lvm_jax.evaluation.asking.asking_config import AskingConfig
    from lvm_jax.evaluation.asking.parts import FOLDER, Parts

    config = configs.build(AskingConfig, options.asking(), "")
    opened = sources.Opened.of(options, pair)
    task, number = sources.task(options, opened)
    config = sources.limited(config, number)
    out = pathlib.Path(options.out)
    with progress_bar.Bar(total=runner.num_parts(1, config), unit="part") as bar:
        evaluated = runner.evaluate(
            opened.model,
            opened.tokenizer,
            [task],
            config,
            parts=Parts(out / FOLDER),
            progress=_teller(bar),
        )
        bar.update(1)
    plain_report.write(
        out,
        evaluated,
        opened.asked(options, config),
        title=f"{options.task} of {options.pretrained or pair.model}",
    )
    _conclude(evaluated.results, out / plain_report.REPORT_FILE)


def perplexity(options: Perplexity) -> None:
    """Perplexity of the targets of every line, pair or folder of frames."""
    sources.require_one(options)
    lines, pair = sources.read_lines(options.input_file), options.pair()
    from lvm_jax import progress_bar
    from lvm_jax.evaluation import plain_report
    from lvm_jax.evaluation.asking import scoring
    from lvm_jax.evaluation.asking.parts import FOLDER, Parts
    from lvm_jax.evaluation.asking.scoring_config import ScoringConfig
    from lvm_jax.evaluation.report import wording

    config = configs.build(ScoringConfig, options.scoring(), "")
    opened = sources.Opened.of(options, pair)
    sequences = sources.sequences(options, config, lines, opened.loader)
    out = None if options.out is None else pathlib.Path(options.out)
    with progress_bar.Bar(total=scoring.num_rows(sequences, config), unit="row") as bar:
        evaluated = scoring.evaluate(
            opened.model,
            opened.tokenizer,
            sequences,
            config,
            parts=Parts(None if out is None else out / FOLDER),
            progress=bar.update,
        )
    print(wording.precise_table(evaluated.results))
    if out is not None:
        plain_report.write(
            out,
            evaluated,
            opened.asked(options, config),
            title=f"Perplexity of {options.pretrained or pair.model}",
            lead=plain_report.OF_SEQUENCES,
        )
        print(f"report: {out / plain_report.REPORT_FILE}")


def _experiment(options: Analogies, measured: Tasks | None = None) -> None:
    """The tasks of a config; `measured` says by what, in the place of the config."""
    values = options.config.load()
    changes = {"images": changed} if (changed := options.changes()) else {}
    import lvm_jax
    from lvm_jax import progress_bar
    from lvm_jax.evaluation import analogy_experiment, analogy_job
    from lvm_jax.evaluation.tasks import registry
    from lvm_jax.storage import paths

    def build(values: dict[str, Any]) -> "AnalogyExperiment":
        experiment = analogy_experiment.build_experiment(values)
        if measured is None:
            return experiment
        kind = registry.KINDS[measured.task]
        chosen = sources.typed(measured.measure(), kind.options)
        configs.build(kind.options, chosen, "options")  # refused by the name that the user gave
        measure = {"task": kind.name, **chosen}
        return dataclasses.replace(
            experiment, measures={task.name: measure for task in experiment.tasks}
        )

    experiment = options.config.build(build, configs.merged(values, changes))
    pair, out = options.pair(), pathlib.Path(options.out)
    tokenizer = lvm_jax.load_tokenizer(pair.tokenizer)
    model = lvm_jax.load_model(pair.model, tokenizer=tokenizer)
    model_dir, tokenizer_dir = paths.path(pair.model), paths.path(pair.tokenizer)
    with (
        progress_bar.Bar(total=analogy_job.num_parts(experiment), unit="part") as bar,
        configs.within("config"),
    ):
        results = analogy_job.run(
            experiment,
            model,
            tokenizer,
            out,
            model_dir=model_dir,
            tokenizer_dir=tokenizer_dir,
            commands=[
                next_steps.ask(
                    model_dir,
                    tokenizer_dir,
                    out,
                    experiment.tasks[0].images_per_sentence,
                    experiment.evaluation.temperature,
                )
            ],
            progress=_teller(bar),
        )
        bar.update(1)
    _conclude(results, out / analogy_job.REPORT_FILE)


def _teller(bar: Any) -> Any:
    def progress(what: str) -> None:
        # Told what begins, which ends what began before.
        bar.update(1 if bar.desc else 0)
        bar.set_description(what)

    return progress


def _conclude(results: "tuple[TaskResult, ...]", report: pathlib.Path) -> None:
    from lvm_jax.evaluation.report import wording

    print(wording.text_table(results))
    print(f"\n{wording.headline(results)}\nreport: {report}")


def keys() -> dict[str, type]:
    from lvm_jax.evaluation.analogy_experiment import AnalogyExperiment

    return {"config": AnalogyExperiment}


if __name__ == "__main__":
    cli.run(
        {
            "--task=perplexity": perplexity,
            "--task=analogies": analogies,
            **{f"--task={name}": tasks for name in TASKS},
        },
        keys=keys,
    )
