"""A plan: whether a training fits some hardware, what limits it there, and what it costs."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from absl import logging

from lvm_jax import atomic, configs
from lvm_jax.planning import (
    chips,
    compiling,
    estimate,
    flops,
    hardware,
    network,
    remembered,
    roofline,
    traffic,
)
from lvm_jax.planning.collectives import Collective
from lvm_jax.planning.compiling import Compiled, Memory, Step
from lvm_jax.planning.roofline import Roofline
from lvm_jax.planning.topologies import Topology
from lvm_jax.training import durations
from lvm_jax.training.transformer import transformer_job
from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment

# A GPU's and an estimate's programs are kept so far below the memory: allocators need room, and an
# estimate errs. A TPU's compiler says itself whether a program fits.
USABLE = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryUse(Memory):
    """Bytes of one device, counted or estimated, beside those that it has.

    Attributes:
        arguments, temporaries, code, peak: see `compiling.Memory`.
        capacity: of the device; 0 where it is not known.
        fits: whether it can run.
        problem: the compiler's words, where it refused the program for its memory.
    """

    capacity: int
    fits: bool
    problem: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moves:
    """Collectives of one kind over the same axes, per device and step.

    Attributes:
        kind, axes, form: see `collectives.Collective`.
        count: how often they run.
        bytes: of their results; of a reduce-scatter's inputs.
        seconds: one after another over links that nothing else uses.
    """

    kind: str
    axes: tuple[str, ...]
    form: str
    count: int
    bytes: int
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """What no run can exceed; times in seconds per step.

    Attributes:
        compute_seconds, memory_seconds, network_seconds: each alone, see `roofline`.
        best_seconds: all three at once.
        serial_seconds: one after another.
        limit: the longest of the three.
        mfu: at best.
        serial_mfu: without any overlap.
        tokens_per_second: of all devices, at best.
        days, chip_hours: of the whole run, at best.
        serial_days, serial_chip_hours: the same without any overlap.
        cost, serial_cost: in the currency of the price; None without one.
    """

    compute_seconds: float
    memory_seconds: float
    network_seconds: float
    best_seconds: float
    serial_seconds: float
    limit: roofline.Limit
    mfu: float
    serial_mfu: float
    tokens_per_second: float
    days: float
    serial_days: float
    chip_hours: float
    serial_chip_hours: float
    cost: float | None
    serial_cost: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is known about a training on hardware that is not here.

    Attributes:
        name: of the experiment.
        topology: of the hardware, as `topologies.parse` reads it.
        description: the same in words.
        chips, devices: how many.
        method: "compiled", or "estimated" from sizes and the jaxpr alone.
        compiler: name and version, or why there is none.
        parameters: of the model.
        mesh: axis -> size.
        remat, dtype: of the model; its dtype may be two, such as "bfloat16, int8".
        attention: the backend that runs, and why.
        batch_size, context, accumulation, loss_chunks: of the experiment.
        tokens: of the whole run.
        steps: of the whole run.
        memory: of a device.
        moves: collectives, those that take longest first.
        flops: FLOPs of a step over all devices: executed, of the model, recomputed, of operands of
            eight bits, of attention.
        bounds: None for CPUs, whose speed is not listed.
        seconds: what was done -> how long it took here.
        advice: what to change, most urgent first.
    """

    name: str
    topology: str
    description: str
    chips: int
    devices: int
    method: Literal["compiled", "estimated"]
    compiler: str
    parameters: int
    mesh: Mapping[str, int]
    remat: str
    attention: str
    dtype: str
    batch_size: int
    context: int
    accumulation: int
    loss_chunks: int
    tokens: float
    steps: int
    memory: MemoryUse
    moves: tuple[Moves, ...]
    flops: Mapping[str, float]
    bounds: Bounds | None
    seconds: Mapping[str, float]
    advice: tuple[str, ...] = ()

    @property
    def tokens_per_step(self) -> int:
        """Of the global batch."""
        return self.batch_size * self.context


