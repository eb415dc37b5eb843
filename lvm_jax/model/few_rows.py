"""Products of few rows with a matrix, as generating ids has them: reading the matrix is the work.

Shapes: R rows, I input dim, O output dim, N blocks of C columns.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

WeightPrecision = Literal["compute", "bfloat16", "int8"]
# On CPU, columns of a block, the widest that divides the matrix. Four rows by 64 float32 columns
# fill the registers of AVX-512: a block is read once, at the speed of memory. (Measured on an EPYC
# 9005, float32: 28 GB/s on one core with 64 columns, 25 with 32, 12 with 16.)
BLOCK_COLUMNS = (64, 32, 16)
# With more rows, arithmetic takes longer than repacking the matrix for it.
MOST_BLOCKED_ROWS = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Matrix:
    """A matrix laid out by `lay_out`.

    Attributes:
        kernel: [I, O], or [N, I, C].
        scale: float32 [O], of int8 columns; None: the kernel holds the values themselves.
    """

    kernel: Array
    scale: Array | None = None


def lay_out(
    kernel_IO: Array, num_rows: int, precision: WeightPrecision = "compute", whole: bool = True
) -> Matrix:
    """A matrix as `product` reads it fastest.

    On CPU in blocks of columns, each read once and as a whole. A plain [I, O] product repacks the
    matrix on every call, which takes longer than a few rows' arithmetic.

    Args:
        kernel_IO: the matrix, in the compute dtype.
        num_rows: of the products to come.
        precision: "compute" keeps its dtype; "bfloat16" rounds; "int8" rounds each column to 255
            steps of its largest value.
        whole: the matrix is on one device.
    """
    scale_O = None
    if precision == "bfloat16":
        kernel_IO = kernel_IO.astype(jnp.bfloat16)
    elif precision == "int8":
        kernel_IO, scale_1O = _to_int8(kernel_IO.astype(jnp.float32), axis=0)
        scale_O = scale_1O[0]
    if not whole or num_rows > MOST_BLOCKED_ROWS or jax.default_backend() != "cpu":
        return Matrix(kernel_IO, scale_O)
    columns = next((C for C in BLOCK_COLUMNS if kernel_IO.shape[1] % C == 0), None)
    if columns is None:
        return Matrix(kernel_IO, scale_O)
    blocks_INC = kernel_IO.reshape(kernel_IO.shape[0], -1, columns)
    return Matrix(jnp.swapaxes(blocks_INC, 0, 1), scale_O)


def _to_int8(x: Array, axis: int) -> tuple[Array, Array]:
    """Values -127..127, and the float32 scale that they are to be multiplied by."""
    scale = jnp.maximum(jnp.max(jnp.abs(x), axis=axis, keepdims=True), 1e-30) / 127
    return jnp.round(x / scale).astype(jnp.int8), scale


def product(x_RI: Array, matrix: Matrix, dtype: DTypeLike | None = None) -> Array:
    """Rows times a matrix from `lay_out`.

    Rows take the matrix's precision, too: int8 rows have a scale each. Sums are float32, or exact.

    Args:
        x_RI: activations.
        matrix: see `lay_out`.
        dtype: of the result; None is x's.

    Returns:
        [R, O].
    """
    dtype = dtype or x_RI.dtype
    if matrix.scale is None:
        sums_RO = _multiply(x_RI.astype(matrix.kernel.dtype), matrix.kernel, jnp.float32)
        return sums_RO.astype(dtype)
    x_RI, scale_R1 = _to_int8(x_RI.astype(jnp.float32), axis=1)
    sums_RO = _multiply(x_RI, matrix.kernel, jnp.int32).astype(jnp.float32)
    return (sums_RO * scale_R1 * matrix.scale[None]).astype(dtype)


def _multiply(x_RI: Array, kernel: Array, dtype: DTypeLike) -> Array:
    if kernel.ndim == 2:
        return jnp.matmul(x_RI, kernel, preferred_element_type=dtype)
    x_NRI = jnp.broadcast_to(x_RI, (kernel.shape[0], *x_RI.shape))
    y_NRC = jnp.einsum("NRI,NIC->NRC", x_NRI, kernel, preferred_element_type=dtype)
    return jnp.swapaxes(y_NRC, 0, 1).reshape(x_RI.shape[0], -1)
