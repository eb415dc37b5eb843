"""Products with weight matrices, written the way compilers run them best.

Shapes: leading dims "..." (rows, positions), I input dim, O output dim.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


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
