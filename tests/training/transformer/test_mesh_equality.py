"""Eight devices compute what one does, however they are laid out."""

import jax
import numpy as np
import pytest

from lvm_jax import partition, trees
from lvm_jax.mesh import AXES, MeshConfig, factorizations, make_mesh
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.partition import Rules
from lvm_jax.training.transformer import loss

CONFIG = PRESETS["debug"]
ROWS, LENGTH = 8, 32
# The debug preset has two key and value heads, the least of what a mesh splits.
DIVIDE = [sizes for sizes in factorizations(8) if sizes[3] <= 2]


RULES = Rules()


def make_batch():
    """Packed rows: three sentences and some padding each; weights that differ."""
    rng = np.random.default_rng(1)
    lengths = (9, 13, 6, 4)
    wide = lambda row: np.broadcast_to(np.asarray(row, np.int32), (ROWS, LENGTH))
    ids = rng.integers(0, CONFIG.vocabulary.num_codes, (2, ROWS, LENGTH), dtype=np.int32)
    segments = wide(np.repeat([1, 2, 3, 0], lengths))
    return {
        "inputs": ids[0],
        "targets": ids[1],
        "segments": segments,
        "positions": wide(np.concatenate([np.arange(length) for length in lengths])),
        "weights": (rng.random((ROWS, LENGTH)) * (segments > 0)).astype(np.float32),
    }


def loss_and_grads(mesh, rules, params, batch):
    def mean(params, batch):
        total, sums = loss.loss_sums(CONFIG, params, batch, mesh=mesh, rules=rules)
        return total / sums["tokens"]

    return jax.jit(jax.value_and_grad(mean))(params, batch)


@pytest.fixture(scope="module")
def params():
    return jax.jit(lambda: transformer.init_params(CONFIG, 0))()


@pytest.fixture(scope="module")
def alone(params):
    return jax.device_get(loss_and_grads(None, None, params, make_batch()))


def on_mesh(params, sizes, rules=RULES):
    mesh = make_mesh(MeshConfig(**dict(zip(AXES, sizes))))
    shapes = transformer.abstract_params(CONFIG)
    where = partition.shardings(mesh, rules, transformer.logical_axes(CONFIG), shapes)
    params = jax.device_put(params, where)
    batch = jax.device_put(make_batch(), partition.batch_sharding(mesh, rules))
    return jax.device_get(loss_and_grads(mesh, rules, params, batch))


def assert_equal(result, expected):
    # Partial sums over devices round in another order than one long sum: a few units of 2**-24.
    np.testing.assert_allclose(result[0], expected[0], rtol=1e-6)
    wanted = trees.flatten(expected[1])
    for name, grad in trees.flatten(result[1]).items():
        most = np.abs(wanted[name]).max()
        np.testing.assert_allclose(grad, wanted[name], atol=3e-6 * most, err_msg=name)


@pytest.mark.parametrize("sizes", DIVIDE, ids=lambda sizes: "x".join(map(str, sizes)))
def test_every_mesh_gives_the_single_device_loss_and_gradients(params, alone, sizes):
    assert_equal(on_mesh(params, sizes), alone)


@pytest.mark.parametrize("sizes", [sizes for sizes in factorizations(8) if sizes not in DIVIDE])
def test_the_others_are_refused_by_name(params, sizes):
    with pytest.raises(ValueError, match=r"kv_heads=2\) does not divide over mesh\.tensor=[48]"):
        on_mesh(params, sizes)


@pytest.mark.parametrize("sizes", [(2, 1, 2, 2), (1, 4, 1, 2)])
def test_a_residual_stream_that_tensor_does_not_split_gives_it_too(params, alone, sizes):
    assert_equal(on_mesh(params, sizes, Rules(residual_length="context")), alone)


def test_a_mesh_is_bitwise_the_same_from_run_to_run(params):
    first, second = on_mesh(params, (1, 2, 2, 2)), on_mesh(params, (1, 2, 2, 2))
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), first, second))
