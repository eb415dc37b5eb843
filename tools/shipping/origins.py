"""What is recorded of the trainings of a model and of its tokenizer."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import ml_dtypes
import numpy as np

import lvm_jax
from lvm_jax import configs, trees
from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.data.shards.reader import Shards
from lvm_jax.training import workdir
from shipping import licences


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origins:
    """Where a pair comes from.

    Attributes:
        folders: that training showed, below the corpus's "train".
        sentences, images: of the shards that the model learned from.
        tokenizer: config.json of the tokenizer's training.
    """

    folders: frozenset[str]
    sentences: int
    images: int
    tokenizer: dict[str, Any]


def read(model: pathlib.Path, tokenizer: pathlib.Path, training: pathlib.Path) -> Origins:
    """Reads what two trainings left.

    Args:
        model: workdir of the transformer's training; its shards must be where they were.
        tokenizer: directory of its tokenizer.
        training: workdir of the tokenizer's training.

    Raises:
        ValueError: it cannot be told what one of them learned from.
    """
    folders, sentences, images = _of_shards(workdir.read_config(model), model)
    about = training / workdir.CONFIG
    of_tokenizer = workdir.read_config(about.parent) if about.is_file() else {}
    corpus = of_tokenizer.get("corpus")
    if not corpus:
        raise ValueError(
            f"cannot tell what the tokenizer {tokenizer} learned from: {about} does not say; name "
            "the workdir of its training with --tokenizer_workdir"
        )
    _require_made_by(tokenizer, training)
    folders |= licences.folders_of(corpus["sources"], "the tokenizer")
    return Origins(
        folders=frozenset(folders), sentences=sentences, images=images, tokenizer=of_tokenizer
    )


def _require_made_by(tokenizer: pathlib.Path, training: pathlib.Path) -> None:
    """Refuses a tokenizer that is not a training's, as it left it or rounded to bfloat16."""
    given, left = (lvm_jax.load_tokenizer(place) for place in (tokenizer, training / "tokenizer"))
    flat, trained = (trees.flatten(jax.device_get(each.params)) for each in (given, left))
    rounded = {name: leaf.astype(ml_dtypes.bfloat16) for name, leaf in trained.items()}
    same = given.config == left.config and any(
        all(np.array_equal(flat[name], leaf.astype(np.float32)) for name, leaf in known.items())
        for known in (trained, rounded)
    )
    if not same:
        raise ValueError(
            f"{tokenizer} is not the tokenizer that {training} trained, nor that rounded to "
            "bfloat16; name the workdir of its training"
        )


def _of_shards(config: dict[str, Any], model: pathlib.Path) -> tuple[set[str], int, int]:
    """(folders, sentences, images) of all shards and sources that a training read."""
    if "data" not in config:
        raise ValueError(f"{model} is no workdir of a training: its config.json names no data")
    data = configs.build_stored(DataConfig, config["data"], f"{model}: data")
    folders: set[str] = set()
    sentences = images = 0
    for part in data.mixture or (None,):
        shards = Shards(part.shards if part and part.shards else data.shards)
        about = shards.manifest.get("about") or {}
        names = (part.sources if part else ()) or shards.sources
        sources = [s for s in about.get("corpus", {}).get("sources", ()) if s["name"] in names]
        if {source["name"] for source in sources} != set(names):
            raise ValueError(f"{shards.directory} does not say which pictures it was made from")
        folders |= licences.folders_of(sources, "the model")
        counts = shards.manifest["counts"]["by_source"]
        sentences += sum(counts[name]["sentences"] for name in names if name in counts)
        images += sum(counts[name]["images"] for name in names if name in counts)
    return folders, sentences, images


def results(file: pathlib.Path) -> dict[str, Any] | None:
    """A file of results of the study; None where there is none.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}); measure the run again") from error
