"""What an evaluation was made of, and one hash of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from lvm_jax import configs, image_record
from lvm_jax.evaluation.asking import parts
from lvm_jax.evaluation.asking.runner import Evaluation
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.images import ImageConfig
from lvm_jax.tokenizer.codec import Tokenizer
from lvm_jax.version import __version__

# What does not change numbers, or says the same again in words.
_OUTSIDE = ("hash", "source", "software", "machine")
_NAMES = ("model", "tokenizer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked of which model.

    Attributes:
        model, tokenizer: loaded.
        names: "model" and "tokenizer" -> where they came from.
        image_config: how pictures were read.
        task: which tasks, measured how.
        settings: dataclass with `seeds` of how much was asked.
        source: where the pictures lie; what is in them is in the manifest's "inputs".
    """

    model: LanguageModel
    tokenizer: Tokenizer
    names: Mapping[str, str]
    image_config: ImageConfig
    task: Mapping[str, Any]
    settings: Any
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def build(asked: Asked, evaluated: Evaluation) -> dict[str, Any]:
    """The manifest of an evaluation, hash included; see `evaluation_file`.

    Args:
        asked: what it is of.
        evaluated: what was found, with its pictures.
    """
    values = configs.to_dict(asked.settings)
    seeds = values.pop("seeds")
    # How many rows are computed at once changes no number, nor do pictures for the eye, nor what
    # is measured besides.
    besides = ("batch_size", "num_shown", "first_ids")
    values = {k: v for k, v in values.items() if k not in besides}
    manifest = {
        "model": {
            "name": asked.names["model"],
            "fingerprint": evaluated.model,
            "framing": configs.to_dict(asked.model.framing),
        },
        "tokenizer": {
            "name": asked.names["tokenizer"],
            "fingerprint": asked.tokenizer.fingerprint,
        },
        "task": dict(asked.task),
        "settings": values | image_record.entry(asked.image_config),
        "seeds": seeds,
        "prompts": {name: [list(keys) for keys in p] for name, p in evaluated.prompts.items()},
        "inputs": dict(evaluated.inputs),
    }
    return {
        "hash": digest(manifest),
        **manifest,
        "source": dict(asked.source),
        "software": {"lvm_jax": __version__, "jax": jax.__version__},
        "machine": {"devices": len(jax.devices()), "kind": jax.devices()[0].device_kind},
    }


def digest(manifest: Mapping[str, Any]) -> str:
    """The hash of a manifest: of all that its numbers depend on, names of directories excepted."""
    content = {key: value for key, value in manifest.items() if key not in _OUTSIDE}
    for key in _NAMES:
        content[key] = {name: value for name, value in content[key].items() if name != "name"}
    return parts.digest(content)
