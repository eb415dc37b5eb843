"""Ready prompts of a gallery: files that people share, or sentences that a model never saw.

Legend: n images of a sentence, T ids per image, S side of an image in pixels.
"""

import pathlib
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import configs, file_names
from lvm_jax import images as images_lib
from lvm_jax.data.shards.manifest import MANIFEST
from lvm_jax.data.shards.reader import Shards
from lvm_jax.demo.limits import Limits
from lvm_jax.generation.jobs import prompt_files
from lvm_jax.generation.jobs.prompt_files import Asked, PromptFile
from lvm_jax.sentences import kinds, layouts
from lvm_jax.tokenizer.codec import Tokenizer
from lvm_jax.training import workdir

MOST_OF_A_KIND = 2
ORDER = "order.txt"
"""Beside prompt files: a line for each that comes first, its name without .json."""


def find(place: str | None, model: str, tokenizer: Tokenizer, limits: Limits) -> list[PromptFile]:
    """The examples of a gallery.

    Args:
        place: a folder of prompt files, by name unless `ORDER` says otherwise, or of shards; None
            takes the held-out shards that a training's config names, if they are there.
        model: directory of the model.
        tokenizer: the model's, which draws the ids of shards.
        limits: of the model; longer sentences are cut to it.

    Raises:
        ValueError: `place` holds neither, or another tokenizer's ids.
    """
    if place is None:
        held_out = configs.value_at(_config(model), "eval_data.shards")
        if not isinstance(held_out, str) or not (pathlib.Path(held_out) / MANIFEST).is_file():
            return []
        try:
            return from_shards(held_out, tokenizer, limits)
        except ValueError as error:
            logging.warning("no gallery from the model's held-out shards: %s", error)
            return []
    if (pathlib.Path(place) / MANIFEST).is_file():
        return from_shards(place, tokenizer, limits)
    files = sorted(pathlib.Path(place).glob("*.json"))
    if not files:
        raise ValueError(f"{place} holds neither prompt files (.json) nor shards")
    order = pathlib.Path(place) / ORDER
    first = order.read_text(encoding="utf-8").split() if order.is_file() else []
    # The sort is stable.
    return [
        prompt_files.read(file)
        for file in sorted(files, key=lambda file: [*first, file.stem].index(file.stem))
    ]


def _config(model: str) -> dict[str, Any]:
    try:
        return workdir.read_config(pathlib.Path(model))
    except ValueError:
        return {}


def from_shards(place: str, tokenizer: Tokenizer, limits: Limits) -> list[PromptFile]:
    """A few sentences of every kind of some shards, as the tokenizer draws their ids.

    Raises:
        ValueError: no shards, or another tokenizer's.
    """
    shards = Shards(place)
    shards.require_tokenizer(tokenizer.fingerprint)
    examples = []
    for kind_id, kind in enumerate(shards.kinds):
        long_enough = (shards.kind_ids == kind_id) & (shards.num_images >= 2)
        chosen = np.flatnonzero(long_enough)[:MOST_OF_A_KIND]
        for number, record in enumerate(shards.read_records(chosen), 1):
            name = f"{kind.replace('_', ' ')} {number}"
            attribution = f"{record.source}: {file_names.shown(record.key)}"
            ids_nT = np.asarray(record.ids, np.int32)
            examples.append(_from_ids(ids_nT, is_pairs(kind), name, attribution, tokenizer, limits))
    return examples


def is_pairs(kind: str) -> bool:
    """Whether sentences of a kind are example pairs; those of unknown kinds are not."""
    known = kinds.KINDS.get(kind)
    return known is not None and known.layout_class is layouts.Pairs


def _from_ids(
    ids_nT: np.ndarray,
    is_analogy: bool,
    title: str,
    attribution: str,
    tokenizer: Tokenizer,
    limits: Limits,
) -> PromptFile:
    # The last ones; pairs stay whole.
    most = 2 * limits.pairs + 2 if is_analogy else limits.images
    ids_nT = ids_nT[-min(most, len(ids_nT) - len(ids_nT) % 2 if is_analogy else most) :]
    drawn = images_lib.to_uint8(np.asarray(tokenizer.decode(ids_nT)))
    *images, target = (images_lib.encode_png(square) for square in drawn)
    return PromptFile(
        images=tuple(images),
        targets=(target,),
        layout="analogy" if is_analogy else "sequence",
        answer=Asked(num_candidates=4),
        title=title,
        attribution=attribution,
    )
