"""Which data a training reads and how rows are made of it."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lvm_jax import configs
from lvm_jax.configs import ConfigError, Field

Packing = Literal["sentence", "stream"]
LongSentences = Literal["refuse", "split"]
SHARDS = "shards"  # what the only source of a config without a mixture is called


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureSource:
    """One source of a mixture: a directory of shards or a part of it.

    Attributes:
        name: of the source, in metrics and messages; unique in the mixture.
        shards: directory that tools/build_shards.py made; "" means those of the whole.
        weight: share of the rows relative to the other sources; of the tokens too, as far as rows
            are full. Either one number, or pairs (first step, weight), the first of them for step
            0: ((0, 1.0), (10_000, 0.5)).
        kinds: takes sentences of these kinds only; empty means all.
        sources: takes sentences of these sources (of the shards' own corpus) only; empty means all.
    """

    name: str
    shards: str = ""
    weight: float | tuple[tuple[int, float], ...] = 1.0
    kinds: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ConfigError(Field("name"), f"={self.name!r} must be text without '/'")
        steps = [step for step, _ in self.weights]
        if not steps or steps[0] != 0 or any(a >= b for a, b in itertools.pairwise(steps)):
            raise ConfigError(
                *(Field("weight"), f"={self.weight} must be a number, or pairs (step, weight) of "),
                "growing steps that begin with step 0",
            )
        for _, weight in self.weights:
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(
                    *(Field("weight"), f"={self.weight} must not be negative or infinite")
                )

    @property
    def weights(self) -> tuple[tuple[int, float], ...]:
        """(first step, weight) pairs."""
        return self.weight if isinstance(self.weight, tuple) else ((0, self.weight),)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Keeps some sentences apart by their keys, the same ones on every machine for ever.

    Whatever two sources call by the same key is on the same side. The key of a sentence of several
    pictures joins theirs with "+", and `share` splits sentences: others of the same pictures may be
    on the other side. What must not be seen at all is named by `keys`, or left out when shards are
    built (`include` and `exclude` of a source, or folders as in experiments/uvd_mini.py).

    Attributes:
        part: "train" reads what is not held out, "held_out" what is, "all" both.
        share: held out are keys whose hash falls into this share of all hashes.
        keys: held out are also sentences of which the key, or that of one of their pictures,
            matches one of these patterns, such as "cat-*" (only `*` is special); a pattern with a
            slash is compared with SOURCE/KEY.
    """

    part: Literal["all", "train", "held_out"] = "all"
    share: float = 0.0
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(Field("share"), f"={self.share} must lie in [0, 1)")
        if self.part != "all" and not self.share and not self.keys:
            raise ConfigError(
                *(Field("part"), f"={self.part!r} holds nothing out; set "),
                *(Field("share"), " or ", Field("keys")),
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data, and how rows are made of it.

    Attributes:
        shards: directory that tools/build_shards.py made; with a mixture, the one of its sources
            that name none.
        mixture: sources by weight; empty reads all of `shards`. An experiment may also write a
            mapping from name to source, which a command line can override by name. Each source is
            packed by itself, so that its weight can change at any step; one whose sentences have
            one length may leave much padding (8 images of 256 ids at context 4096: half). One
            directory of all sources packs them together.
        split: held-out sentences.
        context: ids per row that the model sees. At 4096 two sentences of a row have at most 15
            images of 256 ids, because of their BOS and EOS; 4128 makes room for these.
        packing: "sentence" (whole sentences, nothing crosses a seam) or "stream" (the paper's:
            cut every `context` ids).
        long_sentences: what "sentence" packing does with one longer than `context`: "refuse" it,
            or "split" it at image borders into sentences that fit.
        shuffle: sentences are mixed before packing and rows in every epoch.
        num_threads: threads that make batches; 0 makes each when it is asked for. They share
            Python's lock, so more than one is slower (by a quarter, measured with two on local
            disk), unless storage is slow to answer.
        num_workers: processes that make batches, each with `num_threads` threads; 0 makes them in
            the process that trains.
        prefetch: about how many batches are made ahead, by each worker process where there are
            some. Small ones are made several at a time, and lie together in memory.
        plan_cache: directory for row plans; empty keeps them beside the shards, or in the
            `store_cache` of a store's.
        store_cache: folder on a disk of each machine for copies of shards that are on a store;
            empty is lvm_jax in the user's folder for caches. Its processes share it.
        store_cache_gib: limit of that folder in GiB; shards that do not fit are read record by
            record. 0 keeps none.
    """

    shards: str = ""
    mixture: tuple[MixtureSource, ...] = ()
    split: Split = dataclasses.field(default_factory=Split)
    context: int = 4096
    packing: Packing = "sentence"
    long_sentences: LongSentences = "refuse"
    shuffle: bool = True
    num_threads: int = 1
    num_workers: int = 0
    prefetch: int = 8
    plan_cache: str = ""
    store_cache: str = ""
    store_cache_gib: float = 100.0

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "context", "prefetch")
        configs.require_at_least(self, 0, "num_threads", "num_workers", "store_cache_gib")
        if not self.shards and not self.mixture:
            raise ConfigError(
                *("there are neither shards nor a mixture; set ", Field("shards"), "=DIR, or "),
                *(Field("mixture"), " to at least one source"),
            )
        self._check_mixture()

    def _check_mixture(self) -> None:
        names = [source.name for source in self.mixture]
        for source in self.mixture:
            if names.count(source.name) > 1:
                raise ConfigError(
                    *(Field("mixture"), f": {names.count(source.name)} sources are called "),
                    f"{source.name!r}; give each its own name",
                )
            if not source.shards and not self.shards:
                raise ConfigError(
                    *(Field(f"mixture.{source.name}"), " has no shards; set its shards=DIR, or "),
                    *(Field("shards"), " for all"),
                )
        for step in sorted({step for source in self.mixture for step, _ in source.weights}):
            if not sum(weight_at(source, step) for source in self.mixture):
                raise ConfigError(
                    *(Field("mixture"), ": the weights of all sources sum to nothing at step "),
                    f"{step}; give at least one a positive weight",
                )


def weight_at(source: MixtureSource, step: int) -> float:
    """The weight of a source at a step."""
    return [weight for first, weight in source.weights if first <= step][-1]


def named_mixture(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section of data whose mixture may be a mapping -> one whose mixture is a list.

    Raises:
        ConfigError: a mixture that is neither, or empty; names it as `name`.
    """
    values, key = dict(values), Field(f"{name}.mixture")
    mixture = values.get("mixture")
    if isinstance(mixture, Mapping):
        if not all(isinstance(source, Mapping) for source in mixture.values()):
            raise ConfigError(key, f"={mixture!r} must be a mapping of name to source")
        values["mixture"] = [{"name": key, **source} for key, source in mixture.items()]
    elif mixture is not None and not isinstance(mixture, Sequence):
        raise ConfigError(key, f"={mixture!r} must be a list or a mapping of sources")
    # An empty list is the default, as a written config has it.
    if isinstance(mixture, Mapping) and not mixture:
        raise ConfigError(key, " is empty; name at least one source or leave it out")
    return values
