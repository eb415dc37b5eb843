"""Products with weights against plain matrix products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.model import linear


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_product_has_the_gradients_of_a_matrix_product(dtype):
    x, g = (jax.random.normal(jax.random.key(i), (2, 5, n)) for i, n in enumerate((12, 7)))
    kernel = jax.random.normal(jax.random.key(2), (12, 7))
    y, pull = jax.vjp(linear.product, x.astype(dtype), kernel)
    dx, dkernel = pull(g.astype(dtype))
    assert (y.dtype, dx.dtype, dkernel.dtype) == (dtype, dtype, "float32")
    expected_y, expected_pull = jax.vjp(lambda x, w: x @ w, x, kernel)
    # Rounding of inputs (and of y and dx) to 8 bits, or of float32 sums.
    rtol = 0.02 if dtype == "bfloat16" else 2e-6
    for one, other in zip((y, dx, dkernel), (expected_y, *expected_pull(g))):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one.astype("float32"), other, atol=rtol * scale)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_keeping_the_cast_kernel_changes_no_bit(dtype):
    """Against the formulation that keeps the float32 kernel and casts it again."""

    @jax.custom_vjp
    def casts_again(x, kernel):
        return x @ kernel.astype(x.dtype)

    def backward(residuals, g):
        x, kernel = residuals
        dx = jax.lax.dot_general(g, kernel.astype(g.dtype), (((2,), (1,)), ((), ())))
        over = (((0, 1), (0, 1)), ((), ()))
        return dx, jax.lax.dot_general(x, g, over, preferred_element_type=jnp.float32)

    casts_again.defvjp(lambda x, kernel: (casts_again(x, kernel), (x, kernel)), backward)
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = ((2, 5, 24), (2, 5, 7), (24, 7))
    x, g, kernel = (jax.random.normal(key, shape) for key, shape in zip(keys, shapes))
    x, g = x.astype(dtype), g.astype(dtype)
    results = []
    for product in (linear.product, casts_again):
        y, pull = jax.vjp(product, x, kernel)
        results.append((y, *pull(g)))
    for one, other in zip(*results):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_the_backward_pass_keeps_no_float32_kernel():
    x, kernel = jnp.ones((3, 4), jnp.bfloat16), jnp.ones((4, 2))
    _, pull = jax.vjp(linear.product, x, kernel)
    assert {leaf.dtype for leaf in jax.tree.leaves(pull)} == {jnp.dtype("bfloat16")}


def test_the_result_may_be_wider():
    x = jnp.ones((3, 4), jnp.bfloat16)
    assert linear.product(x, jnp.ones((4, 2)), jnp.float32).dtype == jnp.float32
