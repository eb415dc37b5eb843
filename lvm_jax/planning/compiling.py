"""The real train step of an experiment, traced and compiled for a topology, without data."""

import contextlib
import dataclasses
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from lvm_jax.training.training import Training
from lvm_jax.training.transformer import transformer_job
from lvm_jax.training.transformer.transformer_job import TransformerExperiment

# Of an experiment whose durations are in epochs, when nothing says how long an epoch is.
ROWS_PER_EPOCH = 10**8
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT])")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one device, as its compiler counts them.

    Attributes:
        arguments: the state and the batch.
        temporaries: what the step needs beside them.
        code: the program.
        peak: the most at any time; the compiler may lay temporaries over arguments that it is done
            with, so that it can be less than their sum.
    """

    arguments: int
    temporaries: int
    code: int
    peak: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """What a compiler made of a step.

    Attributes:
        memory: None when it does not fit.
        hlo: the optimised program of one device as text; "" when it does not fit.
        problem: the compiler's line about memory, when it does not fit.
        wanted: bytes that this line asks for, None where it says none.
        seconds: of lowering and compiling.
    """

    memory: Memory | None
    hlo: str = ""
    problem: str = ""
    wanted: int | None = None
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A train step on a topology.

    Attributes:
        mesh: of its devices.
        training: without data.
        traced: has the jaxpr and can be lowered where the devices are more than stand-ins.
        seconds: of tracing.
    """

    mesh: Mesh
    training: Training
    traced: Any
    seconds: float


def trace(experiment: TransformerExperiment, devices: Sequence[Any]) -> Step:
    """Traces the step of an experiment.

    Args:
        experiment: durations in epochs are taken for those of `ROWS_PER_EPOCH` rows.
        devices: those of `hardware`.

    Raises:
        ValueError: something does not divide over the devices.
    """
    begun = time.monotonic()
    resolved = transformer_job.resolve(experiment, ROWS_PER_EPOCH)
    mesh = transformer_job.make_mesh(resolved, devices)
    training = transformer_job.make_training(resolved, mesh)
    traced = training.trace()
    return Step(mesh=mesh, training=training, traced=traced, seconds=time.monotonic() - begun)


def compile_step(step: Step) -> Compiled:
    """Compiles a traced step for its devices; that it needs too much memory is a result too."""
    begun = time.monotonic()
    seconds = lambda: time.monotonic() - begun
    try:
        with _uncached():
            compiled = step.traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        line = str(error).partition("\n")[0].partition("RESOURCE_EXHAUSTED: ")[2]
        return Compiled(memory=None, problem=line, wanted=_first_size(line), seconds=seconds())
    found = compiled.memory_analysis()
    memory = Memory(
        arguments=found.argument_size_in_bytes,
        temporaries=found.temp_size_in_bytes,
        code=found.generated_code_size_in_bytes,
        peak=found.peak_memory_in_bytes,
    )
    return Compiled(memory=memory, hlo=compiled.as_text(), seconds=seconds())


def _first_size(line: str) -> int | None:
    match = _SIZE.search(line)
    return None if match is None else int(float(match[1]) * _UNITS[match[2]])


@contextlib.contextmanager
def _uncached() -> Iterator[None]:
    """JAX's cache of programs can write those of absent devices and not read them again."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
