r"""Trains the transformer on shards; started again with the same workdir it resumes.

  python tools/train.py --config=experiments/debug.py --workdir=runs/debug \
      --config.data.shards=DIR
  python tools/train.py --config=experiments/lvm.py:size=3b --workdir=/data/runs/3b \
      --config.data.shards=/data/shards --config.mesh.fsdp=128

--dry_run does all that comes before the first step, writes nothing and prints the mesh, where each
parameter lies, the memory of a device and the first batch; with --topology=v5e:16x16 as on that
hardware, which need not be here (tools/plan.py has the names; extra "plan").
Ctrl-C or SIGTERM saves and stops; the same command goes on from there. Of several processes
(config.distributed), whichever gets the signal, all stop at the same step, and when one fails all
end, with its reason in the last line of each.
"""

import dataclasses

import absent_hardware
import cli
import training
from experiment_files import ExperimentFile
from options import Place


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Which training.

    Attributes:
        config: the experiment.
        workdir: where config.json, metrics.jsonl and checkpoints go.
        profile_steps: FIRST:LAST, such as 10:13, traces the steps after FIRST until LAST into
            WORKDIR/profile.
    """

    config: ExperimentFile
    workdir: Place
    profile_steps: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DryRun:
    """Which training is looked at.

    Attributes:
        config: the experiment.
        workdir: of the run; need not exist.
        dry_run: build everything up to the first step, print it and stop.
        topology: hardware that it is built for; default: the devices of this process.
    """

    config: ExperimentFile
    workdir: Place
    dry_run: bool = False
    topology: str | None = None


def train(options: Run) -> None:
    values = options.config.load()
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax.storage import paths
    from lvm_jax.training.transformer import transformer_experiment, transformer_job

    experiment = options.config.build(transformer_experiment.build_experiment, values)
    experiment = training.with_profile(experiment, options.profile_steps)
    workdir = paths.path(options.workdir)
    with training.one_run(experiment.distributed, workdir):
        transformer_job.train(experiment, workdir)


def dry_run(options: DryRun) -> None:
    topology = None
    if options.topology is not None:
        topology = absent_hardware.prepare_environment(options.topology)
    values = options.config.load()
    from lvm_jax import configs
    from lvm_jax.planning import dry_run, hardware
    from lvm_jax.storage import paths
    from lvm_jax.training.transformer import transformer_experiment, transformer_job

    experiment = options.config.build(transformer_experiment.build_experiment, values)
    devices, missing = None, ""
    if topology is not None:
        missing = hardware.missing_compiler(topology)
        make = hardware.fake_devices if missing else hardware.compile_devices
        devices = make(topology)
    with configs.within("config"):
        prepared = transformer_job.prepare(experiment, paths.path(options.workdir), devices)
    for line in dry_run.lines(prepared, missing):
        print(line, flush=True)


def keys() -> dict[str, type]:
    from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment

    return {"config": TransformerExperiment}


if __name__ == "__main__":
    cli.run({"a run": train, "--dry_run": dry_run}, keys=keys)
