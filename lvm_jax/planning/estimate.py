"""Memory and collectives of a train step from its sizes alone: an estimate in microseconds.

For what cannot be compiled, and to decide what is worth compiling. Per device, with T tokens of a
micro-batch on it, N layers, D hidden and F mlp width, V padded vocabulary:

    arguments    parameters, moments and average as the rules split them, the batch
    gradients    float32, split as the parameters; twice where micro-batches are summed
    saved        N x what the remat policy keeps of a layer's T tokens
    layer        one layer's forward and backward at a time: a multiple of all its activations
    scores       float32 scores of a layer, where attention is no kernel
    kernels      one layer's as they are gathered, twice: the next is fetched meanwhile; as many
                 float32 gradients before they are scattered
    logits       float32 and their gradient, of T / loss_chunks tokens

The multiples of layer and scores are fitted to what compilers needed: libtpu 0.0.42.1 for v3, v5e
and v5p, XLA for H200, presets 300m to 7b, remat "full", "projections" and "dots".
What was compiled for experiments/results/plans.json needs 0.9 to 1.03 of its estimate.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from lvm_jax import mesh as mesh_lib
from lvm_jax import trees
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.planning import hardware, traffic
from lvm_jax.planning.collectives import Collective, Kind
from lvm_jax.planning.topologies import Topology
from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment

_FLOAT32 = 4
# Rows of a TPU's bfloat16 tile.
_TILE = 16
# inputs, targets, segments, positions and weights of a row.
_BATCH_ARRAYS = 5
# Columns of a TPU's tile: heads that are narrower take as much.
_LANES = 128
# Activations of a layer that live at once, of those that remat "none" keeps: a GPU's compiler fuses
# more of them.
_LAYERS = {"tpu": 1.5, "gpu": 0.6, "cpu": 1.5}
# Arrays as large as the scores that live at once: blocks of the lower triangle, or all of them.
_SCORES = {"blockwise": 1.6, "xla": 2.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes of one device; see the top of the file."""

    arguments: float
    gradients: float
    saved: float
    layer: float
    scores: float
    kernels: float
    logits: float

    @property
    def temporaries(self) -> float:
        """All but the arguments."""
        return self.total - self.arguments

    @property
    def total(self) -> float:
        """All of them."""
        return sum(dataclasses.asdict(self).values())


def memory(
    experiment: TransformerExperiment, sizes: Sequence[int], topology: Topology
) -> MemoryEstimate:
    """The memory of a step.

    Args:
        experiment: what is trained.
        sizes: of the mesh, in the order of `mesh.AXES`; its own may hold -1.
        topology: what it runs on: its platform decides what activations and attention take.
    """
    model, mesh = experiment.model, dict(zip(mesh_lib.AXES, sizes))
    shards = _parameter_bytes(experiment, mesh)
    tokens = _tokens(experiment, mesh)
    size, tensor = _itemsize(model), mesh["tensor"]
    lanes = _LANES if topology.platform == "tpu" else 1
    kept = lambda remat: traffic.kept_elements(
        dataclasses.replace(model, remat=remat), tensor, lanes=lanes
    )
    micro_batches = 1 if experiment.accumulation == 1 else 2
    vocabulary = model.vocabulary.padded_size
    matrices = model.matrix_parameters_per_layer / tensor
    scores = _FLOAT32 * tokens * _keys(experiment, topology, mesh["context"])
    return MemoryEstimate(
        arguments=_copies(experiment) * shards
        + _BATCH_ARRAYS * _FLOAT32 * tokens * experiment.accumulation,
        gradients=micro_batches * shards,
        saved=tokens * size * model.num_layers * kept(model.remat),
        layer=_LAYERS[topology.platform] * tokens * size * kept("none"),
        scores=scores * model.num_heads / tensor,
        kernels=0.0 if mesh["fsdp"] == 1 else 2 * (size + _FLOAT32) * matrices,
        logits=2 * _FLOAT32 * tokens / experiment.loss_chunks * vocabulary / tensor,
    )


def _keys(experiment: TransformerExperiment, topology: Topology, context: int) -> float:
    """Scores of a query that live at once, in arrays as large as all of them."""
    name = _attention(experiment.model, experiment.data.context, topology)
    keys = experiment.data.context / context
    return _SCORES.get(name, 0.0) * (keys if name == "xla" else keys / 2)


@functools.lru_cache(maxsize=64)
def _attention(model: TransformerConfig, context: int, topology: Topology) -> str:
    """The backend that runs on devices of a topology."""
    device = np.asarray(hardware.fake_devices(topology)[:1], dtype=object)
    mesh = Mesh(device.reshape((1,) * len(mesh_lib.AXES)), mesh_lib.AXES)
    return transformer.choose_attention(model, context, mesh).name


