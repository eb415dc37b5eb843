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
from jaxtyping import Array, Float, Int

from lvm_jax import configs, image_record, trees
from lvm_jax.images import ImageConfig
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.storage import paths
from lvm_jax.tokenizer.codec import Tokenizer
from lvm_jax.training import model_directory, stored_params
from lvm_jax.training import workdir as workdir_lib
from lvm_jax.vocabulary import Framing, Vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """Sizes, parameters and the ids they were trained on.

    Attributes:
        config: sizes, precision, context.
        params: plain nested dict of arrays, see `transformer.init_params`.
        tokenizer_fingerprint: of the tokenizer behind the training data; "" when unknown.
        images: how the pictures behind the training data were read; None when unknown.
        framing: the special ids around the sentences that it learned.
    """

    config: TransformerConfig
    params: Any
    tokenizer_fingerprint: str = ""
    images: ImageConfig | None = None
    framing: Framing = dataclasses.field(default_factory=Framing)

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
        return _logits(self.params, ids_BL.astype(np.int32), config=self.config)

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuses a tokenizer whose ids mean something else to this model.

        Raises:
            ValueError: another number of codes, or another fingerprint than the training data's.
        """
        if tokenizer.num_codes != self.vocabulary.num_codes:
            raise ValueError(
                f"the tokenizer has {tokenizer.num_codes} codes and the model "
                f"{self.vocabulary.num_codes}; use the tokenizer that the model was trained with"
            )
        known = self.tokenizer_fingerprint
        if known and known != tokenizer.fingerprint:
            raise ValueError(
                f"the tokenizer's fingerprint {tokenizer.fingerprint[:12]} is not the model's "
                f"{known[:12]}; use the tokenizer that the model was trained with"
            )


@functools.partial(jax.jit, static_argnames="config")
def _logits(params: Any, ids_BL: jax.Array, *, config: TransformerConfig) -> jax.Array:
    logits_BLV = transformer.apply(config, params, ids_BL)[..., : config.vocabulary.size]
    return logits_BLV.astype(jnp.float32)


def load_image_config(directory: str | pathlib.Path) -> ImageConfig | None:
    """`LanguageModel.images` of a training workdir, without its parameters.

    Raises:
        ValueError: the directory is none, or keeps settings that this version does not know.
    """
    directory = paths.path(directory)
    where = str(directory / workdir_lib.CONFIG)
    return image_record.read(workdir_lib.read_config(directory), where)


def load_model(directory: str | pathlib.Path) -> LanguageModel:
    """Loads the newest checkpoint of a training workdir.

    Raises:
        ValueError: the directory holds no trained model, or one that this version cannot read;
            names the file.
    """
    directory = paths.path(directory)
    resolved = workdir_lib.read_config(directory)
    name = f"{directory / workdir_lib.CONFIG}: model"
    if not isinstance(resolved.get("model"), dict):
        raise ValueError(f"{name} is missing, so {directory} holds no transformer")
    config = configs.build_stored(TransformerConfig, resolved["model"], name)
    # How attention was computed suited the machine and the rows of the training.
    config = dataclasses.replace(config, attention="auto")
    params, _ = stored_params.load_params(directory)
    differences = trees.first_differences(transformer.abstract_params(config), params)
    if differences:
        raise ValueError(f"parameters in {directory} do not fit {name}: {'; '.join(differences)}")
    return LanguageModel(
        config=config,
        params=jax.tree.map(jnp.asarray, params),
        tokenizer_fingerprint=resolved.get("tokenizer_fingerprint") or "",
        images=load_image_config(directory),
        framing=model_directory.framing_of(resolved, str(directory / workdir_lib.CONFIG)),
    )
