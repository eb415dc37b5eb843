"""The decoder: ids -> logits, whole rows at a time (`cached_steps` goes position by position).

Modules are definitions only (`lvm_jax.modules`): everything is a pure function of (config, params,
arrays). Layers are stacked on axis 0 by vmapping the constructor and run by `lax.scan`.

Shapes: B batch, L length, D hidden, H query heads, G key/value heads, K head dim, M mlp,
V padded vocabulary, N layers.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from lvm_jax.devices import DEVICE_MEMORY, HOST_MEMORY
from lvm_jax.model import linear, low_precision, rope
from lvm_jax.model.attention import backends, context_order
from lvm_jax.model.attention.needs import Sizes
from lvm_jax.model.attention.saved_names import ATTENTION, PROJECTION
from lvm_jax.model.transformer_config import Products, TransformerConfig
from lvm_jax.modules import Definition, Params
from lvm_jax.partition import Rules, constrain, num_parts

Attend = Callable[[Array, Array, Array], Array]
"""(queries, keys, values) -> what is attended to."""
Place = Callable[[Array, Sequence[str | None]], Array]
"""An activation and its logical axes -> the same, told where it lives."""
NumParts = Callable[[str], int]
"""A logical axis -> in how many parts devices split it."""


def _whole(logical: str) -> int:
    """The `NumParts` of one device."""
    del logical
    return 1


# Logical axes of the residual stream, and of what the matrices of a layer are given and give.
RESIDUAL = ("batch", "residual_length", "act_embed")
INSIDE = ("batch", "length", "act_embed")

# What jax.checkpoint keeps of a layer, by the config's name: results marked by `checkpoint_name`,
# here as PROJECTION and in `attention` as ATTENTION.
REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.save_only_these_names(PROJECTION, ATTENTION),
    "projections": jax.checkpoint_policies.save_only_these_names(PROJECTION),
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=(),
        names_which_can_be_offloaded=(PROJECTION,),
        offload_src=DEVICE_MEMORY,
        offload_dst=HOST_MEMORY,
    ),
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Linear(nnx.Module):
    """A matrix without bias: contracts the input's last dims with the kernel's first ones.

    Args:
        shape: of the kernel.
        axes: its logical axes.
        num_in: how many of its dims are contracted.
        config: gives the scale of its random values, and what is multiplied.
        rngs: source of them.
        dtype: of the result; None is the input's.
        products: what is multiplied, instead of the config's.
    """

    def __init__(
        self,
        shape: Sequence[int],
        axes: Sequence[str],
        num_in: int,
        config: TransformerConfig,
        rngs: nnx.Rngs,
        dtype: DTypeLike | None = None,
        products: Products | None = None,
    ):
        self.kernel = _random_matrix(shape, axes, config, rngs)
        self.num_in, self.dtype = num_in, dtype
        self.axes, self.products = tuple(axes), products or config.products

    def __call__(self, x: Array, num_parts: NumParts = _whole) -> Array:
        kernel = self.kernel[...]
        leading, out = x.shape[: x.ndim - self.num_in], kernel.shape[self.num_in :]
        num_in, num_out = math.prod(kernel.shape[: self.num_in]), math.prod(out)
        x_I, kernel_IO = x.reshape(*leading, num_in), kernel.reshape(num_in, num_out)
        if self.products == "compute":
            y_O = linear.product(x_I, kernel_IO, self.dtype)
        else:
            parts = self._parts(num_parts)
            y_O = low_precision.product(x_I, kernel_IO, self.products, parts, self.dtype)
        return y_O.reshape(*leading, *out)

    def _parts(self, num_parts: NumParts) -> low_precision.Parts:
        inside = [num_parts(f"act_{axis}") for axis in self.axes]
        return low_precision.Parts(
            leading=(num_parts("batch"), num_parts("length")),
            inner=math.prod(inside[: self.num_in]),
            outer=math.prod(inside[self.num_in :]),
        )


def _random_matrix(
    shape: Sequence[int], axes: Sequence[str], config: TransformerConfig, rngs: nnx.Rngs
) -> nnx.Param:
    values = config.init_scale * jax.random.normal(rngs.params(), shape, jnp.float32)
    return nnx.Param(values, axes=tuple(axes))


def embed(table_VD: Array, ids: Array, dtype: DTypeLike) -> Array:
    """Ids [...] -> their rows of the table, [..., D] in the compute dtype."""
    return table_VD.astype(dtype)[ids]


class Embedding(nnx.Module):
    """`embed` and its table."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        shape = (config.vocabulary.padded_size, config.hidden_dim)
        self.kernel = _random_matrix(shape, ("vocab", "embed"), config, rngs)
        self.dtype = config.dtype

    def __call__(self, ids: Array) -> Array:
        return embed(self.kernel[...], ids, self.dtype)


