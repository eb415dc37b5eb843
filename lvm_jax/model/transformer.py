"""The decoder: ids -> logits, whole rows or one position at a time against a cache.

Modules are definitions only: constructed once to name, shape and initialise the parameters, then
split into a plain nested dict. Everything else is a pure function of (config, params, arrays).
Layers are stacked on axis 0 by vmapping the constructor and run by `lax.scan`.

Shapes: B batch, L length, D hidden, H query heads, G key/value heads, K head dim, M mlp,
V padded vocabulary, T cache capacity, N layers.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float, Int

from lvm_jax.model import attention, rope
from lvm_jax.model.cache import Cache
from lvm_jax.model.config import TransformerConfig
from lvm_jax.partition import Rules, constrain

Params = dict[str, Any]
Attend = Callable[[Array, Array, Array], Array]

# What jax.checkpoint keeps of a layer, by the config's name.
REMAT_POLICIES = {
    "projections": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "dots": jax.checkpoint_policies.dots_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Linear(nnx.Module):
    """A matrix without bias: contracts the input's last dims with the kernel's first ones."""

    def __init__(self, shape, axes, num_in, config: TransformerConfig, rngs: nnx.Rngs):
        kernel = config.init_scale * jax.random.normal(rngs.params(), shape, jnp.float32)
        self.kernel = nnx.Param(kernel, axes=axes)
        self.num_in = num_in

    def __call__(self, x: Array) -> Array:
        kernel = self.kernel[...].astype(x.dtype)
        return jnp.tensordot(x, kernel, axes=self.num_in)


class RMSNorm(nnx.Module):
    """Root-mean-square norm, computed in float32."""

    def __init__(self, config: TransformerConfig):
        self.scale = nnx.Param(jnp.ones((config.hidden_dim,), jnp.float32), axes=("norm",))
        self.eps = config.norm_eps

    def __call__(self, x: Array) -> Array:
        x32 = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + self.eps)
        return (x32 * inverse * self.scale[...]).astype(x.dtype)


class Attention(nnx.Module):
    """Projections around a given attention function."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        D, H, G, K = config.hidden_dim, config.num_heads, config.kv_heads, config.head_dim
        self.query = Linear((D, H, K), ("embed", "heads", "head_dim"), 1, config, rngs)
        self.key = Linear((D, G, K), ("embed", "kv_heads", "head_dim"), 1, config, rngs)
        self.value = Linear((D, G, K), ("embed", "kv_heads", "head_dim"), 1, config, rngs)
        self.out = Linear((H, K, D), ("heads", "head_dim", "embed"), 2, config, rngs)

    def __call__(self, x_BLD: Array, rotary, attend: Attend, constrain) -> Array:
        heads, kv_heads = [("batch", "length", f"act_{n}", None) for n in ("heads", "kv_heads")]
        q_BLHK = constrain(rope.rotate(self.query(x_BLD), *rotary), heads)
        k_BLGK = constrain(rope.rotate(self.key(x_BLD), *rotary), kv_heads)
        v_BLGK = constrain(self.value(x_BLD), kv_heads)
        return self.out(constrain(attend(q_BLHK, k_BLGK, v_BLGK), heads))


