r"""Measures a model: perplexity of target images, or whole tasks with a report.

  python tools/evaluate.py --task=perplexity --model=DIR --tokenizer=DIR --input_file=FILE
  python tools/evaluate.py --task=analogies --model=DIR --tokenizer=DIR \
      --config=experiments/quickstart_evaluation.py --out=DIR

A line of the input file is {"input": ["a.png", ...], "target": ["b.png", ...]}: the images of a
prompt, and the images that should follow. Analogies write report.html, analogies.json and
answers.png into OUT. Pictures are read as those were that the model learned from: its workdir says
how. --fit, --background and --max_pixels read them otherwise; for analogies config.images does the
same.
"""

import pathlib

import cli
import json_lines
import picture_flags
from absl import flags

cli.define_config(required=False)
TASK = flags.DEFINE_enum("task", None, ["perplexity", "analogies"], "What to do.", required=True)
MODEL = flags.DEFINE_string("model", None, "Workdir of a training.", required=True)
TOKENIZER = flags.DEFINE_string("tokenizer", None, "The model's tokenizer.", required=True)
OUT = flags.DEFINE_string(
    "out", None, "Directory to write to; perplexity without it is only printed."
)
INPUT_FILE = flags.DEFINE_string("input_file", None, "perplexity: prompts and targets.")
OVER = flags.DEFINE_enum(
    "over",
    "codes",
    ["codes", "all"],
    "perplexity: the ids that share the probability; all: special ids too, as LVM's own.",
)
IMAGES_PER_EXAMPLE = flags.DEFINE_integer(
    "images_per_example",
    1,
    "perplexity: a prompt too long loses its oldest images this many at a time; 2 for pairs.",
    lower_bound=1,
)
picture_flags.define_reading()
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 4, "perplexity: examples per device batch.", lower_bound=1
)


def main() -> None:
    if flags.FLAGS.task == "perplexity":  # TASK.value refuses None, as --print_config leaves it
        perplexity()
    else:
        analogies()


def analogies() -> None:
    """Every task of the experiment, every seed; writes the report, prints its table."""
    cli.require("config", "out", mode="--task=analogies")
    names = "task config model tokenizer out"
    cli.refuse_unread("--task=analogies", (*names.split(), *picture_flags.READING))
    values = cli.load_config()
    changes = {"images": changed} if (changed := picture_flags.changes()) else {}
    # Imported after the flags are known to be good: a typo should not wait for jax.
    import lvm_jax
    from lvm_jax import configs, progress_bar
    from lvm_jax.evaluation import analogy_experiment, analogy_job
    from lvm_jax.evaluation.report import wording

    experiment = cli.build_config(
        analogy_experiment.build_experiment, configs.merged(values, changes)
    )
    tokenizer = lvm_jax.load_tokenizer(TOKENIZER.value)
    model = lvm_jax.load_model(MODEL.value)
    out = pathlib.Path(OUT.value)
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
            model_dir=pathlib.Path(MODEL.value),
            tokenizer_dir=pathlib.Path(TOKENIZER.value),
            progress=progress,
        )
        bar.update(1)
    print(wording.text_table(results))
    print(f"\n{wording.headline(results)}\nreport: {out / analogy_job.REPORT_FILE}")


def perplexity() -> None:
    """Perplexity of the targets of every line."""
    cli.require("input_file", mode="--task=perplexity")
    names = "task model tokenizer out input_file over images_per_example batch_size"
    cli.refuse_unread("--task=perplexity", (*names.split(), *picture_flags.READING))
    lines = [
        (json_lines.paths(values, "input", where), json_lines.paths(values, "target", where))
        for where, values in json_lines.read(INPUT_FILE.value)
    ]
    import lvm_jax
    from lvm_jax import image_record, progress_bar
    from lvm_jax.evaluation.metrics import perplexity as perplexity_lib
    from lvm_jax.generation import prompts
    from lvm_jax.pictures.loader import SquareLoader

    tokenizer = lvm_jax.load_tokenizer(TOKENIZER.value)
    model = lvm_jax.load_model(MODEL.value)
    model.check_tokenizer(tokenizer)
    config = image_record.config_for(model.images, MODEL.value, picture_flags.changes())
    loader = SquareLoader(config, tokenizer.image_size)
    prompt_ids, target_ids = [], []
    for inputs, targets in progress_bar.Bar(lines, unit="line", desc="tokenizing"):
        ids = tokenizer.encode([loader.load_file(path) for path in (*inputs, *targets)])
        prompt_ids.append(
            prompts.sequential(
                ids[: len(inputs)],
                vocabulary=model.vocabulary,
                context=model.config.context,
                num_new_images=len(targets),
                images_per_example=IMAGES_PER_EXAMPLE.value,
            )
        )
        target_ids.append(ids[len(inputs) :].ravel())
    with progress_bar.Bar(total=len(lines), unit="line", desc="scoring") as bar:
        nll = perplexity_lib.target_nll_of_each(
            model,
            prompt_ids,
            target_ids,
            over=OVER.value,
            batch_size=BATCH_SIZE.value,
            progress=bar.update,
        )
    found = perplexity_lib.summarize(nll)
    print(f"examples                        {found.num_examples}")
    print(f"mean of perplexities (LVM's)    {found.mean_of_perplexities:.4f}")
    print(f"exp(mean NLL)                   {found.of_mean:.4f}")
    if OUT.value is not None:
        _write_perplexity(pathlib.Path(OUT.value) / "perplexity.json", found, nll)


def _write_perplexity(path: pathlib.Path, found, nll) -> None:
    from lvm_jax import atomic, configs

    content = configs.to_dict(found) | {"nll_per_line": [float(line.mean()) for line in nll]}
    atomic.write_json(path, content, parents=True)
    print(f"wrote {path}")


if __name__ == "__main__":
    cli.run(main)
