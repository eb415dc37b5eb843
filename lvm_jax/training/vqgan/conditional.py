"""Parts of a step that only run from some step on."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def either(condition: Array, first: Callable[..., Any], other: Callable[..., Any], *arguments: Any):
    """`jax.lax.cond`, except on a CPU, where both branches run and the results are chosen from.

    XLA's CPU convolutions are several times slower inside a conditional: a discriminator took six
    times as long there as outside, more than all the steps that wait for it could save.

    Args:
        condition: bool.
        first, other: functions of the arguments, of results alike in shape; neither may fail.
        *arguments: of both.
    """
    if jax.default_backend() != "cpu":
        return jax.lax.cond(condition, first, other, *arguments)
    choose = lambda a, b: jnp.where(condition, a, b)
    return jax.tree.map(choose, first(*arguments), other(*arguments))
