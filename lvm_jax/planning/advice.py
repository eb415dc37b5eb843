"""What to change in an experiment so that it fits, or so that it is faster."""

import dataclasses
from collections.abc import Iterator

from lvm_jax.planning import estimate, search
from lvm_jax.planning.plan import Plan
from lvm_jax.planning.topologies import Topology
from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment

# Seconds of a step that another mesh must save, by estimate, to be worth a word.
_WORTH = 0.1


def of_plan(plan: Plan, experiment: TransformerExperiment, topology: Topology) -> tuple[str, ...]:
    """Lines of advice, the most urgent first; none for a plan that is as good as any.

    Args:
        plan: of the experiment on the topology.
        experiment, topology: what it was made of.
    """
    if topology.platform == "cpu":
        return ()
    lines = [] if plan.memory.fits else list(_to_fit(plan, experiment, topology))
    lines += _of_collectives(plan)
    if plan.memory.fits:
        lines += _faster(plan, experiment, topology)
    return tuple(lines)


def _to_fit(plan: Plan, experiment: TransformerExperiment, topology: Topology) -> Iterator[str]:
    """The least change of each kind after which it should fit."""
    sizes = tuple(plan.mesh.values())
    usable = search.usable_memory(topology)
    # What the compiler needed shows how far off the estimate is.
    ratio = max(plan.memory.needed / estimate.memory(experiment, sizes, topology).total, 1.0)
    found = False
    for changes in _changes(experiment):
        for words, changed in changes:
            need = ratio * estimate.memory(changed, sizes, topology).total
            if estimate.divides(changed, sizes) and need <= usable:
                yield f"{words} should fit: about {need / 2**30:.1f} GiB"
                found = True
                break
    best = next(
        (c for c in search.candidates(experiment, topology) if c.memory * ratio <= usable), None
    )
    if best is not None:
        yield f"the fastest that should fit: {best} (about {best.memory * ratio / 2**30:.1f} GiB)"
    elif not found:
        yield (
            f"nothing fits {topology.num_devices} of these devices with "
            f"batch_size={experiment.batch_size}; use more of them, or a smaller model"
        )


def _changes(
    experiment: TransformerExperiment,
) -> Iterator[list[tuple[str, TransformerExperiment]]]:
    """Kinds of changes to one field, each from the least to the greatest."""
    model = experiment.model
    weaker = (
        search.REMAT[search.REMAT.index(model.remat) + 1 :] if model.remat in search.REMAT else ()
    )
    yield [
        (
            f"model.remat={remat}",
            dataclasses.replace(experiment, model=dataclasses.replace(model, remat=remat)),
        )
        for remat in weaker
    ]
    yield [
        (f"accumulation={count}", dataclasses.replace(experiment, accumulation=count))
        for count in (experiment.accumulation * 2**power for power in range(1, 8))
    ]
    yield [
        (f"loss_chunks={chunks}", dataclasses.replace(experiment, loss_chunks=chunks))
        for chunks in search.LOSS_CHUNKS
        if chunks > experiment.loss_chunks and experiment.data.context % chunks == 0
    ]


def _of_collectives(plan: Plan) -> Iterator[str]:
    """A compiler's choices that another mesh would change."""
    fsdp = plan.mesh["fsdp"]
    gradients = 4 * plan.parameters
    reduced = sum(
        move.bytes for move in plan.moves if move.kind == "all-reduce" and "fsdp" in move.axes
    )
    if fsdp > 2 and plan.method == "compiled" and reduced > gradients / 2:
        yield (
            f"gradients are all-reduced over fsdp={fsdp}, twice the bytes of reduce-scatters; "
            f"mesh.data={plan.mesh['data'] * 2} mesh.fsdp={fsdp // 2} scatters them"
        )


def _faster(plan: Plan, experiment: TransformerExperiment, topology: Topology) -> Iterator[str]:
    usable = search.usable_memory(topology)
    sizes = tuple(plan.mesh.values())
    every = search.candidates(experiment, topology)
    same = [
        each
        for each in every
        if each.sizes == sizes
        and each.experiment.model.remat == experiment.model.remat
        and each.experiment.accumulation == experiment.accumulation
    ]
    best = next((each for each in every if each.memory <= usable), None)
    if same and best and best.seconds < (1 - _WORTH) * same[0].seconds:
        saved = 1 - best.seconds / same[0].seconds
        yield f"by estimate {saved:.0%} faster: {best}; --search compiles such candidates"
