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
from jax.sharding import Mesh, NamedSharding

from lvm_jax import partition
from lvm_jax.devices import DEVICE_MEMORY
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.training import optimizer
from lvm_jax.training.transformer import ema as ema_lib
from lvm_jax.training.transformer import skipping
from lvm_jax.training.transformer.batch import Batch
from lvm_jax.training.transformer.breakdown import NOTHING_APART, Breakdown
from lvm_jax.training.transformer.ema import NO_EMA, EmaConfig
from lvm_jax.training.transformer.loss import loss_sums
from lvm_jax.training.transformer.skipping import NO_SKIPPING, SkipConfig
from lvm_jax.training.transformer.state import State, state_shardings


def make_step(
    model: TransformerConfig,
    optimizer_config: optimizer.OptimizerConfig,
    mesh: Mesh,
    rules: partition.Rules,
    *,
    accumulation: int = 1,
    loss_chunks: int = 1,
    z_loss: float = 0.0,
    breakdown: Breakdown = NOTHING_APART,
    ema: EmaConfig = NO_EMA,
    skip: SkipConfig = NO_SKIPPING,
) -> jax.stages.Wrapped:
    """The train step: jitted once, donating the state.

    With accumulation the batch is cut into micro-batches of every accumulation-th row, so that no
    row moves between devices. Sums of losses and gradients are divided by the weights of the whole
    batch: the update is that of the whole batch at once, however the weights are spread.

    Args:
        model, optimizer_config, mesh, rules: what to train, how and where.
        accumulation: micro-batches per update; see `partition.check_batch`.
        loss_chunks, z_loss, breakdown: see `loss.loss_sums`.
        ema: keeps an average of the parameters.
        skip: leaves out bad updates; parameters, moments and average stay as they were.

    Returns:
        (state, batch) -> (state, metrics); metrics are float32 scalars: loss (nats per token),
        accuracy, grad_norm (before clipping), param_norm (before the update), learning_rate, tokens
        (with loss), z_loss (what it adds to the loss) and `skipping.metrics` where they are
        switched on; and `Breakdown.sums`, zeros for an update that was left out.
    """
    learning_rate = optimizer.schedule(optimizer_config)
    options = {"loss_chunks": loss_chunks, "z_loss": z_loss, "breakdown": breakdown}
    sums = functools.partial(loss_sums, model, mesh=mesh, rules=rules, **options)
    placed = state_shardings(model, optimizer_config, mesh, rules, ema=ema, skip=skip)
    rows = partition.batch_sharding(mesh, rules)
    gradients = _accumulated(jax.value_and_grad(sums, has_aux=True), accumulation, rows)
    update = _make_update(optimizer_config, ema, placed["opt_state"])

    def train_step(state: State, batch: Batch) -> tuple[State, dict[str, Array]]:
        left_out = state["skipped"]["total"] if skip.max_in_a_row else 0
        num_updates = state["step"] - left_out
        (_, totals), grads = gradients(state["params"], batch)
        # A batch of padding alone changes nothing but the moments; it must not divide by zero.
        tokens = jnp.maximum(totals["tokens"], 1.0)
        grads = jax.tree.map(lambda g: g / tokens, grads)
        metrics = {
            **_means(totals, tokens),
            **_norms(grads, state["params"]),
            "learning_rate": jnp.asarray(learning_rate(num_updates), jnp.float32),
        }
        apart = {name: totals[name] for name in breakdown.labels}
        new, old = update(state, grads, num_updates)
        if skip.max_in_a_row:
            good, record = skipping.judge(skip, state["skipped"], metrics)
            keep = functools.partial(jax.tree.map, functools.partial(jnp.where, good))
            new = {**keep(new, old), "skipped": record}
            apart = keep(apart, jax.tree.map(jnp.zeros_like, apart))
            metrics |= skipping.metrics(record)
        if optimizer_config.offload:
            new["opt_state"] = jax.device_put(new["opt_state"], placed["opt_state"])
        return {**new, "step": state["step"] + 1}, metrics | apart

    return jax.jit(
        train_step,
        in_shardings=(placed, rows),
        out_shardings=(placed, partition.replicated(mesh)),
        donate_argnums=0,
    )


