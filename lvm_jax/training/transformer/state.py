"""The state of a transformer's training: what it holds, where it lies, how it begins."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from lvm_jax import devices, partition
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.training import optimizer
from lvm_jax.training.transformer import skipping
from lvm_jax.training.transformer.ema import NO_EMA, EmaConfig
from lvm_jax.training.transformer.skipping import NO_SKIPPING, SkipConfig

State = dict[str, Any]
"""{"params", "opt_state", "step"}, and where they are switched on "ema", an average of the params,
and "skipped", a `skipping.Record`; step is int32, the number of batches taken."""


def make_init(
    model: TransformerConfig,
    optimizer_config: optimizer.OptimizerConfig,
    mesh: Mesh,
    rules: partition.Rules,
    seed: int,
    *,
    ema: EmaConfig = NO_EMA,
    skip: SkipConfig = NO_SKIPPING,
) -> Callable[[], State]:
    """A jitted function of no arguments that makes the first state, sharded from birth.

    `jax.eval_shape` of it gives the abstract state with shardings.

    Raises:
        ValueError: a parameter does not divide over the mesh.
    """
    begin, placed = _beginning(model, optimizer_config, mesh, rules, ema, skip)
    return jax.jit(lambda: begin(transformer.init_params(model, seed)), out_shardings=placed)


def make_init_from(
    model: TransformerConfig,
    optimizer_config: optimizer.OptimizerConfig,
    mesh: Mesh,
    rules: partition.Rules,
    *,
    ema: EmaConfig = NO_EMA,
    skip: SkipConfig = NO_SKIPPING,
) -> Callable[[Any], State]:
    """The same for given parameters, which lie where the state's lie and are donated."""
    begin, placed = _beginning(model, optimizer_config, mesh, rules, ema, skip)
    return jax.jit(begin, in_shardings=(placed["params"],), out_shardings=placed, donate_argnums=0)


def _beginning(
    model: TransformerConfig,
    optimizer_config: optimizer.OptimizerConfig,
    mesh: Mesh,
    rules: partition.Rules,
    ema: EmaConfig,
    skip: SkipConfig,
) -> tuple[Callable[[Any], State], State]:
    """(parameters -> the first state, where its parts lie)."""
    tx = optimizer.make(optimizer_config)

    def begin(params: Any) -> State:
        step = jnp.zeros((), jnp.int32)
        state = {"params": params, "opt_state": tx.init(params), "step": step}
        if ema.decay:
            state["ema"] = params
        if skip.max_in_a_row:
            state["skipped"] = skipping.new_record()
        return state

    return begin, state_shardings(model, optimizer_config, mesh, rules, ema=ema, skip=skip)


def state_shardings(
    model: TransformerConfig,
    optimizer_config: optimizer.OptimizerConfig,
    mesh: Mesh,
    rules: partition.Rules,
    *,
    ema: EmaConfig = NO_EMA,
    skip: SkipConfig = NO_SKIPPING,
) -> State:
    """Shardings of a state: moments and average lie where their parameters lie.

    With `optimizer_config.offload` the moments lie in the memory of their devices' hosts.
    """
    abstract = transformer.abstract_params(model)
    params = partition.shardings(mesh, rules, transformer.logical_axes(model), abstract)
    whole = partition.replicated(mesh)
    tx, memory = optimizer.make(optimizer_config), None
    if optimizer_config.offload:
        memory = devices.HOST_MEMORY
    state = {
        "params": params,
        "opt_state": optimizer.state_shardings(tx, abstract, params, whole, memory),
        "step": whole,
    }
    if ema.decay:
        state["ema"] = params
    if skip.max_in_a_row:
        state["skipped"] = jax.tree.map(lambda _: whole, jax.eval_shape(skipping.new_record))
    return state