def rms_norm(x_D: Array, scale_D: Array, eps: float) -> Array:
    """Root-mean-square norm over the last dim, computed in float32, returned in x's dtype."""
    x32_D = x_D.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x32_D), axis=-1, keepdims=True) + eps)
    return (x32_D * inverse * jnp.broadcast_to(scale_D, x_D.shape)).astype(x_D.dtype)


class RMSNorm(nnx.Module):
    """`rms_norm` and its scale."""

    def __init__(self, config: TransformerConfig):
        self.scale = nnx.Param(jnp.ones((config.hidden_dim,), jnp.float32), axes=("norm",))
        self.eps = config.norm_eps

    def __call__(self, x: Array) -> Array:
        return rms_norm(x, self.scale[...], self.eps)


class Attention(nnx.Module):
    """Projections around a given attention function."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        D, H, G, K = config.hidden_dim, config.num_heads, config.kv_heads, config.head_dim
        self.query = Linear((D, H, K), ("embed", "heads", "head_dim"), 1, config, rngs)
        self.key = Linear((D, G, K), ("embed", "kv_heads", "head_dim"), 1, config, rngs)
        self.value = Linear((D, G, K), ("embed", "kv_heads", "head_dim"), 1, config, rngs)
        self.out = Linear((H, K, D), ("heads", "head_dim", "embed"), 2, config, rngs)

    def __call__(
        self,
        x_BLD: Array,
        rotary: tuple[Array, Array],
        attend: Attend,
        place: Place,
        num_parts: NumParts,
    ) -> Array:
        heads, kv_heads = [("batch", "length", f"act_{n}", None) for n in ("heads", "kv_heads")]
        q_BLHK = place(rope.rotate(self.query(x_BLD, num_parts), *rotary), heads)
        k_BLGK = place(rope.rotate(self.key(x_BLD, num_parts), *rotary), kv_heads)
        v_BLGK = place(self.value(x_BLD, num_parts), kv_heads)
        return self.out(place(attend(q_BLHK, k_BLGK, v_BLGK), heads), num_parts)


class MLP(nnx.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        D, M = config.hidden_dim, config.mlp_dim
        self.gate = Linear((D, M), ("embed", "mlp"), 1, config, rngs)
        self.up = Linear((D, M), ("embed", "mlp"), 1, config, rngs)
        self.down = Linear((M, D), ("mlp", "embed"), 1, config, rngs)

    def __call__(self, x_BLD: Array, place: Place, num_parts: NumParts) -> Array:
        gate_BLM, up_BLM = (
            checkpoint_name(layer(x_BLD, num_parts), PROJECTION) for layer in (self.gate, self.up)
        )
        y_BLM = jax.nn.silu(gate_BLM) * up_BLM
        return self.down(place(y_BLM, ("batch", "length", "act_mlp")), num_parts)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _move(x: Array, place: Place, here: Sequence[str], there: Sequence[str]) -> Array:
    """An activation that lives here, placed there; its gradient goes the other way.

    A constraint alone would hold the gradient there, too: sums over devices that a reduce-scatter
    brings here would be all-reduced first.
    """
    return place(x, there)


_move.defvjp(
    lambda x, place, here, there: (place(x, there), None),
    lambda place, here, there, _, g: (place(g, here),),
)


class Block(nnx.Module):
    """One decoder layer, norms before each half."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(config)
        self.attention = Attention(config, rngs)
        self.mlp_norm = RMSNorm(config)
        self.mlp = MLP(config, rngs)

    def __call__(
        self,
        x_BLD: Array,
        rotary: tuple[Array, Array],
        attend: Attend,
        place: Place,
        num_parts: NumParts = _whole,
    ) -> Array:
        enter = lambda x_BLD: _move(x_BLD, place, RESIDUAL, INSIDE)
        leave = lambda x_BLD: _move(x_BLD, place, INSIDE, RESIDUAL)
        x_BLD = place(x_BLD, RESIDUAL)
        seen_BLD = enter(self.attention_norm(x_BLD))
        x_BLD = x_BLD + leave(self.attention(seen_BLD, rotary, attend, place, num_parts))
        x_BLD = checkpoint_name(place(x_BLD, RESIDUAL), PROJECTION)
        return x_BLD + leave(self.mlp(enter(self.mlp_norm(x_BLD)), place, num_parts))


