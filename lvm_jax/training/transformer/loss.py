"""The next-token loss: cross-entropy among the ids that can be targets.

Paper: Bai et al. 2023, section 3 (next-token cross-entropy over visual sentences).

Shapes: B rows of the batch, L positions, D hidden, V padded vocabulary.
"""

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
