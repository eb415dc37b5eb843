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


def test_the_result_may_be_wider():
    x = jnp.ones((3, 4), jnp.bfloat16)
    assert linear.product(x, jnp.ones((4, 2)), jnp.float32).dtype == jnp.float32


@pytest.mark.parametrize("columns", [linear.BLOCK_COLUMNS * 3, linear.BLOCK_COLUMNS + 1])
@pytest.mark.parametrize("rows", [1, 5])
def test_the_layout_for_few_rows_changes_nothing(rows, columns):
    x = jax.random.normal(jax.random.key(0), (rows, 24))
    kernel = jax.random.normal(jax.random.key(1), (24, columns))
    product = linear.few_rows_product(x, linear.for_few_rows(kernel))
    np.testing.assert_allclose(product, x @ kernel, atol=2e-6 * np.abs(x @ kernel).max())
