"""Names and layouts of a decoder's arrays in other projects, one table for each.

Everything follows from a table, in both directions: an array of theirs is a view of ours (the same
numbers in another order), so reading fills the view and writing goes along it.

Shapes: D hidden, H heads, K head dim, R = K/2 rotated pairs, I and O the dims that a matrix
contracts and gives, V vocabulary.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from lvm_jax import trees
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig

EMBEDDING = "embedding/kernel"
HEAD = "head/kernel"
LAYERS = "layers/"
# Ours contracts its first dim, but for the one that takes heads apart: (H, K, D).
_CONTRACTS_TWO = ("layers/attention/out/kernel",)
_ROTARY = ("layers/attention/query/kernel", "layers/attention/key/kernel")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """How a project keeps a LLaMA.

    Attributes:
        names: our flat name -> theirs, with {layer} where ours are stacked.
        out_first: matrices are (O, I), as torch keeps them, and not (I, O).
        neighbours: rotary pairs are neighbours (2r, 2r + 1) in a head, and not (r, r + K/2).
        optional: ends of names that some versions write and nobody needs.
    """

    names: Mapping[str, str]
    out_first: bool
    neighbours: bool
    optional: tuple[str, ...]


FORMATS = {
    # transformers, models/llama/modeling_llama.py.
    "hf": Format(
        names={
            "embedding/kernel": "model.embed_tokens.weight",
            "layers/attention_norm/scale": "model.layers.{layer}.input_layernorm.weight",
            "layers/attention/query/kernel": "model.layers.{layer}.self_attn.q_proj.weight",
            "layers/attention/key/kernel": "model.layers.{layer}.self_attn.k_proj.weight",
            "layers/attention/value/kernel": "model.layers.{layer}.self_attn.v_proj.weight",
            "layers/attention/out/kernel": "model.layers.{layer}.self_attn.o_proj.weight",
            "layers/mlp_norm/scale": "model.layers.{layer}.post_attention_layernorm.weight",
            "layers/mlp/gate/kernel": "model.layers.{layer}.mlp.gate_proj.weight",
            "layers/mlp/up/kernel": "model.layers.{layer}.mlp.up_proj.weight",
            "layers/mlp/down/kernel": "model.layers.{layer}.mlp.down_proj.weight",
            "final_norm/scale": "model.norm.weight",
            "head/kernel": "lm_head.weight",
        },
        out_first=True,
        neighbours=False,
        optional=(
            *("rotary_emb.inv_freq", "rotary_emb.original_inv_freq"),
            *("rotary_emb.cos_cached", "rotary_emb.sin_cached"),
        ),
    ),
    # EasyLM, models/llama/llama_model.py.
    "easylm": Format(
        names={
            "embedding/kernel": "transformer/wte/embedding",
            "layers/attention_norm/scale": "transformer/h/{layer}/attention_norm/kernel",
            "layers/attention/query/kernel": "transformer/h/{layer}/attention/wq/kernel",
            "layers/attention/key/kernel": "transformer/h/{layer}/attention/wk/kernel",
            "layers/attention/value/kernel": "transformer/h/{layer}/attention/wv/kernel",
            "layers/attention/out/kernel": "transformer/h/{layer}/attention/wo/kernel",
            "layers/mlp_norm/scale": "transformer/h/{layer}/ffn_norm/kernel",
            "layers/mlp/gate/kernel": "transformer/h/{layer}/feed_forward/w1/kernel",
            "layers/mlp/down/kernel": "transformer/h/{layer}/feed_forward/w2/kernel",
            "layers/mlp/up/kernel": "transformer/h/{layer}/feed_forward/w3/kernel",
            "final_norm/scale": "transformer/ln_f/kernel",
            "head/kernel": "lm_head/kernel",
        },
        out_first=False,
        neighbours=True,
        optional=(),
    ),
}


@dataclasses.dataclass(frozen=True)
class Piece:
    """An array of ours, or one layer of it.

    Attributes:
        name: our flat name.
        layer: which layer; None for an array that is not stacked.
        shape: without the axis of layers.
    """

    name: str
    layer: int | None
    shape: tuple[int, ...]


def pieces(config: TransformerConfig) -> list[Piece]:
    """All arrays of a network, array by array and in each layer by layer."""
    found = []
    for name, leaf in trees.flatten(transformer.abstract_params(config)).items():
        if name.startswith(LAYERS):
            found += [Piece(name, layer, leaf.shape[1:]) for layer in range(leaf.shape[0])]
        else:
            found.append(Piece(name, None, leaf.shape))
    return found


def name_of(format: str, piece: Piece) -> str:
    """What the format calls a piece."""
    return FORMATS[format].names[piece.name].format(layer=piece.layer)


def shape_of(format: str, piece: Piece, rows: int) -> tuple[int, ...]:
    """A piece's shape in the format, where `rows` ids have a row."""
    if piece.name == EMBEDDING:
        return rows, piece.shape[1]
    if len(piece.shape) == 1:
        return piece.shape
    num_in, num_out = (rows if size is None else size for size in _matrix(piece))
    return (num_out, num_in) if FORMATS[format].out_first else (num_in, num_out)


def _matrix(piece: Piece) -> tuple[int, int | None]:
    """I and O of a matrix; None for the head's, which is as long as the vocabulary."""
    contracted = 2 if piece.name in _CONTRACTS_TWO else 1
    num_in = math.prod(piece.shape[:contracted])
    return num_in, None if piece.name == HEAD else math.prod(piece.shape[contracted:])


def as_theirs(format: str, piece: Piece, ours: np.ndarray, rows: int) -> np.ndarray:
    """An array of ours, seen as the format's.

    Args:
        format: one of `FORMATS`.
        piece: what it is.
        ours: the array of the piece's shape, C order.
        rows: ids of the vocabulary that are seen; those that ours has beyond are not.

    Returns:
        A view of the same memory, whose axis 0 is theirs and whose further axes are theirs once
        they are joined to one, C order.
    """
    if piece.name == EMBEDDING:
        return ours[:rows]
    if ours.ndim == 1:
        return ours
    if piece.name == HEAD:
        return as_table(ours, rows) if FORMATS[format].out_first else ours[:, :rows]
    ours_IO = ours.reshape(_matrix(piece)[0], -1)
    if FORMATS[format].out_first:
        assert not FORMATS[format].neighbours
        return ours_IO.T
    if FORMATS[format].neighbours and piece.name in _ROTARY:
        num_heads, head_dim = piece.shape[1:]
        ours_IH2R = ours_IO.reshape(-1, num_heads, 2, head_dim // 2)
        return ours_IH2R.swapaxes(2, 3)
    return ours_IO


def as_table(head_DV: np.ndarray, rows: int) -> np.ndarray:
    """A head, seen as the table of an embedding that serves as one."""
    return head_DV[:, :rows].T
