"""Prompts and then one id at a time against a cache.

`prefill` runs the prompt; `decode_weights` lays the parameters out for single positions, once;
`decode_step` is the body of the loop. All rows of a batch have one length.

Shapes: B batch, L prompt length, D hidden, H query heads, G key/value heads, K head dim, M mlp,
V padded vocabulary.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from lvm_jax.model import cache, linear, rope, transformer
from lvm_jax.model.attention import backends
from lvm_jax.model.cache import Cache
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.modules import Params

Weights = dict[str, Any]
"""What `decode_weights` returns; its inside is nobody else's business."""


def prefill(
    config: TransformerConfig, params: Params, ids_BL: Int[Array, "B L"], empty: Cache
) -> tuple[Float[Array, "B V"], Cache]:
    """Runs whole prompts, one sentence a row.

    Args:
        config: sizes and precision.
        params: see `transformer.init_params`.
        ids_BL: int32 prompts.
        empty: see `cache.init_cache`; what it holds is overwritten.

    Returns:
        float32 logits of the last position, and the cache with `length` = L.

    Raises:
        ValueError: the prompt does not fit the cache.
    """
    B, L = ids_BL.shape
    if empty.capacity < L:
        raise ValueError(
            f"a prompt of {L} ids does not fit a cache of {empty.capacity} positions; "
            f"make it with init_cache(config, batch, {L} + new ids)"
        )
    rotary = rope.tables(jnp.broadcast_to(jnp.arange(L), (B, L)), config)
    choice = transformer.choose_attention(config, L, None)
    keys, values = [], []
    ends = transformer.ends(config, params)
    x_BLD = ends.embedding(ids_BL)
    for index in range(config.num_layers):

        def attend(q_BLHK, k_BLGK, v_BLGK, index=index):
            keys.append(cache.write(empty.keys[index], k_BLGK, 0))
            values.append(cache.write(empty.values[index], v_BLGK, 0))
            return backends.attend(q_BLHK, k_BLGK, v_BLGK, None, choice)

        block = transformer.block(config, transformer.layer_params(params, index))
        x_BLD = block(x_BLD, rotary, attend, lambda x, axes: x)
    logits_BV = ends.head(ends.final_norm(x_BLD[:, -1]))
    filled = Cache(tuple(keys), tuple(values), jnp.asarray(L, jnp.int32))
    return logits_BV, filled


def decode_weights(config: TransformerConfig, params: Params) -> Weights:
    """Parameters laid out for `decode_step`; call it once, outside the loop.

    Layers stand apart, so that the loop slices nothing; query, key and value are one matrix, and so
    are gate and up; all are in the compute dtype and in the platform's layout for few rows.
    """

    def matrix(*kernels: Array, num_in: int = 1) -> Array:
        flat = [kernel.reshape(math.prod(kernel.shape[:num_in]), -1) for kernel in kernels]
        return linear.for_few_rows(jnp.concatenate(flat, axis=1).astype(config.dtype))

    def layer(index: int) -> Weights:
        kernels = transformer.layer_params(params, index)
        attending, mlp = kernels["attention"], kernels["mlp"]
        return {
            "attention_norm": kernels["attention_norm"]["scale"],
            "qkv": matrix(*(attending[name]["kernel"] for name in ("query", "key", "value"))),
            "out": matrix(attending["out"]["kernel"], num_in=2),
            "mlp_norm": kernels["mlp_norm"]["scale"],
            "gate_up": matrix(mlp["gate"]["kernel"], mlp["up"]["kernel"]),
            "down": matrix(mlp["down"]["kernel"]),
        }

    return {
        "embedding": params["embedding"]["kernel"],
        "layers": tuple(layer(index) for index in range(config.num_layers)),
        "final_norm": params["final_norm"]["scale"],
        "head": matrix(params["head"]["kernel"]),
    }


def decode_step(
    config: TransformerConfig, weights: Weights, ids_B: Int[Array, " B"], grown: Cache
) -> tuple[Float[Array, "B V"], Cache]:
    """One more id per row, at position `grown.length`, which must be below the capacity.

    Args:
        config: sizes and precision.
        weights: see `decode_weights`.
        ids_B: int32 ids, the newest of each row.
        grown: the cache so far.

    Returns:
        float32 logits [B, V] that follow the ids, and the cache grown by one position.
    """
    B, H, G, K = ids_B.shape[0], config.num_heads, config.kv_heads, config.head_dim
    positions_B1 = jnp.broadcast_to(grown.length, (B, 1))
    rotary = rope.tables(positions_B1, config)
    keys, values = [], []
    x_BD = transformer.embed(weights["embedding"], ids_B, config.dtype)
    for index, layer in enumerate(weights["layers"]):
        h_BD = transformer.rms_norm(x_BD, layer["attention_norm"], config.norm_eps)
        qkv_B1XK = linear.few_rows_product(h_BD, layer["qkv"]).reshape(B, 1, H + 2 * G, K)
        # Queries and keys turn by the same angles, so they turn together.
        qk_B1XK = rope.rotate(qkv_B1XK[:, :, : H + G], *rotary)
        keys.append(cache.write(grown.keys[index], qk_B1XK[:, :, H:], grown.length))
        values.append(cache.write(grown.values[index], qkv_B1XK[:, :, H + G :], grown.length))
        q_BHK = qk_B1XK[:, 0, :H]
        o_BHK = backends.attend_cached(q_BHK, keys[-1], values[-1], grown.length + 1)
        x_BD = x_BD + linear.few_rows_product(o_BHK.reshape(B, H * K), layer["out"])
        h_BD = transformer.rms_norm(x_BD, layer["mlp_norm"], config.norm_eps)
        gate_BM, up_BM = jnp.split(linear.few_rows_product(h_BD, layer["gate_up"]), 2, axis=1)
        x_BD = x_BD + linear.few_rows_product(jax.nn.silu(gate_BM) * up_BM, layer["down"])
    x_BD = transformer.rms_norm(x_BD, weights["final_norm"], config.norm_eps)
    logits_BV = linear.few_rows_product(x_BD, weights["head"], jnp.float32)
    return logits_BV, Cache(tuple(keys), tuple(values), grown.length + 1)
