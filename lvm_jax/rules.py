"""Logical axes -> mesh axes: one frozen table, no catch-all.

Every parameter and every constrained activation names the logical axis of each of its dimensions
beside its definition. `Rules` says which mesh axis, if any, splits each logical axis. Weight and
activation axes have names of their own, so that one can be split without the other.
"""

import dataclasses
from collections.abc import Sequence

from jax.sharding import PartitionSpec

from lvm_jax import mesh as mesh_lib
from lvm_jax.configs import ConfigError, Field

MeshAxes = str | tuple[str, ...] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """Logical axis -> mesh axis, mesh axes, or None (not split).

    Attributes:
        layers: of weights: the stacked blocks.
        vocab: of weights: the ids of the embedding and of the head.
        embed: of weights: the residual stream.
        heads, kv_heads: of weights: query heads; key and value heads.
        head_dim: of weights: inside a head.
        mlp: of weights: inside SwiGLU.
        norm: of weights: a vector's only axis.
        batch: of activations: rows.
        length: of activations: ids of a row.
        residual_length: of activations: the same between the halves of a layer, where every id is
            on its own. Split over tensor, too, each device keeps and normalises its part alone; the
            all-reduces of tensor become reduce-scatters and all-gathers of about as many bytes. Its
            axes begin with those of length.
        act_embed, act_heads, act_kv_heads, act_head_dim, act_mlp, act_vocab: of activations: what
            weights call so without act.
    """

    layers: MeshAxes = None
    vocab: MeshAxes = "tensor"
    embed: MeshAxes = "fsdp"
    heads: MeshAxes = "tensor"
    kv_heads: MeshAxes = "tensor"
    head_dim: MeshAxes = None
    mlp: MeshAxes = "tensor"
    norm: MeshAxes = None
    batch: MeshAxes = ("data", "fsdp")
    length: MeshAxes = "context"
    residual_length: MeshAxes = ("context", "tensor")
    act_embed: MeshAxes = None
    act_heads: MeshAxes = "tensor"
    act_kv_heads: MeshAxes = "tensor"
    act_head_dim: MeshAxes = None
    act_mlp: MeshAxes = "tensor"
    act_vocab: MeshAxes = "tensor"

    def __post_init__(self):
        for field in dataclasses.fields(self):
            for axis in as_tuple(getattr(self, field.name)):
                if axis not in mesh_lib.AXES:
                    raise ConfigError(
                        Field(field.name),
                        f"={axis!r} is not a mesh axis; use one of {', '.join(mesh_lib.AXES)} or "
                        "None",
                    )
        for together in _TOGETHER:
            self.spec(together)

    def mesh_axes(self, logical: str | None) -> tuple[str, ...]:
        """Mesh axes that split a logical axis; none for None.

        Raises:
            ValueError: no rule names the axis.
        """
        if logical is None:
            return ()
        if logical not in {field.name for field in dataclasses.fields(self)}:
            raise ValueError(f"no rule for logical axis {logical!r}; add it to partition.Rules")
        return as_tuple(getattr(self, logical))

    def spec(self, logical_axes: Sequence[str | None]) -> PartitionSpec:
        """The PartitionSpec of an array with these logical axes.

        Raises:
            ValueError: an axis without a rule, or two dimensions split by the same mesh axis.
        """
        entries: list[str | tuple[str, ...] | None] = []
        owner: dict[str, Field] = {}
        for logical in logical_axes:
            axes, name = self.mesh_axes(logical), Field(logical)
            for axis in axes:
                if axis in owner:
                    raise ConfigError(
                        *(owner[axis], " and ", name, f" both use mesh axis {axis!r} "),
                        f"in {tuple(logical_axes)}; set one of them to None",
                    )
                owner[axis] = name
            entries.append(axes[0] if len(axes) == 1 else (axes or None))
        return PartitionSpec(*entries)


def as_tuple(axes: MeshAxes) -> tuple[str, ...]:
    """None -> (), "fsdp" -> ("fsdp",), tuples as they are."""
    if axes is None:
        return ()
    return (axes,) if isinstance(axes, str) else tuple(axes)


# Axes that meet in one array of the transformer: a colliding rule fails when it is written down,
# not when the first parameter is placed.
_TOGETHER = (
    ("vocab", "embed"),
    ("layers", "norm"),
    ("layers", "embed", "heads", "head_dim"),
    ("layers", "embed", "kv_heads", "head_dim"),
    ("layers", "embed", "mlp"),
    ("batch", "length", "act_embed"),
    ("batch", "residual_length", "act_embed"),
    ("batch", "length", "act_heads", "act_head_dim"),
    ("batch", "length", "act_kv_heads", "act_head_dim"),
    ("batch", "length", "act_mlp"),
    ("batch", "length", "act_vocab"),
)
