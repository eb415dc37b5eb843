r"""Says what a training needs and costs on hardware that is not here: memory, network, days.

  python tools/plan.py --config=experiments/lvm.py:size=3b --topology=v3:16x16
  python tools/plan.py --config=experiments/lvm.py:size=7b --topology=v5p-512 \
      --config.mesh.fsdp=32 --price=4.20 --json=plan.json --html=plan.html
  python tools/plan.py --config=experiments/lvm.py:size=7b --topology=v5p-512 --search

The train step of the experiment is compiled as it would be there, by libtpu (the extra "plan") or
the CUDA plugin ("plan-gpu"); no accelerator and no data are needed. Where the compiler is not
installed, FLOPs are counted and the rest is estimated. Compiling a step takes one to two minutes of
CPU time for TPUs, less than half a minute for GPUs; an estimate takes seconds.

Topologies: v3:16x16, v4:4x4x8, v5e:16x16, v5p:4x8x8, v6e:16x16 and tpu7x:4x4x4 say the chips along
each side of a slice. v3-512, v4-256, v5p-512 and tpu7x-128 are the same in tensor cores, v5e-256
and v6e-256 in chips, as Google names them. "2x v5e:16x16" are two slices. h100:8 and h200:64 are
GPUs in nodes of 8.
"""

import dataclasses
import os
import pathlib
import re
from typing import TYPE_CHECKING

import absent_hardware
import cli
from experiment_files import ExperimentFile
from lvm_jax import configs

if TYPE_CHECKING:
    from lvm_jax.planning.plan import Plan
    from lvm_jax.planning.topologies import Topology
    from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """What both modes need.

    Attributes:
        config: the experiment.
        topology: hardware, such as v5p:4x8x8 or h100:64.
        tokens: of the whole run, such as 420b; by default what config.loop.num_steps says, an epoch
            being the paper's 420b.
        price: of a chip for an hour.
        json: file to write the plan to, in a folder that is made if need be; of a search, the best
            one.
        html: file to write a report with pictures to, likewise.
        compile: compile the step; --nocompile estimates memory and network, in seconds.
        cache: file that remembers what was compiled; "" for none.
    """

    config: ExperimentFile
    topology: str
    tokens: str | None = None
    price: float | None = None
    json: str | None = None
    html: str | None = None
    compile: bool = True
    cache: str = "~/.cache/lvm_jax/plans.jsonl"

    def __post_init__(self) -> None:
        configs.require_at_least(self, 0, "price")

    @property
    def cache_path(self) -> pathlib.Path | None:
        """The file of `cache`."""
        return pathlib.Path(self.cache).expanduser() if self.cache else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class One(Common):
    """The experiment as it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Common):
    """Other meshes, remat policies, micro-batches and loss chunks too.

    Attributes:
        search: estimate all of them, compile the most promising, and rank these; started again it
            goes on where it was.
        best: how many that fit are compiled.
        budget_minutes: no compilation begins later.
    """

    search: bool = False
    best: int = 4
    budget_minutes: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        configs.require_at_least(self, 1, "best")
        configs.require_at_least(self, 0, "budget_minutes")


def one(options: One) -> None:
    topology, experiment = _prepare(options)
    from lvm_jax.planning import plan as planning

    with configs.within("config"):
        plan = planning.make(
            options.config.name,
            experiment,
            topology,
            tokens=number(options.tokens),
            price=options.price,
            compiles=options.compile,
            cache=options.cache_path,
        )
    _show(plan, experiment, topology, options)


def search(options: Search) -> None:
    topology, experiment = _prepare(options)
    from lvm_jax.planning import search as searching
    from lvm_jax.planning import text_report

    with configs.within("config"):
        found = searching.search(
            options.config.name,
            experiment,
            topology,
            most=options.best,
            minutes=options.budget_minutes,
            tokens=number(options.tokens),
            price=options.price,
            compiles=options.compile,
            cache=options.cache_path,
        )
    if not found.plans:
        raise ValueError("no time was left to compile anything; raise --budget_minutes")
    print(text_report.ranking(found.plans))
    print(f"{found.left} more candidates fit by estimate; --best takes more of them\n")
    _show(found.plans[0], experiment, topology, options)


def _prepare(options: Common) -> tuple["Topology", "TransformerExperiment"]:
    topology = absent_hardware.prepare_environment(options.topology)
    number(options.tokens)
    for name, file in (("json", options.json), ("html", options.html)):
        if file is not None:
            _require_place(name, pathlib.Path(file))
    values = options.config.load()
    # Imported after the flags are known to be good, and after the environment is set.
    from lvm_jax.training.transformer import transformer_experiment

    return topology, options.config.build(transformer_experiment.build_experiment, values)


def _require_place(name: str, path: pathlib.Path) -> None:
    """Makes the folder of a file that takes minutes to come, or refuses it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise configs.ConfigError(
            configs.Field(name), f"={path} cannot be written: {error.strerror}"
        ) from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise configs.ConfigError(
            configs.Field(name),
            f"={path} is a folder, or in one that cannot be written; give the path of a file",
        )


def _show(
    plan: "Plan", experiment: "TransformerExperiment", topology: "Topology", options: Common
) -> None:
    from lvm_jax.planning import advice, html_report, text_report
    from lvm_jax.planning import plan as planning

    if isinstance(options, One):
        lines = advice.of_plan(plan, experiment, topology)
        plan = dataclasses.replace(plan, advice=lines)
    print(text_report.text(plan))
    if options.json:
        planning.write(pathlib.Path(options.json), plan)
    if options.html:
        html_report.write(pathlib.Path(options.html), plan)


def number(text: str | None) -> float | None:
    """420b -> 420e9; None stays None.

    Raises:
        ConfigError: no number.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmbt]?)", text.lower())
    if match is None or not float(match[1]):
        raise configs.ConfigError(configs.Field("tokens"), f"={text} is no number; write 420b")
    return float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}[match[2]]


def keys() -> dict[str, type]:
    from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment

    return {"config": TransformerExperiment}


if __name__ == "__main__":
    cli.run({"one plan": one, "--search": search}, keys=keys)
