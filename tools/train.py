r"""Trains the transformer on shards; started again with the same workdir it resumes.

  python tools/train.py --config=experiments/debug.py --workdir=runs/debug \
      --config.data.shards=DIR
  python tools/train.py --config=experiments/lvm.py:size=3b --workdir=/data/runs/3b \
      --config.data.shards=/data/shards --config.mesh.fsdp=128

Ctrl-C or SIGTERM saves and stops; the same command goes on from there. Of several processes
(config.distributed), whichever gets the signal, all stop at the same step, and when one fails all
end, with its reason in the last line of each.
"""

import dataclasses

import cli
import training
from experiment_files import ExperimentFile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which training.

    Attributes:
        config: the experiment.
        workdir: where config.json, metrics.jsonl and checkpoints go.
        profile_steps: FIRST:LAST, such as 10:13, traces the steps after FIRST until LAST into
            WORKDIR/profile.
    """

    config: ExperimentFile
    workdir: str
    profile_steps: str = ""


def main(options: Options) -> None:
    values = options.config.load()
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax.storage import paths
    from lvm_jax.training.transformer import transformer_experiment, transformer_job

    experiment = options.config.build(transformer_experiment.build_experiment, values)
    experiment = training.with_profile(experiment, options.profile_steps)
    workdir = paths.path(options.workdir)
    with training.one_run(experiment.distributed, workdir):
        transformer_job.train(experiment, workdir)


def keys() -> dict[str, type]:
    from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment

    return {"config": TransformerExperiment}


if __name__ == "__main__":
    cli.run(main, keys=keys)
