"""Products with weight matrices in eight bits, forward and backward.

What is multiplied is first scaled: every vector that a sum runs over gets a factor of its own,
which makes its largest value the largest that eight bits hold; then it is rounded. A row of
activations has one factor so, a column of the matrix another, and the two multiply the sum. Nothing
is kept from step to step, and parameters stay float32. See Dettmers et al. 2022 (arXiv 2208.07339)
for int8 and Micikevicius et al. 2022 (arXiv 2209.05433) for the two floats.

    int8    integers -127..127, summed exactly in int32
    fp8     e4m3 for activations and weights; e5m2, with a wider range, for gradients; float32 sums

Where devices split what is summed over, each scales and sums its part by itself, and the parts are
added as they are elsewhere: no factor travels, and no int32 either, of twice bfloat16's bytes.

Shapes: leading dims "..." (rows, positions), I input dim, O output dim.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

EightBits = Literal["int8", "fp8"]

# Of values, and of gradients.
_TYPES = {
    "int8": (jnp.int8, jnp.int8),
    "fp8": (jnp.float8_e4m3fn, jnp.float8_e5m2),
}
# The largest magnitudes. int8 leaves out -128, which has no opposite.
_MOST = {
    jnp.dtype(jnp.int8): 127.0,
    jnp.dtype(jnp.float8_e4m3fn): 448.0,
    jnp.dtype(jnp.float8_e5m2): 57344.0,
}
# So many products of two int8 fit int32, whatever they are: 2**17 * 127**2 < 2**31.
MOST_SUMMED = 2**17


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """In how many parts devices split what the three products of a matrix sum over.

    Attributes:
        leading: of the leading dims of the activations, over which the matrix's gradient sums.
        inner: of I, over which the product itself sums.
        outer: of O, over which the activations' gradient sums.
    """

    leading: tuple[int, ...] = ()
    inner: int = 1
    outer: int = 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def product(
    x_I: Array,
    kernel_IO: Array,
    bits: EightBits,
    parts: Parts = Parts(),
    dtype: DTypeLike | None = None,
) -> Array:
    """x [..., I] times a float32 kernel [I, O], as `linear.product` but in eight bits.

    Args:
        x_I: activations.
        kernel_IO: the parameter.
        bits: which.
        parts: see `Parts`; each divides its dim.
        dtype: of the result; None is x's.

    Returns:
        [..., O]. What is not finite stays so: it makes its row or column NaN or infinite.
    """
    value, _ = _TYPES[bits]
    return _multiply(
        *(x_I, kernel_IO.astype(x_I.dtype), (x_I.ndim - 1,), (0,), (parts.inner,)),
        types=(value, value),
        dtype=dtype or x_I.dtype,
    )


def _forward(x_I: Array, kernel_IO: Array, bits: EightBits, parts: Parts, dtype: DTypeLike | None):
    # The kernel is scaled along another dim in the backward pass, so what is kept is not yet
    # rounded to eight bits.
    kernel_IO = kernel_IO.astype(x_I.dtype)
    return product(x_I, kernel_IO, bits, parts, dtype), (x_I, kernel_IO)


def _backward(bits: EightBits, parts: Parts, dtype: DTypeLike | None, residuals, g_O: Array):
    x_I, kernel_IO = residuals
    value, gradient = _TYPES[bits]
    last, leading = g_O.ndim - 1, tuple(range(g_O.ndim - 1))
    dx_I = _multiply(
        *(g_O, kernel_IO, (last,), (1,), (parts.outer,)),
        types=(gradient, value),
        dtype=x_I.dtype,
    )
    dkernel_IO = _multiply(
        *(x_I, g_O, leading, leading, parts.leading or (1,) * last),
        types=(value, gradient),
        dtype=jnp.float32,
    )
    return dx_I, dkernel_IO


product.defvjp(_forward, _backward)


def _multiply(
    a: Array,
    b: Array,
    a_dims: Sequence[int],
    b_dims: Sequence[int],
    parts: Sequence[int],
    *,
    types: tuple[DTypeLike, DTypeLike],
    dtype: DTypeLike,
) -> Array:
    """Contracts dims of `a` with dims of `b`, both rounded to eight bits.

    Args:
        a, b: floating.
        a_dims, b_dims: what is contracted, ascending.
        parts: of each of them; a part has factors and a sum of its own.
        types: that `a` and `b` are rounded to.
        dtype: of the result, and of the parts of its sum.

    Returns:
        The other dims of `a`, then those of `b`.
    """
    exact = jnp.issubdtype(types[0], jnp.integer)
    if exact:
        parts = _fine_enough([a.shape[dim] for dim in a_dims], parts)
    small_a, factor_a, a_over, a_parts = _scaled(a, a_dims, parts, types[0])
    small_b, factor_b, b_over, b_parts = _scaled(b, b_dims, parts, types[1])
    sums = jax.lax.dot_general(
        small_a,
        small_b,
        ((a_over, b_over), (a_parts, b_parts)),
        preferred_element_type=jnp.int32 if exact else jnp.float32,
    )
    # [parts ..., rest of a ..., rest of b ...]; a factor lacks the other's rest.
    num_parts, rest_of_a, rest_of_b = len(parts), a.ndim - len(a_dims), b.ndim - len(b_dims)
    factor_a = factor_a.reshape(*factor_a.shape, *(1,) * rest_of_b)
    of_b = factor_b.shape
    factor_b = factor_b.reshape(*of_b[:num_parts], *(1,) * rest_of_a, *of_b[num_parts:])
    products = (sums.astype(jnp.float32) * factor_a * factor_b).astype(dtype)
    return jax.lax.reduce(products, products.dtype.type(0), jax.lax.add, tuple(range(num_parts)))


def _scaled(
    a: Array, dims: Sequence[int], parts: Sequence[int], dtype: DTypeLike
) -> tuple[Array, Array, list[int], list[int]]:
    """Rounds to eight bits, with a factor for each part of what will be summed over.

    Returns:
        (`a` in the new dtype with each of `dims` cut in two, [parts, inside a part]; float32
        factors [parts ..., rest ...]; the new dims inside parts; those of parts).
    """
    num_parts, shape, over, of_parts = dict(zip(dims, parts)), [], [], []
    for dim, size in enumerate(a.shape):
        if dim in num_parts:
            of_parts.append(len(shape))
            shape.append(num_parts[dim])
            over.append(len(shape))
        shape.append(size // num_parts.get(dim, 1))
    a = a.reshape(shape).astype(jnp.float32)
    most = _MOST[jnp.dtype(dtype)]
    # XLA's maximum may lose a NaN on CPU, but not an infinity.
    sizes = jnp.where(jnp.isnan(a), jnp.inf, jnp.abs(a))
    factor = jnp.max(sizes, axis=over, keepdims=True) / most
    # Not zero where all values are, nor where the largest is too small to be divided.
    factor = jnp.maximum(factor, jnp.finfo(jnp.float32).tiny)
    small = a / factor
    if jnp.issubdtype(dtype, jnp.integer):
        small = jnp.round(small)
    # Without the dims inside parts, those of parts are where the dims were that were cut.
    factor = jnp.moveaxis(jnp.squeeze(factor, over), dims, range(len(dims)))
    return small.astype(dtype), factor, over, of_parts


def _fine_enough(sizes: Sequence[int], parts: Sequence[int]) -> list[int]:
    """Parts of dims, multiples of the given ones, in which a sum of int8 products fits int32."""
    parts = list(parts)
    for number, size in enumerate(sizes):
        others = math.prod(sizes) // math.prod(parts) // (size // parts[number])
        wanted = [
            count
            for count in range(parts[number], size + 1, parts[number])
            if size % count == 0 and others * size // count <= MOST_SUMMED
        ]
        parts[number] = min(wanted, default=size)
    return parts
