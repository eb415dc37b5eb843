"""Products in eight bits against products in float32, alone and inside the model."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lvm_jax import partition, trees
from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.model import linear, low_precision, transformer
from lvm_jax.model.low_precision import Parts
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.training.transformer import loss
from lvm_jax.training.transformer.batch import random_batch

CONFIG = dataclasses.replace(PRESETS["debug"], init_scale=0.1)
BITS = ("int8", "fp8")
# Split as on a mesh of data 2, context 2 and tensor 2.
WHOLE, PARTS = Parts(), Parts(leading=(2, 2), inner=2, outer=2)


def operands(dtype="float32", rows=2, length=64, inner=512, outer=1024):
    """Normal activations, kernel and gradient of their product."""
    rng = np.random.default_rng(0)
    shapes = ((rows, length, inner), (inner, outer), (rows, length, outer))
    x, kernel, g = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes)
    return x.astype(dtype), kernel, g.astype(dtype)


@functools.partial(jax.jit, static_argnums=0)
def pulled(product, x, kernel, g):
    """(y, dx, dkernel)."""
    y, pull = jax.vjp(product, x, kernel)
    return (y, *pull(g))


def product_in(bits, parts=WHOLE):
    return lambda x, kernel: low_precision.product(x, kernel, bits, parts)


def error(value, expected):
    value, expected = (np.asarray(each, np.float32) for each in (value, expected))
    return np.linalg.norm(value - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("dtype, parts", [("float32", WHOLE), ("bfloat16", PARTS)])
@pytest.mark.parametrize("bits, most", [("int8", (0.012,) * 3), ("fp8", (0.039, 0.06, 0.06))])
def test_errors_are_those_of_rounding(bits, most, parts, dtype):
    """Of normal values, whose largest of some hundred is about three standard deviations.

    int8 has steps of 3/127 of one: rounding errs by step / sqrt(12) = 0.7% on each side, 1% on
    both. e4m3 keeps 3 bits, which errs by 2.6% on each side and 3.7% on both; e5m2 keeps 2 and errs
    by 5.2%, 5.9% beside an e4m3. Neither error shrinks with the sum, since all terms have it.
    """
    x, kernel, g = operands(dtype)
    found = pulled(product_in(bits, parts), x, kernel, g)
    assert [value.dtype for value in found] == [x.dtype, x.dtype, jnp.float32]
    expected = pulled(linear.product, *(each.astype(jnp.float32) for each in (x, kernel, g)))
    for value, wanted, limit in zip(found, expected, most):
        assert 0.3 * limit < error(value, wanted) < limit


@pytest.mark.parametrize("bits", BITS)
def test_what_eight_bits_hold_is_exact(bits):
    """Powers of two, in rows whose largest is what the type's largest is."""
    rng = np.random.default_rng(0)
    powers = 2.0 ** rng.integers(0, 4, (2, 24, 8)) * rng.choice([-1, 1], (2, 24, 8))
    x, kernel = powers[0], powers[1].T
    most = 127 if bits == "int8" else 448
    x[:, 0], kernel[0] = most, most
    y = low_precision.product(jnp.float32(x), jnp.float32(kernel), bits)
    np.testing.assert_array_equal(y, x @ kernel)