def _means(totals: dict[str, Array], tokens: Array) -> dict[str, Array]:
    """loss, accuracy and, where there is one, z_loss of a batch, and its tokens."""
    sums = {"loss": "loss", "accuracy": "hits", "z_loss": "z_loss"}
    means = {name: totals[key] / tokens for name, key in sums.items() if key in totals}
    return {**means, "tokens": totals["tokens"]}


def _norms(grads: Any, params: Any) -> dict[str, Array]:
    """Of all gradients and of all parameters together."""
    return {"grad_norm": optax.tree.norm(grads), "param_norm": optax.tree.norm(params)}


def _make_update(
    optimizer_config: optimizer.OptimizerConfig, ema: EmaConfig, placed: Any
) -> Callable[[State, Any, Array], tuple[State, State]]:
    """(state, gradients, updates before) -> (what an update makes of the state, what it was).

    The optimizer's state is fetched to its devices first, if it does not lie there as `placed`.
    """
    tx = optimizer.make(optimizer_config)
    # Stand-ins for devices have no memory that could be named.
    near = placed
    if optimizer_config.offload:
        near = jax.tree.map(lambda sharding: sharding.with_memory_kind(DEVICE_MEMORY), placed)

    def update(state: State, grads: Any, num_updates: Array) -> tuple[State, State]:
        old = {key: state[key] for key in ("params", "opt_state", "ema") if key in state}
        if optimizer_config.offload:
            old["opt_state"] = jax.device_put(old["opt_state"], near)
        updates, opt_state = tx.update(grads, old["opt_state"], old["params"])
        new = {"params": optax.apply_updates(old["params"], updates), "opt_state": opt_state}
        if ema.decay:
            new["ema"] = ema_lib.update(ema, old["ema"], new["params"], num_updates + 1)
        return new, old

    return update


def _accumulated(
    gradients: Callable[..., Any], accumulation: int, rows: NamedSharding
) -> Callable[[Any, Batch], Any]:
    """What `gradients` gives, summed over micro-batches."""
    if accumulation == 1:
        return gradients

    def add_up(params: Any, batch: Batch) -> Any:
        cut = lambda x: jnp.swapaxes(x.reshape(-1, accumulation, *x.shape[1:]), 0, 1)

        def add(total: Any, micro_batch: Batch) -> tuple[Any, None]:
            micro_batch = jax.lax.with_sharding_constraint(micro_batch, rows)
            return jax.tree.map(jnp.add, total, gradients(params, micro_batch)), None

        micro_batches = {key: cut(value) for key, value in batch.items()}
        first = {key: value[0] for key, value in micro_batches.items()}
        shapes = jax.eval_shape(gradients, params, first)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.scan(add, zeros, micro_batches)[0]

    return add_up


def make_eval(
    model: TransformerConfig,
    mesh: Mesh,
    rules: partition.Rules,
    *,
    loss_chunks: int = 1,
    breakdown: Breakdown = NOTHING_APART,
) -> Callable[[Any, Batch], dict[str, Array]]:
    """(params, batch) -> float32 sums {"loss", "hits", "tokens", `Breakdown.sums`}, jitted."""
    abstract = transformer.abstract_params(model)
    params = partition.shardings(mesh, rules, transformer.logical_axes(model), abstract)

    def evaluate(params: Any, batch: Batch) -> dict[str, Array]:
        _, totals = loss_sums(
            model,
            params,
            batch,
            mesh=mesh,
            rules=rules,
            loss_chunks=loss_chunks,
            breakdown=breakdown,
        )
        return totals

    return jax.jit(
        evaluate,
        in_shardings=(params, partition.batch_sharding(mesh, rules)),
        out_shardings=partition.replicated(mesh),
    )
