"""Next-token training: the one jitted step, and the sums of an evaluation.

Shapes: B rows of the global batch, A micro-batches, L positions.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from lvm_jax import partition
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.training import optimizer
from lvm_jax.training.transformer.batch import Batch
from lvm_jax.training.transformer.loss import loss_sums
from lvm_jax.training.transformer.state import State, state_shardings


def make_step(
    model: TransformerConfig,
    optimizer_config: optimizer.OptimizerConfig,
    mesh: Mesh,
    rules: partition.Rules,
    *,
    accumulation: int = 1,
    loss_chunks: int = 1,
) -> jax.stages.Wrapped:
    """The train step: jitted once, donating the state.

    With accumulation the batch is cut into micro-batches of every accumulation-th row, so that no
    row moves between devices. Sums of losses and gradients are divided by the weights of the whole
    batch: the update is that of the whole batch at once, however the weights are spread.

    Args:
        model, optimizer_config, mesh, rules: what to train, how and where.
        accumulation: micro-batches per update; B must be a multiple of it times the devices that
            share the batch, see `partition.check_batch`.
        loss_chunks: see `loss.loss_sums`.

    Returns:
        (state, batch) -> (state, metrics); metrics are float32 scalars: loss (nats per token),
        accuracy, grad_norm (before clipping), learning_rate (of this update), tokens (with loss).
    """
    tx = optimizer.make(optimizer_config)
    learning_rate = optimizer.schedule(optimizer_config)
    sums = functools.partial(loss_sums, model, mesh=mesh, rules=rules, loss_chunks=loss_chunks)
    gradients = jax.value_and_grad(sums, has_aux=True)
    placed = state_shardings(model, tx, mesh, rules)
    rows = partition.batch_sharding(mesh, rules)

    def accumulated(params: Any, batch: Batch):
        cut = lambda x: jnp.swapaxes(x.reshape(-1, accumulation, *x.shape[1:]), 0, 1)

        def add(total, micro_batch):
            micro_batch = jax.lax.with_sharding_constraint(micro_batch, rows)
            return jax.tree.map(jnp.add, total, gradients(params, micro_batch)), None

        micro_batches = {key: cut(value) for key, value in batch.items()}
        first = {key: value[0] for key, value in micro_batches.items()}
        shapes = jax.eval_shape(gradients, params, first)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.scan(add, zeros, micro_batches)[0]

    def train_step(state: State, batch: Batch):
        params = state["params"]
        (loss, totals), grads = (gradients if accumulation == 1 else accumulated)(params, batch)
        # A batch of padding alone changes nothing but the moments; it must not divide by zero.
        tokens = jnp.maximum(totals["tokens"], 1.0)
        grads = jax.tree.map(lambda g: g / tokens, grads)
        updates, opt_state = tx.update(grads, state["opt_state"], params)
        metrics = {
            "loss": loss / tokens,
            "accuracy": totals["hits"] / tokens,
            "grad_norm": optax.tree.norm(grads),
            "learning_rate": jnp.asarray(learning_rate(state["step"]), jnp.float32),
            "tokens": totals["tokens"],
        }
        params = optax.apply_updates(params, updates)
        return {"params": params, "opt_state": opt_state, "step": state["step"] + 1}, metrics

    return jax.jit(
        train_step,
        in_shardings=(placed, rows),
        out_shardings=(placed, partition.replicated(mesh)),
        donate_argnums=0,
    )


def make_eval(
    model: TransformerConfig, mesh: Mesh, rules: partition.Rules, *, loss_chunks: int = 1
) -> Callable[[Any, Batch], dict[str, Array]]:
    """(params, batch) -> float32 sums {"loss", "hits", "tokens"}, jitted."""
    abstract = transformer.abstract_params(model)
    params = partition.shardings(mesh, rules, transformer.logical_axes(model), abstract)

    def evaluate(params: Any, batch: Batch) -> dict[str, Array]:
        loss, totals = loss_sums(
            model, params, batch, mesh=mesh, rules=rules, loss_chunks=loss_chunks
        )
        return {"loss": loss, **totals}

    return jax.jit(
        evaluate,
        in_shardings=(params, partition.batch_sharding(mesh, rules)),
        out_shardings=partition.replicated(mesh),
    )