def write(path: str | pathlib.Path, plan: Plan) -> None:
    """Writes a plan as JSON.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    atomic.write_json(path, configs.to_dict(plan), indent=1)


def make(
    name: str,
    experiment: TransformerExperiment,
    topology: Topology,
    *,
    tokens: float | None = None,
    price: float | None = None,
    compiles: bool = True,
    cache: pathlib.Path | None = None,
) -> Plan:
    """Plans a training.

    Args:
        name: what the plan calls the experiment.
        experiment: what is trained; its data need not exist.
        topology: on what.
        tokens: of the whole run; None takes what the experiment says, see
            `compiling.EPOCH_TOKENS`.
        price: of a chip for an hour.
        compiles: False estimates, without a compiler; so does a compiler that is not installed.
        cache: see `remembered`.

    Raises:
        ValueError: the experiment does not divide over the devices, or its compiler does not know
            the topology.
    """
    missing = hardware.missing_compiler(topology)
    if missing and compiles:
        logging.warning("%s: memory and collectives are estimated, only FLOPs are counted", missing)
    compiles = compiles and not missing
    devices = (hardware.compile_devices if compiles else hardware.fake_devices)(topology)
    logging.info("%s: tracing the step", topology.describe())
    # Stand-ins have no memory of a host; FLOPs are the same without it.
    step = compiling.trace(experiment if compiles else _on_devices(experiment), devices)
    compiled = None
    if compiles:
        compiler = hardware.compiler(topology)
        logging.info("compiling it with %s, a minute or a few", compiler)
        compiled = remembered.compile_step(step, topology, compiler, cache)
    return _assemble(name, experiment, topology, step, compiled, missing, tokens, price)


def _on_devices(experiment: TransformerExperiment) -> TransformerExperiment:
    """The same with everything in the memory of devices."""
    model, optimizer = experiment.model, experiment.optimizer
    remat = "projections" if model.remat == "offload" else model.remat
    return dataclasses.replace(
        experiment,
        model=dataclasses.replace(model, remat=remat),
        optimizer=dataclasses.replace(optimizer, offload=False),
    )


def _assemble(
    name: str,
    experiment: TransformerExperiment,
    topology: Topology,
    step: Step,
    compiled: Compiled | None,
    missing: str,
    tokens: float | None,
    price: float | None,
) -> Plan:
    model, shape = experiment.model, dict(step.mesh.shape)
    counted = flops.count(step.traced.jaxpr, model, experiment.batch_size, experiment.data.context)
    per_step = experiment.batch_size * experiment.data.context
    tokens = run_tokens(experiment) if tokens is None else tokens
    found = _collectives(experiment, topology, step, compiled)
    line = None
    if topology.platform != "cpu":
        work = counted.total, counted.model, counted.eight_bit
        line = bounds_of(experiment, topology, step.mesh, found, *work)
    return Plan(
        name=name,
        topology=topology.name,
        description=topology.describe(),
        chips=topology.num_chips,
        devices=topology.num_devices,
        method="estimated" if compiled is None else "compiled",
        compiler=hardware.compiler(topology) if compiled else missing or "not asked for",
        parameters=model.num_parameters,
        mesh=shape,
        remat=model.remat,
        attention=str(transformer_job.choose_attention(experiment, step.mesh)),
        dtype=model.dtype if model.products == "compute" else f"{model.dtype}, {model.products}",
        batch_size=experiment.batch_size,
        context=experiment.data.context,
        accumulation=experiment.accumulation,
        loss_chunks=experiment.loss_chunks,
        tokens=tokens,
        steps=-(-int(tokens) // per_step),
        memory=_memory(experiment, topology, tuple(shape.values()), compiled),
        moves=_moves(found, line.network if line else None),
        flops={
            "executed": counted.total,
            "model": counted.model,
            "recomputed": counted.recomputed,
            "eight_bit": counted.eight_bit,
            "attention": counted.attention,
        },
        bounds=None if line is None else summarize(line.roofline, tokens, price),
        seconds={"trace": step.seconds, "compile": compiled.seconds if compiled else 0.0},
    )


def run_tokens(experiment: TransformerExperiment) -> float:
    """Tokens of a whole run; see `compiling.resolve`."""
    steps = durations.resolved(compiling.resolve(experiment).loop.num_steps)
    return float(steps * experiment.batch_size * experiment.data.context)


def _collectives(
    experiment: TransformerExperiment, topology: Topology, step: Step, compiled: Compiled | None
) -> Sequence[Collective]:
    if compiled is None or compiled.memory is None:
        return estimate.collectives(experiment, tuple(step.mesh.shape.values()), topology)
    return compiled.collectives


def _memory(
    experiment: TransformerExperiment,
    topology: Topology,
    sizes: Sequence[int],
    compiled: Compiled | None,
) -> MemoryUse:
    capacity = 0
    if topology.platform != "cpu":
        capacity = int(chips.chip(topology.device_kind).peak.memory)
    if compiled is not None and compiled.memory is not None:
        return memory_use(compiled.memory, capacity, topology.platform)
    guess = estimate.memory(experiment, sizes, topology)
    wanted = compiled.wanted if compiled is not None else None
    temporaries = int(guess.temporaries if wanted is None else max(wanted, guess.temporaries))
    return MemoryUse(
        arguments=int(guess.arguments),
        temporaries=temporaries,
        code=0,
        peak=int(guess.arguments) + temporaries,
        capacity=capacity,
        fits=compiled is None and guess.total <= USABLE * capacity,
        problem="" if compiled is None else compiled.problem,
    )


def memory_use(exact: Memory, capacity: int, platform: str) -> MemoryUse:
    """What a compiler counted, on devices of so many bytes."""
    fits = platform != "gpu" or exact.needed <= USABLE * capacity
    return MemoryUse(**dataclasses.asdict(exact), capacity=capacity, fits=fits)


@dataclasses.dataclass(frozen=True)
class Line:
    """The roofline of a step, and the network that it was drawn with."""

    roofline: Roofline
    network: network.Network


def bounds_of(
    experiment: TransformerExperiment,
    topology: Topology,
    mesh: Any,
    found: Sequence[Collective],
    executed: float,
    of_model: float,
    eight_bit: float,
) -> Line:
    """The roofline of a step.

    Args:
        experiment, topology: what runs where.
        mesh: of devices that say where they are.
        found: the step's collectives.
        executed, of_model: FLOPs of all devices.
        eight_bit: what of those executed is of operands of eight bits.

    Raises:
        ConfigError: the chip has no products that the model asks for.
    """
    chip = chips.chip(topology.device_kind)
    shape, wrap = (
        (topology.shape, ())
        if topology.platform == "gpu"
        else (topology.shape, topology.generation.wrap(topology.shape))
    )
    links = network.of_devices(chip, list(mesh.devices.flat), shape, wrap)
    moved = traffic.least(
        experiment.model,
        dict(mesh.shape),
        experiment.batch_size,
        experiment.data.context,
        accumulation=experiment.accumulation,
        loss_chunks=experiment.loss_chunks,
        moment_bytes=6 if experiment.optimizer.first_moment_dtype == "bfloat16" else 8,
    )
    tokens = experiment.batch_size * experiment.data.context
    with configs.within("model"):
        line = roofline.bound(
            chip,
            executed,
            moved.total,
            found,
            network=links,
            model_flops=of_model,
            tokens=tokens,
            eight_bit=eight_bit,
            products=experiment.model.products,
        )
    return Line(line, links)


def summarize(line: Roofline, tokens: float, price: float | None) -> Bounds:
    """The numbers of a roofline for a run of so many tokens."""
    serial = line.serial_seconds
    cost = lambda seconds: None if price is None else line.cost(tokens, price, seconds)
    return Bounds(
        compute_seconds=line.compute_seconds,
        memory_seconds=line.memory_seconds,
        network_seconds=line.network_seconds,
        best_seconds=line.overlapped_seconds,
        serial_seconds=serial,
        limit=line.limit,
        mfu=line.mfu(),
        serial_mfu=line.mfu(serial),
        tokens_per_second=line.tokens_per_second(),
        days=line.days(tokens),
        serial_days=line.days(tokens, serial),
        chip_hours=line.chip_hours(tokens),
        serial_chip_hours=line.chip_hours(tokens, serial),
        cost=cost(None),
        serial_cost=cost(serial),
    )


def _moves(found: Sequence[Collective], links: network.Network | None) -> tuple[Moves, ...]:
    groups: dict[tuple[str, tuple[str, ...], str], list[Collective]] = {}
    for each in found:
        groups.setdefault((each.kind, each.axes, each.form), []).append(each)
    moves = [
        Moves(
            kind=kind,
            axes=axes,
            form=form,
            count=sum(each.count for each in group),
            bytes=sum(each.bytes for each in group),
            seconds=sum(links.seconds(each) for each in group) if links else 0.0,
        )
        for (kind, axes, form), group in groups.items()
    ]
    return tuple(sorted(moves, key=lambda move: (-move.seconds, -move.bytes)))
