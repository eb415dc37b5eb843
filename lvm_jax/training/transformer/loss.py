"""The next-token loss: cross-entropy among the ids that can be targets, and a pull on its scale.

Paper: Bai et al. 2023, section 3 (next-token cross-entropy over visual sentences).

Shapes: B rows of the batch, L positions, D hidden, V padded vocabulary.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float, Int

from lvm_jax import partition
from lvm_jax.model import transformer
from lvm_jax.model.attention import context_order
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.training.transformer.batch import Batch
from lvm_jax.training.transformer.breakdown import NOTHING_APART, Breakdown
from lvm_jax.vocabulary import Vocabulary

# Finite, so that no arithmetic on masked logits makes a NaN; exp of it is exactly zero.
_NEVER = -1e30


def is_legal(vocabulary: Vocabulary) -> Array:
    """bool [V]: ids that can be targets, which are codes, BOS (in streams) and EOS.

    PAD, unused special ids and the padding of the vocabulary have no share in the normaliser.
    """
    return jnp.arange(vocabulary.padded_size) <= vocabulary.eos


def token_losses(
    logits_BLV: Float[Array, "B L V"], targets_BL: Int[Array, "B L"], vocabulary: Vocabulary
) -> tuple[Float[Array, "B L"], Float[Array, "B L"], Float[Array, "B L"]]:
    """Cross-entropy of each target among the legal ids.

    Args:
        logits_BLV: float32.
        targets_BL: int32 ids; must be legal wherever the loss has weight.
        vocabulary: the ids.

    Returns:
        (nats per token, 1.0 where the target has the greatest logit, log of the sum of exponentials
        of the legal logits), all float32.
    """
    logits_BLV = jnp.where(is_legal(vocabulary)[None, None], logits_BLV, _NEVER)
    # A reduction rather than a gather: it stays local when the vocabulary is split over devices.
    ids_11V = jnp.arange(vocabulary.padded_size)[None, None]
    is_target_BLV = ids_11V == targets_BL[..., None]
    target_logits_BL = jnp.sum(jnp.where(is_target_BLV, logits_BLV, 0.0), axis=-1)
    log_sums_BL = jax.nn.logsumexp(logits_BLV, axis=-1)
    losses_BL = log_sums_BL - target_logits_BL
    hits_BL = target_logits_BL >= jnp.max(logits_BLV, axis=-1)
    return losses_BL, hits_BL.astype(jnp.float32), log_sums_BL


def loss_sums(
    config: TransformerConfig,
    params: Any,
    batch: Batch,
    *,
    mesh: Mesh | None = None,
    rules: partition.Rules | None = None,
    loss_chunks: int = 1,
    z_loss: float = 0.0,
    breakdown: Breakdown = NOTHING_APART,
) -> tuple[Array, dict[str, Array]]:
    """Weighted sums over a batch; divided by "tokens" they are means.

    Args:
        config: the model.
        params: its parameters.
        batch: see `Batch`.
        mesh, rules: where activations live.
        loss_chunks: rows are cut into so many pieces, whose logits exist one piece at a time and
            are computed again in the backward pass; divides L.
        z_loss: weight of the squared log-sums of `token_losses`, which keeps logits from drifting
            (Chowdhery et al. 2022, PaLM, section 5); 0 leaves them out.
        breakdown: losses that are told apart.

    Returns:
        (what is minimised, {"loss": weighted sum of losses in nats, "hits": weighted sum of hits,
        "tokens": sum of weights; with a z-loss "z_loss": what it adds; and `Breakdown.sums`}).
    """
    # A sum does not mind the order, and moving ids costs next to nothing.
    batch = {key: context_order.balance(x_BL, mesh, rules) for key, x_BL in batch.items()}
    x_BLD = transformer.hidden_balanced(
        config,
        params,
        batch["inputs"],
        batch["segments"],
        batch["positions"],
        mesh=mesh,
        rules=rules,
    )

    def sums(x_BLD: Array, rows: Batch) -> tuple[Array, dict[str, Array]]:
        logits_BLV = transformer.head(config, params, x_BLD, mesh=mesh, rules=rules)
        losses_BL, hits_BL, log_sums_BL = token_losses(
            logits_BLV, rows["targets"], config.vocabulary
        )
        minimised = loss = jnp.sum(losses_BL * rows["weights"])
        totals = {"loss": loss, "hits": jnp.sum(hits_BL * rows["weights"])}
        if z_loss:
            totals["z_loss"] = z_loss * jnp.sum(jnp.square(log_sums_BL) * rows["weights"])
            minimised = loss + totals["z_loss"]
        if breakdown.labels:
            # By themselves, for one more pass over the logits: else the compiler would add the
            # others up in another order, and the last bits of the loss would depend on the labels.
            again_BLV = jax.lax.optimization_barrier(jax.lax.stop_gradient(logits_BLV))
            losses_BL, _, _ = token_losses(again_BLV, rows["targets"], config.vocabulary)
            totals |= breakdown.sums(losses_BL, rows)
        return minimised, jax.lax.stop_gradient(totals)

    rows = {key: batch[key] for key in batch if key not in ("inputs", "segments")}
    if loss_chunks == 1:
        minimised, totals = sums(x_BLD, rows)
    else:
        # Of each part of a row that a device has, so that no piece moves between devices.
        kinds = ("length", "residual_length")
        parts = max(partition.num_parts(logical, mesh, rules) for logical in kinds)
        minimised, totals = _sums_in_chunks(sums, (x_BLD, rows), parts, loss_chunks)
    return minimised, {**totals, "tokens": jnp.sum(batch["weights"])}


def _sums_in_chunks(
    sums: Callable[..., Any], arrays: tuple[Any, ...], parts: int, num_chunks: int
) -> Any:
    """What `sums` gives of arrays [B, L, ...], from one piece of every part of a row at a time."""

    def cut(x: Array) -> Array:
        B, L, *others = x.shape
        pieces = x.reshape(B, parts, num_chunks, L // (parts * num_chunks), *others)
        return jnp.moveaxis(pieces, 2, 0).reshape(num_chunks, B, L // num_chunks, *others)

    add = lambda total, piece: (
        jax.tree.map(jnp.add, total, jax.checkpoint(sums)(*piece)),
        None,
    )
    pieces = jax.tree.map(cut, arrays)
    shapes = jax.eval_shape(sums, *jax.tree.map(lambda piece: piece[0], pieces))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(add, zeros, pieces)[0]
