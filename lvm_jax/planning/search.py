"""Which mesh, remat policy and micro-batches suit an experiment on some hardware.

Thousands of candidates are estimated from their sizes in seconds; those that should fit and be
fastest are compiled, best first, and ranked by what the compiler says.
"""

import dataclasses
import itertools
import math
import pathlib
import time
from collections.abc import Iterator, Sequence

from absl import logging

from lvm_jax import mesh as mesh_lib
from lvm_jax.model import flops
from lvm_jax.planning import chips, estimate, hardware, plan
from lvm_jax.planning.plan import Plan
from lvm_jax.planning.topologies import Topology
from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment

REMAT = ("none", "dots", "projections", "full")
LOSS_CHUNKS = (1, 4, 16)
# Matrices in more parts than a host has chips would be summed over slow links in every layer.
MOST_TENSOR = 8
# What a doubling of tensor must save of a step: its collectives are between the products of every
# layer, where less hides them than an estimate says.
_TENSOR_MARGIN = 0.03


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to run an experiment, with what sizes alone say about it.

    Attributes:
        experiment: with the mesh, remat policy, micro-batches and loss chunks to try.
        sizes: of its mesh, in the order of `mesh.AXES`.
        memory: bytes of a device.
        seconds: of a step, halfway between everything at once and one after another.
    """

    experiment: TransformerExperiment
    sizes: mesh_lib.Sizes
    memory: float
    seconds: float

    def __str__(self) -> str:
        e = self.experiment
        mesh = " ".join(f"{n}={s}" for n, s in zip(mesh_lib.AXES, self.sizes) if s > 1)
        return (
            f"{mesh or 'one device'} remat={e.model.remat} accumulation={e.accumulation} "
            f"loss_chunks={e.loss_chunks}"
        )


def candidates(experiment: TransformerExperiment, topology: Topology) -> list[Candidate]:
    """Everything that divides, by estimated seconds of a step."""
    devices = hardware.fake_devices(topology)
    found = []
    for sizes in _meshes(experiment, topology):
        mesh = mesh_lib.make_mesh(_config(sizes), devices)
        for tried in _variants(experiment, sizes):
            if not estimate.divides(tried, sizes):
                continue
            of_model, executed, eight_bit = _flops(tried)
            moved = estimate.collectives(tried, sizes, topology)
            work = executed, of_model, eight_bit
            line = plan.bounds_of(tried, topology, mesh, moved, *work).roofline
            seconds = (line.overlapped_seconds + line.serial_seconds) / 2
            memory = estimate.memory(tried, sizes, topology).total
            found.append(Candidate(experiment=tried, sizes=sizes, memory=memory, seconds=seconds))
    # Of equally fast ones, those that need less come first.
    return sorted(found, key=lambda each: (_rank(each), each.memory))


def _rank(candidate: Candidate) -> float:
    """Seconds of a step, and what a split of matrices should save."""
    doublings = math.log2(dict(zip(mesh_lib.AXES, candidate.sizes))["tensor"])
    return candidate.seconds * (1 + _TENSOR_MARGIN * doublings)


def _meshes(experiment: TransformerExperiment, topology: Topology) -> Iterator[mesh_lib.Sizes]:
    for sizes in mesh_lib.factorizations(topology.num_devices):
        data, _, context, tensor = sizes
        known = experiment.mesh.context in (context, -1)
        if known and tensor <= MOST_TENSOR and data % topology.num_slices == 0:
            yield sizes


def _variants(
    experiment: TransformerExperiment, sizes: mesh_lib.Sizes
) -> Iterator[TransformerExperiment]:
    rows = experiment.batch_size // (sizes[0] * sizes[1])
    micro_batches = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= max(rows, 1)]
    for remat, count, chunks in itertools.product(REMAT, micro_batches, LOSS_CHUNKS):
        yield dataclasses.replace(
            experiment,
            model=dataclasses.replace(experiment.model, remat=remat),
            mesh=_config(sizes),
            accumulation=count,
            loss_chunks=chunks,
        )


def _config(sizes: mesh_lib.Sizes) -> mesh_lib.MeshConfig:
    return mesh_lib.MeshConfig(**dict(zip(mesh_lib.AXES, sizes)))


def _flops(experiment: TransformerExperiment) -> tuple[float, float, float]:
    """(the model's, executed, of these in eight bits) of a step.

    The backward pass makes again what was not kept.
    """
    model, context = experiment.model, experiment.data.context
    per_token = flops.train_flops_per_token(model, context)
    forward = flops.forward_flops_per_token(model, (context + 1) / 2)
    attention = forward - flops.forward_flops_per_token(model, 0)
    again = {"full": forward, "projections": attention, "offload": attention}
    eight_bit = 0.0
    if model.products != "compute":
        passes = flops.TRAIN_TO_FORWARD + (1 if model.remat == "full" else 0)
        eight_bit = 2.0 * passes * model.num_layers * model.matrix_parameters_per_layer
    tokens = experiment.batch_size * context
    executed = per_token + again.get(model.remat, 0.0)
    return tokens * per_token, tokens * executed, tokens * eight_bit


def usable_memory(topology: Topology) -> float:
    """Bytes of a device that a program of estimated size may take."""
    return plan.USABLE * chips.chip(topology.device_kind).peak.memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to.

    Attributes:
        plans: compiled, ordered by `score`.
        tried, left: candidates that were compiled, and those that would have been worth it.
    """

    plans: tuple[Plan, ...]
    tried: int
    left: int


def has_room(found: Plan) -> bool:
    """Whether a plan fits and leaves the share of memory free that `plan.USABLE` leaves."""
    return found.memory.fits and found.memory.needed <= plan.USABLE * found.memory.capacity


def score(found: Plan) -> tuple[bool, bool, float]:
    """Orders plans, the best first: fits, with room, then seconds of a step as of `Candidate`."""
    assert found.bounds is not None
    seconds = (found.bounds.best_seconds + found.bounds.serial_seconds) / 2
    return not found.memory.fits, not has_room(found), seconds


def search(
    name: str,
    experiment: TransformerExperiment,
    topology: Topology,
    *,
    most: int,
    minutes: float | None = None,
    tokens: float | None = None,
    price: float | None = None,
    compiles: bool = True,
    cache: pathlib.Path | None = None,
) -> Found:
    """Estimates everything, and compiles the most promising.

    Args:
        name, experiment, topology, tokens, price, compiles, cache: see `plan.make`; with a cache a
            search that was stopped goes on where it was.
        most: plans to compile that fit with room, see `has_room`.
        minutes: no compilation begins later.

    Raises:
        ValueError: nothing divides over the devices.
    """
    begun = time.monotonic()
    every = candidates(experiment, topology)
    if not every:
        raise ValueError(
            f"nothing divides: batch_size={experiment.batch_size} and the model's sizes over "
            f"{topology.num_devices} devices; change batch_size"
        )
    memory = usable_memory(topology)
    fitting = _one_of_each([each for each in every if each.memory <= memory])
    logging.info("%d candidates, %d fit by estimate", len(every), len(fitting))
    # What fits by estimate alone may be nothing: then the smallest are tried.
    queue = fitting or sorted(every, key=lambda each: each.memory)[:most]
    plans: list[Plan] = []
    # Needed by a compiler / estimated: as it turns out, what cannot fit is passed over.
    ratio, tried = 1.0, 0
    for candidate in queue:
        late = minutes is not None and time.monotonic() - begun > 60 * minutes
        if late or sum(map(has_room, plans)) >= most:
            break
        if fitting and candidate.memory * ratio > memory:
            continue
        tried += 1
        logging.info("%d of %d: %s", tried, most, candidate)
        made = plan.make(
            name,
            candidate.experiment,
            topology,
            tokens=tokens,
            price=price,
            compiles=compiles,
            cache=cache,
        )
        if not has_room(made):
            ratio = max(ratio, made.memory.needed / candidate.memory)
        plans.append(made)
    ordered = tuple(sorted(plans, key=score))
    return Found(plans=ordered, tried=tried, left=len(queue) - tried)


def _one_of_each(ordered: Sequence[Candidate]) -> list[Candidate]:
    """The first of each mesh and remat policy: micro-batches differ little where they fit."""
    first: dict[tuple, Candidate] = {}
    for each in ordered:
        first.setdefault((each.sizes, each.experiment.model.remat), each)
    return list(first.values())
