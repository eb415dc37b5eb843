"""Eight devices compute what one does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax import partition, trees
from lvm_jax.mesh import AXES, MeshConfig, make_mesh
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.partition import Rules

CONFIG = PRESETS["debug"]
BATCH, LENGTH = 8, 32


def batch_arrays():
    """Packed rows: three sentences and some padding each."""
    ids = jax.random.randint(jax.random.key(1), (BATCH, LENGTH), 0, CONFIG.vocabulary.size)
    segments = np.repeat([1, 2, 3, 0], [9, 13, 6, 4])
    positions = np.concatenate([np.arange(n) for n in (9, 13, 6, 4)])
    wide = lambda row: jnp.broadcast_to(jnp.asarray(row, jnp.int32), ids.shape)
    return ids, wide(segments), wide(positions)


def loss_and_grads(mesh, params, batch):
    def loss_of(params, ids, segments, positions):
        logits = transformer.apply(CONFIG, params, ids, segments, positions, mesh=mesh)
        logp = jax.nn.log_softmax(logits)
        picked = jnp.take_along_axis(logp, jnp.roll(ids, -1, 1)[..., None], axis=-1)
        return -jnp.mean(picked)

    return jax.jit(jax.value_and_grad(loss_of))(params, *batch)


@pytest.fixture(scope="module")
def params():
    return jax.jit(lambda: transformer.init_params(CONFIG, 0))()


@pytest.fixture(scope="module")
def alone(params):
    return jax.device_get(loss_and_grads(None, params, batch_arrays()))


def on_mesh(params, sizes):
    mesh = make_mesh(MeshConfig(**dict(zip(AXES, sizes))))
    shapes = transformer.abstract_params(CONFIG)
    where = partition.shardings(mesh, Rules(), transformer.logical_axes(CONFIG), shapes)
    params = jax.device_put(params, where)
    batch = jax.device_put(batch_arrays(), partition.batch_sharding(mesh))
    return jax.device_get(loss_and_grads(mesh, params, batch))


@pytest.mark.parametrize(
    "sizes", [(2, 2, 1, 2), (8, 1, 1, 1), (1, 4, 1, 2), (1, 1, 8, 1), (1, 2, 2, 2)]
)
def test_a_mesh_gives_the_single_device_loss_and_gradients(params, alone, sizes):
    loss, grads = on_mesh(params, sizes)
    # Partial sums over devices round in another order than one long sum: a few units of 2**-24.
    np.testing.assert_allclose(loss, alone[0], rtol=1e-6)
    for name, grad in trees.flatten(grads).items():
        want = trees.flatten(alone[1])[name]
        np.testing.assert_allclose(grad, want, atol=3e-6 * np.abs(want).max(), err_msg=name)


def test_a_mesh_is_bitwise_the_same_from_run_to_run(params):
    first, second = on_mesh(params, (1, 2, 2, 2)), on_mesh(params, (1, 2, 2, 2))
    equal = jax.tree.map(lambda a, b: np.array_equal(a, b), first, second)
    assert jax.tree.all(equal)
