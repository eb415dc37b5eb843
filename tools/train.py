"""Trains the transformer on shards; started again with the same workdir it resumes.

  python tools/train.py --config=experiments/debug.py --workdir=runs/debug \
      --config.data.shards=DIR
  python tools/train.py --config=experiments/lvm_3b.py --workdir=/data/runs/3b \
      --config.data.shards=/data/shards --config.mesh.fsdp=256

Ctrl-C or SIGTERM saves and stops; the same command goes on from there.
"""

import pathlib

import cli
from absl import flags

cli.define_config()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where config.json, metrics.jsonl and checkpoints go.", required=True
)


def main() -> None:
    values = cli.load_config()
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax import mesh
    from lvm_jax.training import transformer_job

    experiment = cli.build_config(transformer_job.build_experiment, values)
    mesh.initialize_distributed(experiment.distributed)
    transformer_job.train(experiment, pathlib.Path(WORKDIR.value))


if __name__ == "__main__":
    cli.run(main)
