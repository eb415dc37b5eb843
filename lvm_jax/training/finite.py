"""Whether a state can be trained on: one pass over its arrays where they are."""

from typing import Any

import jax
import jax.numpy as jnp


def first_not_finite(tree: Any) -> str | None:
    """The path of the first array that holds a NaN or an infinity, such as "params/w"."""
    flags = _flags(tree)
    for path, finite in jax.tree_util.tree_leaves_with_path(flags):
        if not bool(finite):
            return jax.tree_util.keystr(path, simple=True, separator="/")
    return None


@jax.jit
def _flags(tree: Any) -> Any:
    return jax.tree.map(_is_finite, tree)


def _is_finite(leaf: jax.Array) -> jax.Array | bool:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return True
    # Zero times a NaN or an infinity is a NaN, which a sum keeps (a maximum does not, on every
    # backend). Twice as fast on a CPU as to ask each number.
    return jnp.sum(leaf * 0) == 0
