"""Prompts and then one id at a time against a cache.

`prefill` runs the prompts; `decode_weights` lays the parameters out for few rows, once;
`decode_step` is the body of the loop. Prompts of different lengths share a batch: they are padded
behind, where causal attention sees nothing, and each row counts its positions from its own prompt.

Shapes: N prompts, C candidates of each, R = N * C rows, L prompt length, D hidden, H query heads, G
key/value heads, K head dim, M mlp, V ids that have logits.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from lvm_jax.model import cache, few_rows, rope, transformer
from lvm_jax.model.attention import backends, cached
from lvm_jax.model.few_rows import WeightPrecision
from lvm_jax.model.row_places import ONE_DEVICE, RowPlaces
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.modules import Params

Weights = dict[str, Any]
"""What `decode_weights` returns; its inside is nobody else's business."""


def prefill(
    config: TransformerConfig,
    params: Params,
    ids_NL: Int[Array, "N L"],
    lengths_N: Int[Array, " N"],
    *,
    dtype: DTypeLike | None = None,
    places: RowPlaces = ONE_DEVICE,
) -> tuple[Float[Array, "N V"], cache.Prompts]:
    """Runs whole prompts, one sentence a row.

    Args:
        config: sizes and precision.
        params: see `transformer.init_params`.
        ids_NL: int32 prompts, padded behind with any ids.
        lengths_N: int32, ids of each prompt, at least 1.
        dtype: of the cache; None is the compute dtype.
        places: where everything lies.

    Returns:
        float32 logits of each prompt's last id, over the padded vocabulary, and the prompts' cache.
    """
    N, L = ids_NL.shape
    mesh, rules = places.mesh, places.prompt_rules
    rotary = rope.tables(jnp.broadcast_to(jnp.arange(L), (N, L)), config)
    choice = transformer.choose_attention(config, L, mesh, rules)
    keys, values = [], []
    ends = transformer.ends(config, params)
    x_NLD = ends.embedding(ids_NL)

    def keep(x_NLGK: Array, order: tuple[int, ...]) -> Array:
        x_NG = jnp.transpose(x_NLGK, order).astype(dtype or config.dtype)
        return places.prompts(x_NG, ("batch", "act_kv_heads", None, None))

    def attend(q_NLHK: Array, k_NLGK: Array, v_NLGK: Array) -> Array:
        keys.append(keep(k_NLGK, (0, 2, 3, 1)))
        values.append(keep(v_NLGK, (0, 2, 1, 3)))
        return backends.attend(q_NLHK, k_NLGK, v_NLGK, None, choice, mesh, rules)

    for index in range(config.num_layers):
        block = transformer.block(config, transformer.layer_params(params, index))
        x_NLD = block(x_NLD, rotary, attend, places.prompts)
    last_ND = jnp.take_along_axis(x_NLD, lengths_N[:, None, None] - 1, axis=1)[:, 0]
    logits_NV = ends.head(ends.final_norm(last_ND))
    return logits_NV, cache.Prompts(tuple(keys), tuple(values), lengths_N)


def decode_weights(
    config: TransformerConfig,
    params: Params,
    num_rows: int,
    *,
    precision: WeightPrecision = "compute",
    places: RowPlaces = ONE_DEVICE,
) -> Weights:
    """Parameters laid out for `decode_step`; call it once, outside the loop.

    Layers stand apart, so that the loop slices nothing. On one device query, key and value are one
    matrix, and so are gate and up.

    Args:
        config: sizes and precision.
        params: see `transformer.init_params`.
        num_rows: R of the steps to come.
        precision: of the matrices, see `few_rows.lay_out`.
        places: where everything lies.
    """
    whole = places.mesh is None

    def matrix(kernels: list[Array], axes: tuple[str | None, ...], num_in: int = 1) -> Any:
        """Side by side in one matrix, or, on a mesh that would have to move them, each alone."""
        flat = [
            places.matrix(k.reshape(math.prod(k.shape[:num_in]), -1).astype(config.dtype), axes)
            for k in kernels
        ]
        flat = [jnp.concatenate(flat, axis=1)] if whole else flat
        return tuple(few_rows.lay_out(kernel, num_rows, precision, whole) for kernel in flat)

    def layer(index: int) -> Weights:
        kernels = transformer.layer_params(params, index)
        attention = {name: part["kernel"] for name, part in kernels["attention"].items()}
        mlp = {name: part["kernel"] for name, part in kernels["mlp"].items()}
        return {
            "attention_norm": kernels["attention_norm"]["scale"],
            "qkv": matrix([attention[n] for n in ("query", "key", "value")], ("embed", "heads")),
            "out": matrix([attention["out"]], ("heads", "embed"), num_in=2),
            "mlp_norm": kernels["mlp_norm"]["scale"],
            "gate_up": matrix([mlp["gate"], mlp["up"]], ("embed", "mlp")),
            "down": matrix([mlp["down"]], ("mlp", "embed")),
        }

    head_DV, table_VD = params["head"]["kernel"], params["embedding"]["kernel"]
    if whole:  # special ids and padding are never drawn; on a mesh fewer columns may not divide
        head_DV = head_DV[:, : config.vocabulary.num_codes]
    return {
        "embedding": places.matrix(table_VD.astype(config.dtype), ("vocab", "embed")),
        "layers": tuple(layer(index) for index in range(config.num_layers)),
        "final_norm": params["final_norm"]["scale"],
        "head": matrix([head_DV], ("embed", "vocab")),
    }