def collectives(
    experiment: TransformerExperiment, sizes: Sequence[int], topology: Topology
) -> list[Collective]:
    """What a step sends, as `collectives.find` would find it in a compiled one.

    Parameters are gathered in the compute dtype in the forward and in the backward pass of each
    micro-batch, gradients are scattered in float32 and summed over data in each; with tensor
    parallelism the residual stream is gathered and scattered around both halves of a layer. Where
    fsdp spans a TPU slice, its compiler all-reduces gradients instead, and shards are as large as
    the tiles that they are kept in. Kernels whose products are of eight bits are gathered in these,
    and their gradients are all-reduced.

    Args:
        experiment, sizes: see `memory`.
        topology: what it runs on.
    """
    model, mesh = experiment.model, dict(zip(mesh_lib.AXES, sizes))
    split = _parameter_bytes(experiment, mesh)
    on_tpu, slice_size = topology.platform == "tpu", topology.num_devices // topology.num_slices
    rows = model.hidden_dim / mesh["fsdp"]
    padding = math.ceil(rows / _TILE) * _TILE / rows if on_tpu else 1.0
    eight_bits = model.products != "compute"
    whole = on_tpu and mesh["fsdp"] == slice_size > mesh_lib.SMALL_SLICE
    gathered = split * mesh["fsdp"] * padding
    passes, size, layers = experiment.accumulation, _itemsize(model), model.num_layers
    kept = 1 if eight_bits else size
    found = []

    def add(kind: Kind, axis: str, count: int, bytes_: float) -> None:
        if mesh[axis] > 1:
            members = _group(sizes, axis)
            found.append(
                Collective(
                    kind,
                    count,
                    int(bytes_),
                    (axis,),
                    mesh[axis],
                    members=members,
                )
            )

    add("all-gather", "fsdp", 2 * passes * layers, 2 * passes * gathered * kept / _FLOAT32)
    scatter: Kind = "all-reduce" if whole or eight_bits else "reduce-scatter"
    add(scatter, "fsdp", passes * layers, passes * gathered)
    # In every micro-batch: compilers do not wait for the sum of all.
    add("all-reduce", "data", passes * layers, passes * split)
    stream = _tokens(experiment, mesh) * model.hidden_dim * size * passes
    halves = 2 * layers * (3 if model.remat == "full" else 2)
    add("all-gather", "tensor", halves * passes, halves * stream)
    add("reduce-scatter", "tensor", halves * passes, halves * stream)
    return found


def divides(experiment: TransformerExperiment, sizes: Sequence[int]) -> bool:
    """Whether parameters, rows and their ids divide over a mesh of these sizes."""
    mesh = dict(zip(mesh_lib.AXES, sizes))
    ways = lambda logical: math.prod(mesh[axis] for axis in experiment.rules.mesh_axes(logical))
    rows, length = experiment.batch_size, experiment.data.context
    return (
        rows % (experiment.accumulation * ways("batch")) == 0
        and all(
            length % (experiment.loss_chunks * ways(logical)) == 0
            for logical in ("length", "residual_length")
        )
        and all(
            size % ways(logical) == 0
            for shape, axes in _parameters(experiment.model)
            for size, logical in zip(shape, axes)
        )
    )


@functools.lru_cache(maxsize=16)
def _parameters(model: TransformerConfig) -> list[tuple[tuple[int, ...], tuple[Any, ...]]]:
    """(shape, logical axes) of every parameter."""
    axes = trees.flatten(transformer.logical_axes(model))
    shapes = trees.flatten(transformer.abstract_params(model))
    return [(tuple(shape.shape), tuple(axes[name])) for name, shape in shapes.items()]


def _parameter_bytes(experiment: TransformerExperiment, mesh: Mapping[str, int]) -> float:
    """float32 bytes of the parameters on one device."""
    rules = experiment.rules
    return sum(
        _FLOAT32
        * math.prod(shape)
        / math.prod(mesh[axis] for logical in axes for axis in rules.mesh_axes(logical))
        for shape, axes in _parameters(experiment.model)
    )


def _copies(experiment: TransformerExperiment) -> float:
    """float32 arrays as large as the parameters that the state keeps on its devices."""
    optimizer = experiment.optimizer
    first = 0.5 if optimizer.first_moment_dtype == "bfloat16" else 1.0
    moments = 0.0 if optimizer.offload else first + 1.0
    return 1.0 + moments + (1.0 if experiment.ema.decay else 0.0)


def _tokens(experiment: TransformerExperiment, mesh: Mapping[str, int]) -> float:
    """Of a micro-batch on one device."""
    parts = experiment.accumulation * mesh["data"] * mesh["fsdp"] * mesh["context"]
    return experiment.batch_size * experiment.data.context / parts


def _itemsize(model: TransformerConfig) -> int:
    return 2 if model.dtype == "bfloat16" else _FLOAT32


def _group(sizes: Sequence[int], axis: str) -> tuple[int, ...]:
    """The first group along an axis, as flat positions in the mesh."""
    number = mesh_lib.AXES.index(axis)
    positions = np.moveaxis(np.arange(math.prod(sizes)).reshape(sizes), number, -1)
    return tuple(positions.reshape(-1, sizes[number])[0].tolist())
