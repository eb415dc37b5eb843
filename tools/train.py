r"""Trains the transformer on shards; started again with the same workdir it resumes.

  python tools/train.py --config=experiments/debug.py --workdir=runs/debug \
      --config.data.shards=DIR
  python tools/train.py --config=experiments/lvm.py:size=3b --workdir=/data/runs/3b \
      --config.data.shards=/data/shards --config.mesh.fsdp=256

Ctrl-C or SIGTERM saves and stops; the same command goes on from there. Of several processes
(config.distributed), whichever gets the signal, all stop at the same step, and when one fails all
end, with its reason in the last line of each.
"""

import pathlib

import cli
import training
from absl import flags

cli.define_config()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where config.json, metrics.jsonl and checkpoints go.", required=True
)


def main() -> None:
    values = cli.load_config()
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax import configs
    from lvm_jax.training.transformer import transformer_job

    experiment = cli.build_config(transformer_job.build_experiment, values)
    workdir = pathlib.Path(WORKDIR.value)
    with training.one_run(experiment.distributed, workdir), configs.within("config"):
        transformer_job.train(experiment, workdir)


if __name__ == "__main__":
    cli.run(main)