def _products(x_RI: Array, matrices: tuple[few_rows.Matrix, ...], *dtype: DTypeLike) -> Array:
    """Rows times the matrices of one entry of the weights, side by side."""
    products = [few_rows.product(x_RI, matrix, *dtype) for matrix in matrices]
    return products[0] if len(products) == 1 else jnp.concatenate(products, axis=1)


def decode_step(
    config: TransformerConfig,
    weights: Weights,
    ids_NC: Int[Array, "N C"],
    prompts: cache.Prompts,
    own: cache.Own,
    *,
    places: RowPlaces = ONE_DEVICE,
) -> tuple[Float[Array, "N C V"], cache.Own]:
    """One more id per row, at the position after its prompt and what it has added so far.

    Args:
        config: sizes and precision.
        weights: see `decode_weights`.
        ids_NC: int32 ids, the newest of each row.
        prompts: see `prefill`.
        own: what the rows have added; there must be room for one more position.
        places: where everything lies.

    Returns:
        float32 logits [N, C, V] of the codes (and maybe of ids behind them) that follow the ids,
        and `own` with one more position.
    """
    N, C = ids_NC.shape
    H, G, K = config.num_heads, config.kv_heads, config.head_dim
    positions_R1 = jnp.repeat(prompts.lengths + own.length, C)[:, None]
    rotary = rope.tables(positions_R1, config)
    keys, values = [], []
    x_RD = transformer.embed(weights["embedding"], ids_NC.reshape(-1), config.dtype)
    for index, layer in enumerate(weights["layers"]):
        h_RD = transformer.rms_norm(x_RD, layer["attention_norm"], config.norm_eps)
        qkv_R1XK = _products(h_RD, layer["qkv"]).reshape(N * C, 1, H + 2 * G, K)
        # Queries and keys turn by the same angles, so they turn together.
        qk_RXK = rope.rotate(qkv_R1XK[:, :, : H + G], *rotary)[:, 0]
        k_RGK, v_RGK = qk_RXK[:, H:], qkv_R1XK[:, 0, H + G :]
        keys.append(places.rows(cache.write_keys(own.keys[index], k_RGK, own.length)))
        values.append(places.rows(cache.write_values(own.values[index], v_RGK, own.length)))
        o_RGQK = cached.attend(
            places.rows(qk_RXK[:, :H].reshape(N * C, G, H // G, K)),
            (prompts.keys[index], prompts.values[index]),
            prompts.lengths,
            (keys[-1], values[-1]),
            own.length + 1,
        )
        x_RD = x_RD + _products(places.rows(o_RGQK).reshape(N * C, H * K), layer["out"])
        h_RD = transformer.rms_norm(x_RD, layer["mlp_norm"], config.norm_eps)
        gate_RM, up_RM = jnp.split(_products(h_RD, layer["gate_up"]), 2, axis=1)
        x_RD = x_RD + _products(jax.nn.silu(gate_RM) * up_RM, layer["down"])
    x_RD = transformer.rms_norm(x_RD, weights["final_norm"], config.norm_eps)
    logits_RV = _products(x_RD, weights["head"], jnp.float32)
    grown = cache.Own(tuple(keys), tuple(values), own.length + 1)
    return logits_RV.reshape(N, C, -1), grown
