"""Training in products of eight bits learns as training in float32 does."""

import dataclasses

import jax
import pytest

from lvm_jax import partition
from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.training.transformer import next_token
from lvm_jax.training.transformer.state import make_init
from tests.training.transformer.test_next_token import MODEL, OPTIMIZER, make_batch

NUM_STEPS = 12


def losses(products):
    """Of steps on one batch, on one device."""
    model = dataclasses.replace(MODEL, products=products)
    mesh = make_mesh(MeshConfig(data=1, fsdp=1), jax.devices()[:1])
    arguments = (model, OPTIMIZER, mesh, partition.Rules())
    step, state, found = next_token.make_step(*arguments), make_init(*arguments, 0)(), []
    for _ in range(NUM_STEPS):
        batch = jax.device_put(make_batch(0), partition.batch_sharding(mesh))
        state, metrics = step(state, batch)
        found.append(float(metrics["loss"]))
    return found


@pytest.fixture(scope="module")
def plain():
    return losses("compute")


@pytest.mark.parametrize("products, most", [("int8", 0.02), ("fp8", 0.08)])
def test_it_learns_as_fast(plain, products, most):
    """By heart; what differs is noise of the products, which adds up over the steps."""
    found = losses(products)
    learned = plain[0] - plain[-1]
    assert learned > 0.5
    assert max(abs(one - other) for one, other in zip(found, plain)) < most * learned
