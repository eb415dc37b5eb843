"""Trains a tokenizer (VQGAN); started again with the same workdir it resumes.

  python tools/train_tokenizer.py --config=experiments/quickstart_tokenizer.py --workdir=runs/vqgan

--workdir then holds config.json, metrics.jsonl, checkpoints, and tokenizer/, the directory that
the other tools take as --tokenizer; it is written anew with every checkpoint. Ctrl-C or SIGTERM
saves and stops, on all processes of a run; the same command goes on from there.
"""

import dataclasses

import cli
import training
from experiment_files import ExperimentFile
from options import Place


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which training.

    Attributes:
        config: the experiment.
        workdir: where config.json, metrics.jsonl, checkpoints and tokenizer go.
        profile_steps: FIRST:LAST, such as 10:13, traces the steps after FIRST until LAST into
            WORKDIR/profile.
    """

    config: ExperimentFile
    workdir: Place
    profile_steps: str = ""


def main(options: Options) -> None:
    values = options.config.load()
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax.storage import paths
    from lvm_jax.training.vqgan import tokenizer_job

    experiment = options.config.build(tokenizer_job.build_experiment, values)
    experiment = training.with_profile(experiment, options.profile_steps)
    workdir = paths.path(options.workdir)
    with training.one_run(experiment.distributed, workdir):
        tokenizer_job.train(experiment, workdir)


def keys() -> dict[str, type]:
    from lvm_jax.training.vqgan.tokenizer_job import TokenizerExperiment

    return {"config": TokenizerExperiment}


if __name__ == "__main__":
    cli.run(main, keys=keys)