class Ends(nnx.Module):
    """What is before and after the layers; embedding and head are separate matrices."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        V, D = config.vocabulary.padded_size, config.hidden_dim
        self.embedding = Embedding(config, rngs)
        self.final_norm = RMSNorm(config)
        self.head = Linear((D, V), ("embed", "vocab"), 1, config, rngs, jnp.float32, "compute")


@functools.cache
def _block(config: TransformerConfig) -> Definition[Block]:
    return Definition(lambda rngs: Block(config, rngs))


@functools.cache
def _ends(config: TransformerConfig) -> Definition[Ends]:
    return Definition(lambda rngs: Ends(config, rngs))


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
    layers = jax.vmap(_block(config).init)(jnp.stack(layer_keys))
    return {**_ends(config).init(ends_key), "layers": layers}


def abstract_params(config: TransformerConfig) -> Params:
    """The tree of `init_params` with `jax.ShapeDtypeStruct` leaves."""
    return jax.eval_shape(functools.partial(init_params, config), 0)


def logical_axes(config: TransformerConfig) -> Params:
    """The tree of `init_params` with a tuple of logical axis names in place of each array."""
    return {**_ends(config).logical_axes(), "layers": _block(config).logical_axes("layers")}


def block(config: TransformerConfig, params_of_layer: Params) -> Block:
    """A layer as a function, from its parameters (no leading axis)."""
    return _block(config).bind(params_of_layer)


def ends(config: TransformerConfig, params: Params) -> Ends:
    """Embedding, last norm and head as functions."""
    return _ends(config).bind({name: params[name] for name in params if name != "layers"})


def layer_params(params: Params, index: int) -> Params:
    """The parameters of one layer, without the leading axis."""
    return jax.tree.map(lambda leaf: leaf[index], params["layers"])


def choose_attention(
    config: TransformerConfig, length: int, mesh: Mesh | None, rules: Rules | None = None
) -> backends.Choice:
    """The backend that attention runs on, for rows of `length` ids on these devices.

    Raises:
        ConfigError: `config.attention` cannot run there. Its fields are those of the config, and
            length.
    """
    sizes = Sizes(
        length=length,
        num_heads=config.num_heads,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        dtype=config.dtype,
    )
    return backends.choose(config.attention, sizes, mesh, rules)


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
    if positions_BL is None:
        positions_BL = jnp.broadcast_to(jnp.arange(ids_BL.shape[1]), ids_BL.shape)
    balance = functools.partial(context_order.balance, mesh=mesh, rules=rules)
    x_BLD = hidden_balanced(
        config,
        params,
        balance(ids_BL),
        None if segments_BL is None else balance(segments_BL),
        balance(positions_BL),
        mesh=mesh,
        rules=rules,
    )
    return context_order.restore(x_BLD, mesh, rules)


def hidden_balanced(
    config: TransformerConfig,
    params: Params,
    ids_BL: Int[Array, "B L"],
    segments_BL: Int[Array, "B L"] | None,
    positions_BL: Int[Array, "B L"],
    *,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> Float[Array, "B L D"]:
    """`hidden` of ids in the balanced order of `context_order`, and in that order.

    The natural order unless devices share rows. Saves moving activations where their order does
    not matter, as in a loss.
    """
    place = functools.partial(constrain, mesh=mesh, rules=rules)
    split = functools.partial(num_parts, mesh=mesh, rules=rules)
    rotary = rope.tables(positions_BL, config)
    choice = choose_attention(config, ids_BL.shape[1], mesh, rules)
    attend = lambda q, k, v: backends.attend(q, k, v, segments_BL, choice, mesh, rules)

    def layer(x_BLD: Array, params_of_layer: Params) -> tuple[Array, None]:
        return block(config, params_of_layer)(x_BLD, rotary, attend, place, split), None

    run = layer
    if config.remat != "none":
        # The scan keeps XLA from merging the recomputation with the forward pass by itself.
        policy = REMAT_POLICIES[config.remat]
        run = jax.checkpoint(layer, policy=policy, prevent_cse=not config.scan)
    outer = ends(config, params)
    x_BLD = outer.embedding(ids_BL)
    if config.scan:
        x_BLD, _ = jax.lax.scan(run, x_BLD, params["layers"])
    else:
        for index in range(config.num_layers):
            x_BLD, _ = run(x_BLD, layer_params(params, index))
    return place(outer.final_norm(x_BLD), RESIDUAL)


def head(
    config: TransformerConfig,
    params: Params,
    x_BLD: Float[Array, "B L D"],
    *,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> Float[Array, "B L V"]:
    """Logits in float32 over the padded vocabulary; nothing is masked here."""
    place = functools.partial(constrain, mesh=mesh, rules=rules)
    logits_BLV = ends(config, params).head(_move(x_BLD, place, RESIDUAL, INSIDE))
    return constrain(logits_BLV, ("batch", "length", "act_vocab"), mesh, rules)


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
