"""Trains a tokenizer (VQGAN); started again with the same workdir it resumes.

  python tools/train_tokenizer.py --config=experiments/quickstart_tokenizer.py --workdir=runs/vqgan

--workdir then holds config.json, metrics.jsonl, checkpoints, and tokenizer/, the directory that
the other tools take as --tokenizer; it is written anew with every checkpoint. Ctrl-C or SIGTERM
saves and stops, on all processes of a run; the same command goes on from there.
"""

import pathlib

import cli
import training
from absl import flags

cli.define_config()
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where config.json, metrics.jsonl, checkpoints and tokenizer go.",
    required=True,
)


def main() -> None:
    values = cli.load_config()
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax import configs
    from lvm_jax.training.vqgan import tokenizer_job

    experiment = cli.build_config(tokenizer_job.build_experiment, values)
    workdir = pathlib.Path(WORKDIR.value)
    with training.one_run(experiment.distributed, workdir), configs.within("config"):
        tokenizer_job.train(experiment, workdir)


if __name__ == "__main__":
    cli.run(main)
