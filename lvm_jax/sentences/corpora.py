"""Sources -> one corpus of visual sentences."""

import bisect
import dataclasses
import difflib
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from lvm_jax import configs, file_names
from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.sentences.kinds import KINDS
from lvm_jax.sentences.sources import Sentence, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """What a corpus is made of.

    Attributes:
        sources: see `kinds.KINDS`.
        seed: every draw depends on it.
        epochs: passes over the sources, each with other squares and other partners.
    """

    sources: tuple[Source, ...]
    seed: int = 0
    epochs: int = 1

    def __post_init__(self):
        if not self.sources:
            raise ConfigError(Field("sources"), " is empty; name at least one source")
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(
                    Field("sources"),
                    f": {names.count(name)} sources are called {name!r}; give each its own name",
                )
        require_at_least(self, 1, "epochs")


def build_corpus(values: Mapping[str, Any], name: str = "corpus") -> CorpusConfig:
    """Builds a corpus from plain values.

    Args:
        values: {"sources": [...], "seed": ..., "epochs": ...}. A source is a mapping with "kind"
            and the fields of that kind's class. Sources may also be a mapping from name to source,
            which a command line can override by name.
        name: what error messages call `values`.

    Raises:
        configs.ConfigError: an unknown kind or key, or a value that does not fit; named.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(Field(name), f"={values!r} must be a mapping with sources")
    values = dict(values)
    sources = build_sources(values.pop("sources", ()), f"{name}.sources")
    return configs.build(CorpusConfig, {**values, "sources": sources}, name)


def build_sources(
    given: Sequence[Mapping[str, Any] | Source] | Mapping[str, Mapping[str, Any]], name: str
) -> tuple[Source, ...]:
    """Builds sources from a list, or from a mapping of name to source.

    Raises:
        configs.ConfigError: neither of these, or a source as in `build_source`; named.
    """
    if not isinstance(given, Mapping | list | tuple):
        raise ConfigError(Field(name), f"={given!r} must be a list or mapping of sources")
    if isinstance(given, Mapping):
        given = [
            {"name": key, **source} if isinstance(source, Mapping) else source
            for key, source in given.items()
        ]
    return tuple(
        build_source(source, configs.item_name(name, i, source)) for i, source in enumerate(given)
    )


def build_source(values: Mapping[str, Any] | Source, name: str) -> Source:
    """Builds one source from {"kind": ..., "folder": ..., ...}.

    Raises:
        configs.ConfigError: an unknown kind or key, or a value that does not fit; named.
    """
    if isinstance(values, Source):
        return values
    if not isinstance(values, Mapping):
        raise ConfigError(Field(name), f"={values!r} must be a mapping with a kind and a folder")
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"kinds: {', '.join(KINDS)}"
        raise ConfigError(Field(f"{name}.kind"), f"={kind!r} is unknown; {hint}")
    return configs.build(KINDS[kind], values, name)


class Sentences:
    """All sentences of a corpus in a fixed order: by epoch, then by source, then by index."""

    def __init__(self, config: CorpusConfig):
        self.config = config
        counts = [source.num_sentences() for source in config.sources] * config.epochs
        self._ends = list(itertools.accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sentence:
        if not 0 <= index < len(self):
            raise IndexError(f"sentence {index} of {len(self)}")
        block = bisect.bisect_right(self._ends, index)
        epoch, place = divmod(block, len(self.config.sources))
        start = self._ends[block - 1] if block else 0
        return self.config.sources[place].sentence(self.config.seed, epoch, index - start)

    @property
    def num_images(self) -> int:
        """Images in all sentences together, repeated ones counted each time.

        Where the sentences of a source differ in length, at most so many; see `preview.count`.
        """
        return self.config.epochs * sum(
            source.num_sentences() * source.images_per_sentence for source in self.config.sources
        )

    @property
    def fewest_images(self) -> int:
        """The same where all sentences are as short as they may be."""
        return self.config.epochs * sum(
            source.num_sentences() * source.fewest_images for source in self.config.sources
        )

    def fingerprint(self) -> str:
        """Changes with the config, the names and sizes of files, and the contents of documents.

        Returns:
            64 hex digits.

        Raises:
            ValueError: a file has vanished since it was listed.
        """
        digest = hashlib.sha256(json.dumps(configs.to_dict(self.config), sort_keys=True).encode())
        for source in self.config.sources:
            try:
                for path in source.documents:
                    digest.update(hashlib.sha256(pathlib.Path(path).read_bytes()).digest())
                for path in source.files:
                    digest.update(file_names.to_bytes(f"{path}:{_size(path)};"))
            except OSError as error:
                raise ValueError(
                    f"{source.name}: cannot look at {error.filename}: {error}"
                ) from error
        return digest.hexdigest()


def _size(path: str) -> int:
    """Bytes of a file; -1 for a link that leads nowhere, which is an unreadable picture."""
    dangling = os.path.islink(path) and not os.path.exists(path)
    return -1 if dangling else os.path.getsize(path)


def sentences(config: CorpusConfig) -> Sentences:
    """The sentences of a corpus.

    Raises:
        ValueError: a folder, a pair or a pattern that does not fit; named.
    """
    return Sentences(config)
