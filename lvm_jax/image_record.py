"""How pictures are read for a model: as those were that it learned from, unless told otherwise.

Shards keep the config of their pictures in the manifest, runs and tokenizers that of what they were
trained on in config.json, each under `KEY`. Nothing is known (null, or no such key) where ids were
imported, where the sources of a mixture differ, and in directories of earlier versions.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from absl import logging

from lvm_jax import configs
from lvm_jax.images import ImageConfig

KEY = "images"
# How large a picture may be decides whether it is read, not what it becomes.
_LIMIT = "max_pixels"


def entry(config: ImageConfig | None) -> dict[str, Any]:
    """What a manifest or config.json gets, for `read`; None if nothing is known."""
    return {KEY: None if config is None else configs.to_dict(config)}


def read(values: Mapping[str, Any], where: str) -> ImageConfig | None:
    """The config that a manifest or config.json keeps; None when it does not know one.

    Args:
        values: the part of the file that has `KEY`.
        where: what errors call it.

    Raises:
        ValueError: it is no config of this version; named.
    """
    kept = values.get(KEY)
    return None if kept is None else configs.build_stored(ImageConfig, kept, f"{where}: {KEY}")


def config_for(
    known: ImageConfig | None, of: str, changes: Mapping[str, Any] | None = None
) -> ImageConfig:
    """How to read pictures for a model or tokenizer; says in the log what is not as it learned.

    Args:
        known: what `read` gave.
        of: what the log calls the model or tokenizer.
        changes: fields of `ImageConfig` that are wanted otherwise.

    Raises:
        ConfigError: an unknown field or a bad value; named.
    """
    base = known or ImageConfig()
    config = configs.build(ImageConfig, configs.merged(base, changes or {}), "")
    if known is None:
        logging.log_first_n(
            logging.INFO,
            "%s does not say how its pictures were read (an earlier version, imported ids, or "
            "sources that differ): reading with %s",
            1,
            of,
            describe(config),
        )
    else:
        warn_if_different(config, known, of)
    return config


def warn_if_different(config: ImageConfig, known: ImageConfig, of: str) -> None:
    """Says in the log that pictures are not read as those were that `of` learned from."""
    if different := _different(known, config):
        logging.warning(
            "pictures are read with %s, but %s learned from pictures read with %s",
            _spell(config, different),
            of,
            _spell(known, different),
        )


def agreed(sources: Mapping[str, ImageConfig | None], name: str) -> ImageConfig | None:
    """What several sources of training data have in common; None and a warning where they differ.

    Sources that do not know how their pictures were read follow those that do.

    Args:
        sources: name -> its config.
        name: what the log calls the sources, such as "data.mixture".
    """
    known = {source: config for source, config in sources.items() if config is not None}
    if not known:
        return None
    most = max(config.max_pixels for config in known.values())
    (first, common), *rest = known.items()
    for other, config in rest:
        if different := set(_different(common, config)) - {_LIMIT}:
            logging.warning(
                "%s: pictures of %s were read with %s, those of %s with %s: the model cannot know "
                "how to read pictures for prompts; say so there, or build both alike",
                name,
                first,
                _spell(common, different),
                other,
                _spell(config, different),
            )
            return None
    return dataclasses.replace(common, max_pixels=most)


def describe(config: ImageConfig | None) -> str:
    """All fields in a line of text."""
    return "unknown" if config is None else _spell(config, dataclasses.asdict(config))


def _different(one: ImageConfig, other: ImageConfig) -> list[str]:
    names = [field.name for field in dataclasses.fields(ImageConfig)]
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def _spell(config: ImageConfig, names: Collection[str]) -> str:
    values = dataclasses.asdict(config)
    return ", ".join(f"{name}={value}" for name, value in values.items() if name in names)
