"""Next-token training: the loss, the state and the one jitted step.

Paper: Bai et al. 2023, section 3 (next-token cross-entropy over visual sentences).

Shapes: B rows of the global batch, A micro-batches, L positions, D hidden, V padded vocabulary.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float, Int

from lvm_jax import partition
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.training import optimizer
from lvm_jax.vocabulary import Vocabulary

State = dict[str, Any]
"""{"params", "opt_state", "step"}; step is int32, the number of updates made."""
Batch = Mapping[str, Array]
"""inputs, targets, segments, positions int32 [B, L]; weights float32 [B, L]."""

BATCH_DTYPES = {
    "inputs": jnp.int32,
    "targets": jnp.int32,
    "segments": jnp.int32,
    "positions": jnp.int32,
    "weights": jnp.float32,
}
# Finite, so that no arithmetic on masked logits makes a NaN; exp of it is exactly zero.
_NEVER = -1e30


def is_legal(vocabulary: Vocabulary) -> Array:
    """bool [V]: ids that can be targets, which are codes, BOS (in streams) and EOS.

    PAD, unused special ids and the padding of the vocabulary have no share in the normaliser.
    """
    return jnp.arange(vocabulary.padded_size) <= vocabulary.eos


def token_losses(
    logits_BLV: Float[Array, "B L V"], targets_BL: Int[Array, "B L"], vocabulary: Vocabulary
) -> tuple[Float[Array, "B L"], Float[Array, "B L"]]:
    """Cross-entropy of each target among the legal ids.

    Args:
        logits_BLV: float32.
        targets_BL: int32 ids; must be legal wherever the loss has weight.
        vocabulary: the ids.

    Returns:
        (nats per token, 1.0 where the target has the greatest logit), both float32.
    """
    logits_BLV = jnp.where(is_legal(vocabulary)[None, None], logits_BLV, _NEVER)
    # A reduction rather than a gather: it stays local when the vocabulary is split over devices.
    ids_11V = jnp.arange(vocabulary.padded_size)[None, None]
    is_target_BLV = ids_11V == targets_BL[..., None]
    target_logits_BL = jnp.sum(jnp.where(is_target_BLV, logits_BLV, 0.0), axis=-1)
    losses_BL = jax.nn.logsumexp(logits_BLV, axis=-1) - target_logits_BL
    hits_BL = target_logits_BL >= jnp.max(logits_BLV, axis=-1)
    return losses_BL, hits_BL.astype(jnp.float32)


def loss_sums(
    config: TransformerConfig,
    params: Any,
    batch: Batch,
    *,
    mesh: Mesh | None = None,
    rules: partition.Rules | None = None,
    loss_chunks: int = 1,
) -> tuple[Array, dict[str, Array]]:
    """Weighted sums over a batch; divided by "tokens" they are means.

    Args:
        config: the model.
        params: its parameters.
        batch: see `Batch`.
        mesh, rules: where activations live.
        loss_chunks: rows are cut into so many pieces, whose logits exist one piece at a time and
            are computed again in the backward pass; divides L.

    Returns:
        (weighted sum of losses in nats, {"hits": weighted sum of hits, "tokens": sum of weights}).
    """
    x_BLD = transformer.hidden(
        config,
        params,
        batch["inputs"],
        batch["segments"],
        batch["positions"],
        mesh=mesh,
        rules=rules,
    )

    def sums(x_BLD, targets_BL, weights_BL):
        logits_BLV = transformer.head(config, params, x_BLD, mesh=mesh, rules=rules)
        losses_BL, hits_BL = token_losses(logits_BLV, targets_BL, config.vocabulary)
        return jnp.sum(losses_BL * weights_BL), jnp.sum(hits_BL * weights_BL)

    targets_BL, weights_BL = batch["targets"], batch["weights"]
    if loss_chunks == 1:
        loss, hits = sums(x_BLD, targets_BL, weights_BL)
    else:
        # Of each part of a row that a device has, so that no piece moves between devices.
        parts = partition.num_parts("length", mesh, rules)

        def cut(x: Array) -> Array:
            B, L, *others = x.shape
            pieces = x.reshape(B, parts, loss_chunks, L // (parts * loss_chunks), *others)
            return jnp.moveaxis(pieces, 2, 0).reshape(loss_chunks, B, L // loss_chunks, *others)

        add = lambda total, part: (
            jax.tree.map(jnp.add, total, jax.checkpoint(sums)(*part)),
            None,
        )
        zero = jnp.zeros((), jnp.float32)
        pieces = (cut(x_BLD), cut(targets_BL), cut(weights_BL))
        (loss, hits), _ = jax.lax.scan(add, (zero, zero), pieces)
    return loss, {"hits": hits, "tokens": jnp.sum(weights_BL)}


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
        loss_chunks: see `loss_sums`.

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


def abstract_batch(
    num_rows: int, context: int, mesh: Mesh, rules: partition.Rules
) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes and shardings of a batch, to compile the step without data."""
    rows = partition.batch_sharding(mesh, rules)
    return {
        key: jax.ShapeDtypeStruct((num_rows, context), dtype, sharding=rows)
        for key, dtype in BATCH_DTYPES.items()
    }
