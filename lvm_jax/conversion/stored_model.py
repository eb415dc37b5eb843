"""A transformer that lies on disk: its sizes, its framing and its parameters, which fit them."""

import dataclasses
import pathlib

from lvm_jax import configs, image_record, trees
from lvm_jax.images import ImageConfig
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.storage import paths
from lvm_jax.training import model_directory, stored_params, workdir
from lvm_jax.training.stored_params import StoredParams
from lvm_jax.vocabulary import Framing


class NotOursError(ValueError):
    """A directory that holds no transformer of this package."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A model that was found, of a training or by itself.

    Attributes:
        config: sizes and precision. How attention and products were computed is left out: it suited
            the machine and the rows of the training.
        framing: the special ids around the sentences that it learned.
        tokenizer_fingerprint: of the tokenizer behind its training data; "" when unknown.
        images: how the pictures behind these were read; None when unknown.
        params: that fit `config`, but for their types; not read yet.
    """

    config: TransformerConfig
    framing: Framing
    tokenizer_fingerprint: str
    images: ImageConfig | None
    params: StoredParams


def find(
    directory: str | pathlib.Path, step: int | None = None, *, ema: bool = False
) -> StoredModel:
    """Looks what a directory holds, and whether it is whole.

    Args:
        directory: a training workdir, or a model directory; on a disk or a store.
        step: which checkpoint of a training; the newest whole one when None.
        ema: the training's average instead of its parameters.

    Raises:
        NotOursError: it holds no transformer.
        ValueError: nor such a checkpoint or average, or it is damaged, or of no version that can be
            read; names the file, and the first few parameters that do not fit config.json.
    """
    directory = paths.path(directory)
    where = str(directory / workdir.CONFIG)
    if not isinstance(workdir.read_config(directory).get("model"), dict):
        raise NotOursError(f"{where}: model is missing, so {directory} holds no transformer")
    params = stored_params.find(directory, step, ema=ema)
    config = configs.build_stored(TransformerConfig, params.config["model"], f"{where}: model")
    config = dataclasses.replace(config, attention="auto", products="compute")
    wanted = transformer.abstract_params(config)
    if differences := trees.first_differences(wanted, params.shapes, dtypes=False):
        at = "" if params.step is None else f" of step {params.step}"
        raise ValueError(
            f"parameters in {params.directory}{at} do not fit {where}: model: "
            f"{'; '.join(differences)}; use a directory as it was written, or write it anew"
        )
    return StoredModel(
        config=config,
        framing=model_directory.framing_of(params.config, where),
        tokenizer_fingerprint=params.config.get("tokenizer_fingerprint") or "",
        images=image_record.read(params.config, where),
        params=params,
    )
