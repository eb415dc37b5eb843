r"""Says what a training needs and costs on hardware that is not here: memory, network, days.

  python tools/plan.py --config=experiments/lvm.py:size=3b --topology=v3:16x16
  python tools/plan.py --config=experiments/lvm.py:size=7b --topology=v5p-512 \
      --config.mesh.fsdp=32 --price=4.20 --json=plan.json --html=plan.html

The train step of the experiment is compiled as it would be there, by libtpu (the extra "plan") or
the CUDA plugin ("plan-gpu"); no accelerator and no data are needed. Where the compiler is not
installed, FLOPs are counted and the rest is estimated. Topologies: v3:16x16, v4:4x4x8, v5e:16x16,
v5p:4x8x8, v6e:16x16, tpu7x:4x4x4 say the chips along each side of a slice; v3-512, v4-256, v5p-512
and tpu7x-128 are the same in tensor cores, v5e-256 and v6e-256 in chips, as Google names them;
"2x v5e:16x16" are two slices; h100:8 and h200:64 are GPUs in nodes of 8.
"""

import dataclasses
import os
import pathlib

import cli
from experiment_files import ExperimentFile
from lvm_jax import configs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which training, on what.

    Attributes:
        config: the experiment.
        topology: hardware, such as v5p:4x8x8 or h100:64.
        tokens: of the whole run, such as 420b; by default what config.loop.num_steps says, an epoch
            being the paper's 420b.
        price: of a chip for an hour.
        json: file to write the plan to.
        html: file to write a report with pictures to.
        compile: compile the step; without it memory and network are estimated, in seconds.
    """

    config: ExperimentFile
    topology: str
    tokens: str | None = None
    price: float | None = None
    json: str | None = None
    html: str | None = None
    compile: bool = True

    def __post_init__(self) -> None:
        configs.require_at_least(self, 0, "price")


def main(options: Options) -> None:
    from lvm_jax.planning import topologies

    topology = topologies.parse(options.topology)
    prepare_environment(topology.platform, topology.num_devices)
    values = options.config.load()
    # Imported after the flags are known to be good, and after the environment is set.
    from lvm_jax.planning import plan as planning
    from lvm_jax.planning import text_report
    from lvm_jax.training.transformer import transformer_job

    experiment = options.config.build(transformer_job.build_experiment, values)
    with configs.within("config"):
        plan = planning.make(
            options.config.name,
            experiment,
            topology,
            tokens=number(options.tokens),
            price=options.price,
            compiles=options.compile,
        )
    print(text_report.text(plan))
    if options.json:
        planning.write(pathlib.Path(options.json), plan)


def number(text: str | None) -> float | None:
    """420b -> 420e9; None stays None.

    Raises:
        ConfigError: no number.
    """
    if text is None:
        return None
    scales = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
    digits, scale = (
        (text[:-1], scales[text[-1].lower()]) if text[-1:].lower() in scales else (text, 1)
    )
    try:
        return float(digits) * scale
    except ValueError as error:
        raise configs.ConfigError(
            configs.Field("tokens"), f"={text} is no number; write 420b"
        ) from error


def prepare_environment(platform: str, num_devices: int) -> None:
    """What jax and compilers must find in the environment before they are imported."""
    # The devices of this machine, if it has any, are left to others.
    os.environ["JAX_PLATFORMS"] = "cpu"
    if platform == "cpu":
        os.environ["JAX_NUM_CPU_DEVICES"] = str(num_devices)
    if platform == "gpu":
        # Kernels cannot be tried out on a GPU that is not here.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_autotune_level=0".strip()


def keys() -> dict[str, type]:
    from lvm_jax.training.transformer.transformer_job import TransformerExperiment

    return {"config": TransformerExperiment}


if __name__ == "__main__":
    cli.run(main, keys=keys)
