"""Products of few rows with a matrix against plain matrix products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.model import few_rows


def operands(rows, columns):
    x = jax.random.normal(jax.random.key(0), (rows, 24))
    return x, jax.random.normal(jax.random.key(1), (24, columns))


@pytest.mark.parametrize("columns", [3 * 64, 16, 17])
@pytest.mark.parametrize("rows", [5, few_rows.MOST_BLOCKED_ROWS + 1])
def test_the_layout_changes_nothing(rows, columns):
    x, kernel = operands(rows, columns)
    product = few_rows.product(x, few_rows.lay_out(kernel, rows))
    np.testing.assert_allclose(product, x @ kernel, atol=2e-6 * np.abs(x @ kernel).max())


@pytest.mark.parametrize("columns", [64, 17])
@pytest.mark.parametrize(("precision", "steps"), [("bfloat16", 2**8), ("int8", 127)])
def test_lower_precision_is_wrong_by_its_rounding(precision, steps, columns):
    x, kernel = operands(5, columns)
    matrix = few_rows.lay_out(kernel, 5, precision)
    assert matrix.kernel.dtype == precision
    product = few_rows.product(x, matrix)
    assert product.dtype == jnp.float32
    # Both operands are off by half a step at most, and errors of a sum add up like random ones.
    largest = np.abs(x).max() * np.abs(kernel).max() / steps
    np.testing.assert_allclose(product, x @ kernel, atol=4 * largest * np.sqrt(24))
    assert (product != x @ kernel).any()


def test_columns_of_zeros_stay_zero_in_int8():
    matrix = few_rows.lay_out(jnp.zeros((24, 64)), 2, "int8")
    np.testing.assert_array_equal(few_rows.product(jnp.zeros((2, 24)), matrix), 0)
