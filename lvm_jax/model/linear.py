"""Products with weight matrices, written the way compilers run them best.

Shapes: leading dims "..." (rows, positions), I input dim, O output dim, N blocks of C columns.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

# Columns per block of a matrix laid out for few rows on CPU: the width of its matrix kernel.
BLOCK_COLUMNS = 16


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x_I: Array, kernel_IO: Array, dtype: DTypeLike | None = None) -> Array:
    """x [..., I] times a float32 kernel [I, O], multiplied in x's dtype.

    JAX would derive the kernel's gradient as (gradient^T x) and transpose that; on CPU this costs a
    transposed copy of an activation and the fast product. Here it is x^T gradient, one product; it
    also stays float32 when activations are bfloat16.

    Args:
        x_I: activations.
        kernel_IO: the parameter.
        dtype: of the result; None is x's.
    """
    return jnp.matmul(x_I, kernel_IO.astype(x_I.dtype), preferred_element_type=dtype)


def _forward(x_I: Array, kernel_IO: Array, dtype: DTypeLike | None):
    # What is kept for the backward pass is the cast kernel: where parameters are split over devices
    # it is then gathered once for both products of that pass, and in the compute dtype.
    kernel_IO = kernel_IO.astype(x_I.dtype)
    return product(x_I, kernel_IO, dtype), (x_I, kernel_IO)


def _backward(dtype: DTypeLike | None, residuals, g_O: Array):
    x_I, kernel_IO = residuals
    g_O = g_O.astype(x_I.dtype)
    last, leading = g_O.ndim - 1, tuple(range(g_O.ndim - 1))
    dx_I = jax.lax.dot_general(g_O, kernel_IO, (((last,), (1,)), ((), ())))
    dkernel_IO = jax.lax.dot_general(
        x_I, g_O, ((leading, leading), ((), ())), preferred_element_type=jnp.float32
    )
    return dx_I, dkernel_IO


product.defvjp(_forward, _backward)


def for_few_rows(kernel_IO: Array) -> Array:
    """A matrix in the layout `few_rows_product` runs fastest with on this platform.

    On CPU [N, I, C]: blocks of columns, each read once and as a whole. A plain [I, O] product
    repacks the whole matrix on every call, which takes longer than a few rows' arithmetic.
    """
    if jax.default_backend() != "cpu" or kernel_IO.shape[1] % BLOCK_COLUMNS:
        return kernel_IO
    return jnp.swapaxes(kernel_IO.reshape(kernel_IO.shape[0], -1, BLOCK_COLUMNS), 0, 1)


def few_rows_product(x_BI: Array, kernel: Array, dtype: DTypeLike | None = None) -> Array:
    """x [B, I] times a matrix from `for_few_rows`; [B, O]."""
    if kernel.ndim == 2:
        return jnp.matmul(x_BI, kernel, preferred_element_type=dtype)
    x_NBI = jnp.broadcast_to(x_BI, (kernel.shape[0], *x_BI.shape))
    y_NBC = jnp.einsum("NBI,NIC->NBC", x_NBI, kernel, preferred_element_type=dtype)
    return jnp.swapaxes(y_NBC, 0, 1).reshape(x_BI.shape[0], -1)
