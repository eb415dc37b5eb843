"""A trained transformer, ready to be asked.

Legend: B rows, L ids of a row, V logical vocabulary size.
"""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from lvm_jax import partition, trees
from lvm_jax.conversion import stored_model
from lvm_jax.images import ImageConfig
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import ComputeType, TransformerConfig
from lvm_jax.rules import Rules
from lvm_jax.tokenizer.codec import Tokenizer
from lvm_jax.training.stored_params import StoredParams
from lvm_jax.vocabulary import Framing, Vocabulary

# Rows that are asked about may be of any number and length: devices share matrices, not rows.
_ANY_ROWS = Rules(batch=None, length=None, residual_length=None)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """Sizes, parameters and the ids they were trained on.

    Attributes:
        config: sizes, precision, context.
        params: plain nested dict of arrays, see `transformer.init_params`.
        tokenizer_fingerprint: of the tokenizer behind the training data; "" when unknown.
        images: how the pictures behind the training data were read; None when unknown.
        framing: the special ids around the sentences that it learned.
        mesh: devices that share the parameters; None is one device.
    """

    config: TransformerConfig
    params: Any
    tokenizer_fingerprint: str = ""
    images: ImageConfig | None = None
    framing: Framing = dataclasses.field(default_factory=Framing)
    mesh: Mesh | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids: codes, then BOS, EOS, PAD."""
        return self.config.vocabulary

    def logits(self, ids: Int[Array, "B L"] | np.ndarray) -> Float[Array, "B L V"]:
        """Scores of every next id: [:, i] looks at ids 0..i of its row.

        Args:
            ids: integers in [0, vocabulary.size); BOS first where `framing` has it, as in training.

        Returns:
            float32 [B, L, vocabulary.size].

        Raises:
            ValueError: not [B, L], longer than the context, or an id out of range.
        """
        ids_BL = np.asarray(ids)
        if ids_BL.ndim != 2 or not np.issubdtype(ids_BL.dtype, np.integer):
            raise ValueError(f"ids must be integers [B, L], not {ids_BL.dtype} {ids_BL.shape}")
        if ids_BL.shape[1] > self.config.context:
            raise ValueError(
                f"rows of {ids_BL.shape[1]} ids exceed the model's context of {self.config.context}"
            )
        if ids_BL.size and not (ids_BL.min() >= 0 and ids_BL.max() < self.vocabulary.size):
            raise ValueError(
                f"ids {ids_BL.min()}..{ids_BL.max()} must lie in 0..{self.vocabulary.size - 1}"
            )
        ids_BL = ids_BL.astype(np.int32)
        return _logits(self.params, ids_BL, config=self.config, mesh=self.mesh)

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuses a tokenizer whose ids mean something else to this model.

        Raises:
            ValueError: another number of codes, or another fingerprint than the training data's.
        """
        _require_same_ids(self.vocabulary, self.tokenizer_fingerprint, tokenizer)


def _require_same_ids(vocabulary: Vocabulary, known: str, tokenizer: Tokenizer) -> None:
    """`LanguageModel.check_tokenizer`, of what config.json says of a model."""
    if tokenizer.num_codes != vocabulary.num_codes:
        raise ValueError(
            f"the tokenizer has {tokenizer.num_codes} codes and the model "
            f"{vocabulary.num_codes}; use the tokenizer that the model was trained with"
        )
    if known and known != tokenizer.fingerprint:
        raise ValueError(
            f"the tokenizer's fingerprint {tokenizer.fingerprint[:12]} is not the model's "
            f"{known[:12]}; use the tokenizer that the model was trained with"
        )


@functools.partial(jax.jit, static_argnames=("config", "mesh"))
def _logits(
    params: Any, ids_BL: jax.Array, *, config: TransformerConfig, mesh: Mesh | None
) -> jax.Array:
    logits_BLV = transformer.apply(config, params, ids_BL, mesh=mesh, rules=_ANY_ROWS)
    logits_BLV = logits_BLV[..., : config.vocabulary.size]
    return logits_BLV.astype(jnp.float32)


def load_model(
    directory: str | pathlib.Path,
    *,
    step: int | None = None,
    ema: bool = False,
    dtype: ComputeType | None = None,
    mesh: Mesh | None = None,
    tokenizer: Tokenizer | None = None,
) -> LanguageModel:
    """Loads a model: of a training, or by itself.

    Args:
        directory: a training workdir, or a model directory of convert_model or export_model; on a
            disk or a store.
        step: which checkpoint of a training; the newest whole one when None.
        ema: the training's average instead of its parameters.
        dtype: what to compute in, and to keep matrices in; None computes in what config.json says
            and keeps parameters as they are stored.
        mesh: devices that share the parameters, none of which reads more than its share; None is
            one device.
        tokenizer: what the model will be used with, checked before parameters are read.

    Raises:
        ValueError: the directory holds no model, one that this version cannot read, or one that is
            damaged; names the file, and the first few parameters that do not fit config.json. Or
            the tokenizer's ids mean something else to the model.
    """
    found = stored_model.find(directory, step, ema=ema)
    if tokenizer is not None:
        _require_same_ids(found.config.vocabulary, found.tokenizer_fingerprint, tokenizer)
    config = dataclasses.replace(found.config, dtype=dtype or found.config.dtype)
    return LanguageModel(
        config=config,
        params=_read(found.params, config, dtype, mesh),
        tokenizer_fingerprint=found.tokenizer_fingerprint,
        images=found.images,
        framing=found.framing,
        mesh=mesh,
    )


def _read(
    found: StoredParams, config: TransformerConfig, dtype: ComputeType | None, mesh: Mesh | None
) -> Any:
    """Parameters on their devices; vectors, such as scales of norms, keep what they are stored as.

    Vectors are never rounded to a compute type, so matrices that are give the same results as those
    that are rounded when they are used.
    """
    flat = trees.flatten(found.shapes)
    dtypes = {
        name: leaf.dtype if dtype is None or not name.endswith("kernel") else jnp.dtype(dtype)
        for name, leaf in flat.items()
    }
    if mesh is not None:
        axes = transformer.logical_axes(config)
        placed = trees.flatten(partition.shardings(mesh, Rules(), axes, found.shapes))
        like = {
            name: jax.ShapeDtypeStruct(leaf.shape, dtypes[name], sharding=placed[name])
            for name, leaf in flat.items()
        }
        return found.read(trees.unflatten(like))
    read = trees.flatten(found.read())
    # One after the other, so that memory holds one of them twice and not all; and put, which needs
    # no program as `jnp.asarray` does for every shape.
    return trees.unflatten(
        {name: jax.device_put(read.pop(name).astype(dtypes[name], copy=False)) for name in dtypes}
    )
