"""The state of a transformer's training: what it holds, where it lies, how it begins."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from lvm_jax import partition
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.training import optimizer

State = dict[str, Any]
"""{"params", "opt_state", "step"}; step is int32, the number of updates made."""


def make_init(
    model: TransformerConfig,
    optimizer_config: optimizer.OptimizerConfig,
    mesh: Mesh,
    rules: partition.Rules,
    seed: int,
) -> Callable[[], State]:
    """A jitted function of no arguments that makes the first state, sharded from birth.

    `jax.eval_shape` of it gives the abstract state with shardings.

    Raises:
        ValueError: a parameter does not divide over the mesh.
    """
    tx = optimizer.make(optimizer_config)

    def init() -> State:
        params = transformer.init_params(model, seed)
        step = jnp.zeros((), jnp.int32)
        return {"params": params, "opt_state": tx.init(params), "step": step}

    return jax.jit(init, out_shardings=state_shardings(model, tx, mesh, rules))


def state_shardings(
    model: TransformerConfig,
    tx: optax.GradientTransformation,
    mesh: Mesh,
    rules: partition.Rules,
) -> State:
    """Shardings of a state: the optimizer's moments lie where their parameters lie."""
    abstract = transformer.abstract_params(model)
    params = partition.shardings(mesh, rules, transformer.logical_axes(model), abstract)
    whole = partition.replicated(mesh)
    return {
        "params": params,
        "opt_state": optimizer.state_shardings(tx, abstract, params, whole),
        "step": whole,
    }