def test_scales_follow_rows_and_columns():
    """A large row and a large column cost the others nothing."""
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((8, 64)), rng.standard_normal((64, 16))
    rows, columns = np.ones((8, 1)), np.ones((1, 16))
    rows[3], columns[:, 5] = 2.0**14, 2.0**-14
    product = lambda x, kernel: low_precision.product(jnp.float32(x), jnp.float32(kernel), "int8")
    np.testing.assert_array_equal(
        product(x * rows, kernel * columns), np.asarray(product(x, kernel)) * rows * columns
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_what_is_not_finite_stays_so(bits, value):
    """A step that diverges must be seen; integers have no NaN."""
    x, kernel, _ = operands(length=128)  # of this size XLA's maximum on CPU loses NaN
    y = low_precision.product(x.at[0, 1, 7].set(value), kernel, bits)
    finite = np.isfinite(y).all(axis=-1)
    assert not np.isfinite(y[0, 1]).any() and finite.sum() == finite.size - 1


@pytest.mark.parametrize("bits", BITS)
def test_nothing_but_zeros_gives_zeros(bits):
    zeros = map(jnp.zeros_like, operands(length=2, inner=8, outer=4))
    for value in pulled(product_in(bits), *zeros):
        np.testing.assert_array_equal(value, np.zeros_like(value))


def test_sums_of_integers_fit():
    """The largest values throughout, more of them than int32 holds the sum of."""
    size = 2 * low_precision.MOST_SUMMED
    ones = jnp.ones((1, size, 1))
    *_, dkernel = pulled(product_in("int8"), ones, jnp.ones((1, 1)), ones)
    assert dkernel[0, 0] == size


@pytest.mark.parametrize("bits", BITS)
def test_devices_compute_what_one_does_of_the_same_parts(bits):
    mesh = make_mesh(MeshConfig(data=2, fsdp=1, context=2, tensor=2))
    x, kernel, g = operands(length=8, inner=32, outer=48)
    run = functools.partial(pulled, product_in(bits, PARTS))
    split = P("data", "context", "tensor")
    where = [NamedSharding(mesh, spec) for spec in (split, P(None, "tensor"), split)]
    found = jax.jit(run, in_shardings=where)(x, kernel, g)
    for value, expected in zip(found, jax.jit(run)(x, kernel, g)):
        # Parts are summed in another order.
        np.testing.assert_allclose(value, expected, atol=1e-5 * np.abs(expected).max())


@functools.cache
def drawn():
    """Parameters, once for all of these networks."""
    return jax.jit(lambda: transformer.init_params(CONFIG, 0))()


def loss_and_gradients(mesh=None, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    rows = jax.tree.map(jnp.asarray, random_batch(config.vocabulary.num_codes, 8, 32, packed=True))
    rules = partition.Rules()

    def mean(params):
        total, sums = loss.loss_sums(config, params, rows, mesh=mesh, rules=rules)
        return total / sums["tokens"]

    value, gradients = jax.jit(jax.value_and_grad(mean))(drawn())
    return float(value), trees.flatten(jax.device_get(gradients))


@pytest.fixture(scope="module")
def plain():
    return loss_and_gradients()


@pytest.fixture(scope="module")
def eight_bits():
    """Of each, loss and gradients."""
    return {bits: loss_and_gradients(products=bits) for bits in BITS}


# Errors of a gradient after the products of two layers, forward and backward.
MOST = {"int8": 0.06, "fp8": 0.25}


@pytest.mark.parametrize("bits", BITS)
def test_the_model_is_nearly_the_same(plain, eight_bits, bits):
    """Errors of the layers' products alone: the head's have none."""
    value, gradients = eight_bits[bits]
    assert abs(value - plain[0]) < 0.01 * plain[0]
    errors = {name: error(gradients[name], expected) for name, expected in plain[1].items()}
    assert 0.002 < max(errors.values()) < MOST[bits], errors


def test_remat_and_scan_change_nothing(eight_bits):
    value, gradients = eight_bits["int8"]
    again, others = loss_and_gradients(products="int8", remat="dots", scan=False)
    assert again == pytest.approx(value, rel=1e-6)
    for name, expected in gradients.items():
        # A value between two steps of eight bits may fall to either when sums round elsewhere.
        assert error(others[name], expected) < 0.01, name


def test_a_mesh_gives_one_devices_loss_and_gradients(eight_bits):
    """But for the factors, of which each part has its own: as far from float32, not further."""
    value, gradients = eight_bits["int8"]
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    found, others = loss_and_gradients(mesh, products="int8")
    assert found == pytest.approx(value, rel=3e-3)
    for name, expected in gradients.items():
        assert error(others[name], expected) < MOST["int8"], name


def test_only_the_matrices_of_layers_are_multiplied_in_eight_bits():
    """Seven matrices, three products each; none of the head's, and none by default."""

    def jaxpr(products):
        config = dataclasses.replace(CONFIG, products=products)
        score = lambda params, ids: transformer.apply(config, params, ids).sum()
        shapes = transformer.abstract_params(config), jax.ShapeDtypeStruct((2, 16), jnp.int32)
        return str(jax.make_jaxpr(jax.grad(score))(*shapes))

    assert jaxpr("int8").count("preferred_element_type=int32") == 21
    assert "f8_e4m3fn[" in jaxpr("fp8") and "f8_e5m2[" in jaxpr("fp8")
    assert "i8[" not in jaxpr("compute") and "f8_e" not in jaxpr("compute")
