"""What compilers of absent hardware make of the step; one file, so that one process runs it.

Skipped where they are not installed: the extras plan (libtpu) and plan-gpu.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lvm_jax.model import low_precision
from lvm_jax.planning import compiling, estimate, hardware, hlo, plan, topologies
from lvm_jax.training.transformer import transformer_experiment

_FLOAT32, _BFLOAT16 = 4, 2


def experiment(size, mesh):
    """Few rows of few ids: the program is the same, and compiles as slowly."""
    return transformer_experiment.build_experiment(
        {
            "batch_size": 16,
            "data": {"shards": "nowhere", "context": 512},
            "model": {"preset": size},
            "mesh": mesh,
            "loop": {"num_steps": "1 epoch"},
        }
    )


CASES = {
    "v5e:2x4": ("100m", {"data": 2, "fsdp": 4}),
    "v4:2x2x2": ("300m", {"data": 2, "fsdp": 4}),
    "h100:8": ("100m", {"data": 2, "fsdp": 4}),
}


@pytest.fixture(scope="module", params=CASES)
def made(request, tmp_path_factory):
    """(experiment, its plan on a topology)."""
    topology, (size, mesh) = topologies.parse(request.param), CASES[request.param]
    missing = hardware.missing_compiler(topology)
    if missing:
        pytest.skip(missing)
    config = experiment(size, mesh)
    cache = tmp_path_factory.mktemp("plans") / "plans.jsonl"
    return config, plan.make(size, config, topology, cache=cache, price=1.0)


def moved(made, *kinds, axis="fsdp"):
    """GiB of some kinds over an axis, hidden ones (see `collectives.Form`) included."""
    of_kind = lambda move: move.kind in kinds or any(kind in move.form for kind in kinds)
    return sum(move.bytes for move in made.moves if of_kind(move) and axis in move.axes)


def test_memory_is_what_sizes_say(made):
    config, found = made
    guess = estimate.memory(config, tuple(found.mesh.values()), topologies.parse(found.topology))
    assert found.method == "compiled" and found.memory.fits
    # Tiles are padded: 160 rows of 640 columns to whole tiles, and the batch's rows.
    assert 1.0 <= found.memory.arguments / guess.arguments < 1.2
    # An estimate has to tell what fits from what does not, not more.
    assert 0.4 < guess.total / found.memory.needed < 2.0
    assert found.memory.peak <= found.memory.needed


def test_parameters_are_gathered_once_for_each_use(made):
    config, found = made
    parameters = config.model.num_parameters * _BFLOAT16
    # Forward and backward; remat gathers the products that it makes again once more, and compilers
    # may gather the embedding and the head in float32.
    assert 1.9 * parameters < moved(found, "all-gather") < 4.2 * parameters


def test_gradients_are_reduced_once(made):
    config, found = made
    gradients = config.model.num_parameters * _FLOAT32
    over_fsdp = moved(found, "reduce-scatter", "all-reduce")
    assert 0.8 * gradients < over_fsdp < 1.7 * gradients
    over_data = moved(found, "all-reduce", "reduce-scatter", "all-gather", axis="data")
    assert over_data > 0.8 * gradients / found.mesh["fsdp"]


def test_times_are_bounds(made):
    _, found = made
    assert 1.0 < found.flops["executed"] / found.flops["model"] < 1.8
    assert 0 < found.bounds.serial_mfu <= found.bounds.mfu < 1
    assert found.bounds.best_seconds >= found.bounds.compute_seconds


@pytest.mark.parametrize("name", ["v5e:2x2", "v6e:2x2"])
def test_products_in_eight_bits_are_so_on_the_chip(name):
    """Forward and backward, between devices that split rows and both dims of the matrix."""
    topology = topologies.parse(name)
    missing = hardware.missing_compiler(topology)
    if missing:
        pytest.skip(missing)
    devices = np.asarray(hardware.compile_devices(topology)).reshape(2, 2)
    mesh = Mesh(devices, ("fsdp", "tensor"))
    shape = lambda spec, *sizes: jax.ShapeDtypeStruct(
        sizes, jnp.bfloat16, sharding=NamedSharding(mesh, spec)
    )
    parts = low_precision.Parts(leading=(2, 1), outer=2)

    def products(x, kernel, g):
        product = lambda x, kernel: low_precision.product(x, kernel, "int8", parts)
        y, pull = jax.vjp(product, x, kernel.astype(jnp.float32))
        return y, *pull(g)

    rows, out = P("fsdp", None, None), P("fsdp", None, "tensor")
    x, g = shape(rows, 4, 256, 256), shape(out, 4, 256, 512)
    kernel = shape(P("fsdp", "tensor"), 256, 512)
    with compiling.uncached():
        text = jax.jit(products).lower(x, kernel, g).compile().as_text()
    computations = hlo.parse(text).computations.values()
    types = [
        [lines[name].shape.partition("[")[0] for name in line.inputs] + [line.shape[:3]]
        for lines in computations
        for line in lines.values()
        if line.opcode in ("convolution", "dot")
    ]
    assert len(types) >= 3 and all(each == ["s8", "s8", "s32"] for each in types), types
