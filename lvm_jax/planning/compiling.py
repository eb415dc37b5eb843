"""The real train step of an experiment, traced and compiled for a topology, without data."""

import contextlib
import dataclasses
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from lvm_jax.planning import collectives
from lvm_jax.planning.collectives import Collective
from lvm_jax.training.training import Training
from lvm_jax.training.transformer import transformer_job
from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment

# An epoch of the paper's data (Bai et al. 2023, section 3.1), for runs whose length is in epochs.
EPOCH_TOKENS = 420e9
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT])")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one device, as its compiler counts them.

    Attributes:
        arguments: the state and the batch.
        temporaries: what the step needs beside them.
        code: the program.
        peak: the most at any time; less than the sum where temporaries are laid over one another
            with gaps, or over arguments that are done with.
    """

    arguments: int
    temporaries: int
    code: int
    peak: int

    @property
    def needed(self) -> int:
        """What is set aside."""
        return self.arguments + self.temporaries + self.code


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """What a compiler made of a step.

    Attributes:
        memory: None when it does not fit.
        collectives: of the step, summed over instructions that do the same; () if it does not fit.
        problem: the compiler's line about memory, when it does not fit.
        wanted: bytes that this line asks for, None where it says none.
        seconds: of lowering and compiling.
    """

    memory: Memory | None
    collectives: tuple[Collective, ...] = ()
    problem: str = ""
    wanted: int | None = None
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A train step on a topology.

    Attributes:
        mesh: of its devices.
        training: without data.
        traced: has the jaxpr, and can be lowered where the devices are more than stand-ins.
        seconds: of tracing.
    """

    mesh: Mesh
    training: Training
    traced: Any
    seconds: float


def resolve(experiment: TransformerExperiment) -> TransformerExperiment:
    """The experiment with durations in steps, an epoch being `EPOCH_TOKENS`."""
    return transformer_job.resolve(experiment, int(EPOCH_TOKENS / experiment.data.context))


def trace(experiment: TransformerExperiment, devices: Sequence[Any]) -> Step:
    """Traces the step of an experiment.

    Args:
        experiment: its data need not exist.
        devices: those of `hardware`.

    Raises:
        ValueError: something does not divide over the devices.
    """
    begun = time.monotonic()
    experiment = resolve(experiment)
    mesh = transformer_job.make_mesh(experiment, devices)
    training = transformer_job.make_training(experiment, mesh)
    traced = training.trace()
    return Step(mesh=mesh, training=training, traced=traced, seconds=time.monotonic() - begun)


def compile_step(step: Step, lowered: jax.stages.Lowered) -> Compiled:
    """Compiles a step for its devices; that it needs too much memory is a result too.

    Args:
        step: says the mesh.
        lowered: `step.traced.lower()`.
    """
    begun = time.monotonic()
    try:
        with uncached():
            compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        line = str(error).partition("\n")[0].partition("RESOURCE_EXHAUSTED: ")[2]
        seconds = time.monotonic() - begun
        return Compiled(memory=None, problem=line, wanted=_first_size(line), seconds=seconds)
    seconds = time.monotonic() - begun
    found, text = compiled.memory_analysis(), compiled.as_text()
    assert found is not None and text is not None, "this compiler does not say what it made"
    memory = Memory(
        arguments=found.argument_size_in_bytes,
        temporaries=found.temp_size_in_bytes,
        code=found.generated_code_size_in_bytes,
        peak=found.peak_memory_in_bytes,
    )
    moved = collectives.find(text, dict(step.mesh.shape), step.mesh.size)
    return Compiled(memory=memory, collectives=_sums(moved), seconds=seconds)


def _sums(found: Sequence[Collective]) -> tuple[Collective, ...]:
    """One collective for all that differ in size alone."""
    groups: dict[Any, Collective] = {}
    for each in found:
        key = (each.kind, each.axes, each.group_size, each.form, each.members)
        known = groups.get(key)
        count, size = (known.count, known.bytes) if known else (0, 0)
        groups[key] = dataclasses.replace(
            each, count=count + each.count, bytes=size + each.bytes, name="", source=""
        )
    return tuple(groups.values())


def _first_size(line: str) -> int | None:
    match = _SIZE.search(line)
    return None if match is None else int(float(match[1]) * _UNITS[match[2]])


@contextlib.contextmanager
def uncached() -> Iterator[None]:
    """JAX's cache of programs can write those of absent devices and not read them again."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
