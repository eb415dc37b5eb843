"""A trained run -> its file of results."""

import dataclasses
import pathlib
import time
from typing import Any

import lvm_jax
from experiment_files import ROOT, load_experiment
from experiments.study import model
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.model import flops
from lvm_jax.training import metrics, workdir
from lvm_jax.training.transformer import transformer_experiment
from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment
from studies import measure, plan, prompts, results
from studies.plan import Job, Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are.

    Attributes:
        out: folder of shards, tokenizer and runs.
        corpus: of UVD-mini.
        results: of files of results.
    """

    out: pathlib.Path
    corpus: pathlib.Path
    results: pathlib.Path

    @property
    def tokenizer(self) -> pathlib.Path:
        return self.out / "tokenizer"

    def workdir(self, run: Run) -> pathlib.Path:
        """Of a training."""
        return self.out / "runs" / run.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """What all trainings have of the corpus.

    Attributes:
        steps: updates of every training but a few: one epoch of all that there is.
        codes: of the tokenizer.
        tokens_per_image: ids.
    """

    steps: int
    codes: int = 512
    tokens_per_image: int = 64

    @classmethod
    def of(cls, out: pathlib.Path) -> "Corpus":
        """That of the shards below a folder.

        Raises:
            ValueError: there are none.
        """
        anything = Run(mixture="all", size="xs", c=1.0, seed=0)
        source = _data_of(anything, out)
        return cls(
            steps=_steps_of_epoch(source),
            codes=source.vocabulary.num_codes,
            tokens_per_image=source.tokens_per_image,
        )

    @classmethod
    def of_rows(cls, number: int) -> "Corpus":
        """One of so many rows, to plan with."""
        return cls(steps=-(-number // model.BATCH_SIZE))

    def steps_of(self, run: Run, out: pathlib.Path) -> int:
        """Updates of a training; where there are no shards, every mixture is taken for `all`."""
        if run.passes is None:
            return self.steps
        try:
            epoch = _steps_of_epoch(_data_of(run, out))
        except ValueError:
            epoch = self.steps
        return run.passes * epoch

    def experiment(
        self, run: Run, out: pathlib.Path, steps: int | None = None
    ) -> TransformerExperiment:
        """The experiment of a run, of so many steps where they are known."""
        steps = self.steps_of(run, out) if steps is None else steps
        values = load_experiment(str(ROOT / run.config(str(out), steps, self.codes)))
        return transformer_experiment.build_experiment(values)

    def flops(self, job: Job, out: pathlib.Path) -> float:
        """Of a training, or of an evaluation; one of prompts is taken for a tenth of a training."""
        experiment = self.experiment(job.run, out)
        if job.kind == "run":
            return int(experiment.loop.num_steps) * flops_of_step(experiment)
        if job.kind == "prompts":
            return 0.1 * self.steps * flops_of_step(experiment)
        pairs, frames = plan.lengths(job.kind)
        of_frames = len(plan.VIDEOS) * sum(n + 1 for n in frames)
        of_answers = len(plan.TASKS) * sum(2 * n + 2 for n in pairs)
        ids = plan.NUM_PROMPTS * self.tokens_per_image * (of_frames + of_answers)
        return ids * flops.train_flops_per_token(experiment.model, model.CONTEXT) / 3


def _data_of(run: Run, out: pathlib.Path) -> Pipeline:
    """What a run is trained on; raises ValueError where there are no shards."""
    data = Corpus(steps=0).experiment(run, out, steps=0).data
    return Pipeline(data, seed=0, global_batch=model.BATCH_SIZE)


def _steps_of_epoch(source: Pipeline) -> int:
    return -(-source.rows_per_epoch // model.BATCH_SIZE)


def finish(job: Job, places: Places) -> None:
    """Measures a run and writes the file of results of a job.

    Raises:
        ValueError: the run is not trained, or what it is to be asked about is not there.
    """
    begun = time.monotonic()
    directory = places.workdir(job.run)
    about: dict[str, Any] = {"kind": job.kind, "run": job.run.name}
    seconds: dict[str, float] = {}
    if job.kind == "run":
        lines = metrics.read_metrics(directory)
        trained = results.of_training(lines)
        seconds |= trained.pop("seconds")
        config = config_section(job.run, places, lines)
        found = {"config": config, **trained, "evaluations": _one_length(_asked(directory, places))}
    elif job.kind in ("context", "copies"):
        asked, shown = _asked(directory, places), job.kind == "copies"
        pairs, frames = plan.lengths(job.kind)
        evaluations = asked.frames(frames, shown=shown) | asked.answers(pairs, shown=shown)
        found = {"evaluations": _without_prompts(evaluations)}
    else:
        out = places.out / "prompts" / job.run.name
        found = prompts.evaluate(directory, places.tokenizer, places.corpus, out)
    seconds["evaluation"] = round(time.monotonic() - begun, 1)
    whole = {**about, **found, **results.surroundings(), "seconds": seconds}
    results.write(places.results, job.name, whole)


def _asked(directory: pathlib.Path, places: Places) -> measure.Asked:
    tokenizer = lvm_jax.load_tokenizer(places.tokenizer)
    return measure.Asked(
        tokenizer=tokenizer,
        model=lvm_jax.load_model(directory, tokenizer=tokenizer),
        root=places.corpus,
        parts=places.out / "evaluations",
        num_prompts=plan.NUM_PROMPTS,
    )


def config_section(run: Run, places: Places, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What a run was."""
    stored = workdir.read_config(places.workdir(run))
    steps, codes = stored["loop"]["num_steps"], stored["model"]["vocabulary"]["num_codes"]
    experiment = Corpus(steps=steps, codes=codes).experiment(run, places.out, steps)
    sizes, last = experiment.model, [line for line in lines if "train/loss" in line][-1]
    return {
        **dataclasses.asdict(run),
        "width": sizes.hidden_dim,
        "layers": sizes.num_layers,
        "peak_lr": experiment.optimizer.peak_lr,
        "parameters": sizes.num_parameters,
        "matrix_parameters": sizes.num_layers * sizes.matrix_parameters_per_layer,
        "steps": last["step"],
        "ids": last["train/tokens_seen"],
        "ids_with_loss": last["train/tokens_with_loss_seen"],
        "epochs": round(last[f"data/epochs/{run.mixture}"], 3),
        "flops": last["step"] * flops_of_step(experiment),
        "tokenizer": stored["tokenizer_fingerprint"][:16],
        "data": stored["data_fingerprint"][:16],
        "held_out_data": stored["eval_data_fingerprint"][:16],
    }


def flops_of_step(experiment: TransformerExperiment) -> float:
    """Of an update."""
    context = experiment.data.context
    ids = experiment.batch_size * context
    return ids * flops.train_flops_per_token(experiment.model, context)


def _one_length(asked: measure.Asked) -> dict[str, Any]:
    """The four tasks after the examples of the scaling and data studies."""
    found = {}
    for name, task in asked.answers((plan.SHOTS,)).items():
        numbers = task.pop("by_length")[str(plan.SHOTS)]
        found[name] = {**numbers, **task}
    return found


def _without_prompts(found: dict[str, Any]) -> dict[str, Any]:
    """Without what would be many numbers at so many lengths."""
    for task in found.values():
        task["things"] = len(set(task["things"]))
        for numbers in task["by_length"].values():
            del numbers["nll_of_prompts"]
    return found