class MLP(nnx.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        D, M = config.hidden_dim, config.mlp_dim
        self.gate = Linear((D, M), ("embed", "mlp"), 1, config, rngs)
        self.up = Linear((D, M), ("embed", "mlp"), 1, config, rngs)
        self.down = Linear((M, D), ("mlp", "embed"), 1, config, rngs)

    def __call__(self, x_BLD: Array, constrain) -> Array:
        y_BLM = jax.nn.silu(self.gate(x_BLD)) * self.up(x_BLD)
        return self.down(constrain(y_BLM, ("batch", "length", "act_mlp")))


class Block(nnx.Module):
    """One decoder layer, norms before each half."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(config)
        self.attention = Attention(config, rngs)
        self.mlp_norm = RMSNorm(config)
        self.mlp = MLP(config, rngs)

    def __call__(self, x_BLD: Array, rotary, attend: Attend, constrain) -> Array:
        axes = ("batch", "length", "act_embed")
        x_BLD = constrain(x_BLD, axes)
        x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD), rotary, attend, constrain)
        x_BLD = constrain(x_BLD, axes)
        return x_BLD + self.mlp(self.mlp_norm(x_BLD), constrain)


class Ends(nnx.Module):
    """What lies before and after the layers; embedding and head are separate matrices."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        V, D = config.vocabulary.padded_size, config.hidden_dim
        self.embedding = Linear((V, D), ("vocab", "embed"), 1, config, rngs)
        self.final_norm = RMSNorm(config)
        self.head = Linear((D, V), ("embed", "vocab"), 1, config, rngs)


def _split_block(config: TransformerConfig, key: Array):
    return nnx.split(Block(config, nnx.Rngs(params=key)))


def _split_ends(config: TransformerConfig, key: Array):
    return nnx.split(Ends(config, nnx.Rngs(params=key)))


@functools.lru_cache(maxsize=64)
def _definitions(config: TransformerConfig):
    """The graph definitions of a block and of the ends, and the tree of their logical axes."""
    found, axes = [], []
    for split in (_split_block, _split_ends):
        made = {}

        def build(key, split=split, made=made):
            made["graph"], state = split(config, key)
            return state

        state = jax.eval_shape(build, jax.ShapeDtypeStruct((), jax.random.key(0).dtype))
        is_variable = lambda leaf: isinstance(leaf, nnx.Variable)
        found.append(made["graph"])
        axes.append(jax.tree.map(lambda v: v.axes, state, is_leaf=is_variable))
    layers = jax.tree.map(
        lambda names: ("layers", *names),
        nnx.to_pure_dict(axes[0]),
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )
    return found[0], found[1], {**nnx.to_pure_dict(axes[1]), "layers": layers}


def init_params(config: TransformerConfig, seed: int | Array) -> Params:
    """Random parameters, float32, the same on any mesh.

    Matrices are normal with standard deviation `config.init_scale`, norm scales one.

    Args:
        config: sizes.
        seed: integer, or a traced int32 scalar.

    Returns:
        {"embedding", "layers": {"attention", "attention_norm", "mlp", "mlp_norm"}, "final_norm",
        "head"}; leaves under "layers" have a leading axis N.
    """
    ends_key, *layer_keys = jax.random.split(jax.random.key(seed), config.num_layers + 1)
    layers = jax.vmap(lambda key: nnx.to_pure_dict(_split_block(config, key)[1]))(
        jnp.stack(layer_keys)
    )
    return {**nnx.to_pure_dict(_split_ends(config, ends_key)[1]), "layers": layers}


def abstract_params(config: TransformerConfig) -> Params:
    """The tree of `init_params` with `jax.ShapeDtypeStruct` leaves."""
    return jax.eval_shape(functools.partial(init_params, config), 0)


def logical_axes(config: TransformerConfig) -> Params:
    """The tree of `init_params` with a tuple of logical axis names in place of each array."""
    return _definitions(config)[2]


def hidden(
    config: TransformerConfig,
    params: Params,
    ids_BL: Int[Array, "B L"],
    segments_BL: Int[Array, "B L"] | None = None,
    positions_BL: Int[Array, "B L"] | None = None,
    *,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> Float[Array, "B L D"]:
    """Activations after the last norm; `head` makes logits of them.

    Args:
        config: sizes, precision, remat policy.
        params: see `init_params`.
        ids_BL: int32 ids in [0, padded vocabulary).
        segments_BL: int32 segment of each position, 0 for padding; None: each row is one sentence.
        positions_BL: int32 positions, restarting with each segment; None: 0..L-1.
        mesh: where to place activations; None leaves them to the compiler.
        rules: logical axis -> mesh axis; None means the default `Rules`.

    Returns:
        [B, L, D] in `config.dtype`.
    """
    place = functools.partial(constrain, mesh=mesh, rules=rules)
    if positions_BL is None:
        positions_BL = jnp.broadcast_to(jnp.arange(ids_BL.shape[1]), ids_BL.shape)
    rotary = rope.tables(positions_BL, config.head_dim, config.rope_theta)
    attend = lambda q, k, v: attention.attend(q, k, v, segments_BL, config.attention)
    block_graph, _, _ = _definitions(config)

    def layer(x_BLD, layer_params):
        return nnx.merge(block_graph, layer_params)(x_BLD, rotary, attend, place), None

    if config.remat != "none":
        # The scan keeps XLA from merging the recomputation with the forward pass by itself.
        policy = REMAT_POLICIES[config.remat]
        layer = jax.checkpoint(layer, policy=policy, prevent_cse=not config.scan)
    x_BLD = _embed(config, params, ids_BL)
    if config.scan:
        x_BLD, _ = jax.lax.scan(layer, x_BLD, params["layers"])
    else:
        for index in range(config.num_layers):
            x_BLD, _ = layer(x_BLD, layer_params(params, index))
    return place(_final_norm(config, params, x_BLD), ("batch", "length", "act_embed"))


def layer_params(params: Params, index: int) -> Params:
    """The parameters of one layer, without the leading axis."""
    return jax.tree.map(lambda leaf: leaf[index], params["layers"])


def _embed(config: TransformerConfig, params: Params, ids: Array) -> Array:
    return params["embedding"]["kernel"].astype(config.dtype)[ids]


def _ends(config: TransformerConfig, params: Params) -> Ends:
    ends = {name: params[name] for name in ("embedding", "final_norm", "head")}
    return nnx.merge(_definitions(config)[1], ends)


def _final_norm(config: TransformerConfig, params: Params, x: Array) -> Array:
    return _ends(config, params).final_norm(x)


def head(
    config: TransformerConfig,
    params: Params,
    x_BLD: Float[Array, "*batch D"],
    *,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> Float[Array, "*batch V"]:
    """Logits in float32 over the padded vocabulary; nothing is masked here."""
    kernel_DV = params["head"]["kernel"].astype(x_BLD.dtype)
    logits = jnp.matmul(x_BLD, kernel_DV, preferred_element_type=jnp.float32)
    if logits.ndim == 3:
        logits = constrain(logits, ("batch", "length", "act_vocab"), mesh, rules)
    return logits


def apply(
    config: TransformerConfig,
    params: Params,
    ids_BL: Int[Array, "B L"],
    segments_BL: Int[Array, "B L"] | None = None,
    positions_BL: Int[Array, "B L"] | None = None,
    *,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> Float[Array, "B L V"]:
    """float32 logits of every position; arguments as in `hidden`."""
    x_BLD = hidden(config, params, ids_BL, segments_BL, positions_BL, mesh=mesh, rules=rules)
    return head(config, params, x_BLD, mesh=mesh, rules=rules)


def prefill(
    config: TransformerConfig, params: Params, ids_BL: Int[Array, "B L"], cache: Cache
) -> tuple[Float[Array, "B V"], Cache]:
    """Runs whole prompts, one sentence a row, into an empty cache.

    Args:
        config: sizes and precision.
        params: see `init_params`.
        ids_BL: int32 prompts of one length, at most `cache.capacity`.
        cache: see `cache.init_cache`; what it holds is overwritten.

    Returns:
        float32 logits of the last position, and the cache with `length` = L.
    """
    B, L = ids_BL.shape
    positions_BL = jnp.broadcast_to(jnp.arange(L), (B, L))
    rotary = rope.tables(positions_BL, config.head_dim, config.rope_theta)
    keys, values = list(cache.keys), list(cache.values)
    x_BLD = _embed(config, params, ids_BL)
    for index in range(config.num_layers):

        def attend(q_BLHK, k_BLGK, v_BLGK, index=index):
            keys[index] = _write(keys[index], k_BLGK, 0)
            values[index] = _write(values[index], v_BLGK, 0)
            return attention.attend(q_BLHK, k_BLGK, v_BLGK, None, config.attention)

        x_BLD = _block(config, params, index)(x_BLD, rotary, attend, _anywhere)
    logits_BV = head(config, params, _final_norm(config, params, x_BLD[:, -1]))
    return logits_BV, Cache(tuple(keys), tuple(values), jnp.asarray(L, jnp.int32))


def decode_step(
    config: TransformerConfig, params: Params, ids_B: Int[Array, " B"], cache: Cache
) -> tuple[Float[Array, "B V"], Cache]:
    """One more id per row, at position `cache.length`, which must be below the capacity.

    Returns:
        float32 logits [B, V] of the new position, and the cache grown by one.
    """
    positions_B1 = jnp.broadcast_to(cache.length, (ids_B.shape[0], 1))
    rotary = rope.tables(positions_B1, config.head_dim, config.rope_theta)
    keys, values = list(cache.keys), list(cache.values)
    x_B1D = _embed(config, params, ids_B[:, None])
    for index in range(config.num_layers):

        def attend(q_B1HK, k_B1GK, v_B1GK, index=index):
            keys[index] = _write(keys[index], k_B1GK, cache.length)
            values[index] = _write(values[index], v_B1GK, cache.length)
            o_BHK = attention.attend_cached(
                q_B1HK[:, 0], keys[index], values[index], cache.length + 1
            )
            return o_BHK[:, None]

        x_B1D = _block(config, params, index)(x_B1D, rotary, attend, _anywhere)
    logits_BV = head(config, params, _final_norm(config, params, x_B1D[:, 0]))
    return logits_BV, Cache(tuple(keys), tuple(values), cache.length + 1)


def _block(config: TransformerConfig, params: Params, index: int) -> Block:
    return nnx.merge(_definitions(config)[0], layer_params(params, index))


def _anywhere(x: Array, axes) -> Array:
    """Decoding leaves placement to the compiler."""
    return x


def _write(cached_BGTK: Array, new_BLGK: Array, start) -> Array:
    new_BGLK = jnp.swapaxes(new_BLGK, 1, 2).astype(cached_BGTK.dtype)
    return jax.lax.dynamic_update_slice_in_dim(cached_BGTK, new_BGLK, start, axis=2)
