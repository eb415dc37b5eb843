"""FLOPs of attention kernels, which are opaque to whoever counts in a jaxpr.

    2 x elements of the queries x keys that a query meets x products over the scores

Causal kernels skip blocks that the mask hides: of S keys in blocks of b a query meets (S + b) / 2
on average, its own block whole. Products: 2 forward (scores, output); 5 backward (scores again, the
gradients of weights, values, queries and keys), 7 where two kernels or two halves of one make both
scores and weights' gradients.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

# What cuDNN's causal kernels skip is not published; its tiles are of this size or less.
_CUDNN_BLOCK = 128


def is_kernel(primitive: str) -> bool:
    """Whether an equation of this name is opaque: Pallas, cuDNN, or foreign code."""
    return primitive in ("pallas_call", "ffi_call") or _is_cudnn(primitive)


def flops(equation: Any, products_inside: int) -> float:
    """FLOPs of one call on one device; 0 for what is no attention.

    Args:
        equation: of a jaxpr. Queries and keys are its first two floating arrays of at least three
            dims; Pallas's blocks tell which of these is the length.
        products_inside: matrix products in its body, each loop once; nothing is visible of cuDNN.
    """
    shapes = [
        variable.aval.shape
        for variable in equation.invars
        if len(getattr(variable.aval, "shape", ())) >= 3
        and jnp.issubdtype(variable.aval.dtype, jnp.floating)
    ]
    if len(shapes) < 2:
        return 0.0
    queries, keys = shapes[:2]
    if _is_cudnn(equation.primitive.name):
        # [rows, length, heads, head dim].
        length, block = len(keys) - 3, _CUDNN_BLOCK
        products = 5 if "bwd" in equation.primitive.name else 2
    else:
        products = products_inside
        length, block = _length_and_block(equation, keys)
    keys_met = (keys[length] + min(block, keys[length])) / 2
    return 2.0 * math.prod(queries) * keys_met * products


def _is_cudnn(primitive: str) -> bool:
    return primitive.startswith("dot_product_attention")


def _length_and_block(equation: Any, keys: Sequence[int]) -> tuple[int, int]:
    """(the dim of an array [..., head dim] that is the length, positions of the smallest block)."""
    found = []
    for part in getattr(equation.params.get("grid_mapping"), "block_mappings", ()):
        shape = part.array_aval.shape
        if len(shape) == len(keys) and shape[-1] == keys[-1]:
            # Dims that a block has one place of, such as heads, are squeezed and have no size.
            sizes = [_size(size) for size in part.block_shape[:-1]]
            found += [(dim, size) for dim, size in enumerate(sizes) if size > 1]
    if not found:
        return len(keys) - 2, keys[-2]
    length = found[0][0]
    return length, min(size for dim, size in found if dim == length)


def _size(size: Any) -> int:
    size = getattr(size, "block_size", size)
    return size if isinstance(size, int) else 1
