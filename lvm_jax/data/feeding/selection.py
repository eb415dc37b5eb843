"""Which sentences of a directory a source takes: by kind, by source and by held-out keys.

Legend: S sentences of the directory.
"""

import dataclasses
import difflib
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import configs, file_names
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.feeding.data_config import MixtureSource, Split
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.records import Record

_PART = 1 << 22  # sentences looked at together, to bound memory
_RECORDS = 1 << 14


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Sentences of a directory; see `data_config`."""

    kinds: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    split: Split = dataclasses.field(default_factory=Split)

    @property
    def is_all(self) -> bool:
        """Whether every sentence is taken."""
        return not self.kinds and not self.sources and self.split.part == "all"

    def as_key(self) -> dict[str, Any]:
        """JSON that differs when the selection does."""
        return {} if self.is_all else configs.to_dict(self)


def of_source(source: MixtureSource | None, split: Split) -> Selection:
    """What a source of a mixture takes; None is a whole directory."""
    if source is None:
        return Selection(split=split)
    return Selection(kinds=source.kinds, sources=source.sources, split=split)


def select(shards: Shards, selection: Selection) -> np.ndarray | None:
    """The sentences of a selection: sorted uint32, or None for all.

    Raises:
        ConfigError: an unknown kind or source, or a selection of nothing; named.
    """
    if selection.is_all:
        return None
    kinds = _chosen(shards, "kinds", shards.kinds, selection.kinds)
    sources = _chosen(shards, "sources", shards.sources, selection.sources)
    parts = []
    for start in range(0, len(shards), _PART):
        part = slice(start, min(start + _PART, len(shards)))
        taken = kinds[shards.kind_ids[part]] & sources[shards.source_ids[part]]
        if selection.split.part != "all":
            taken[taken] = _side(shards, np.flatnonzero(taken) + start, selection.split)
        parts.append((np.flatnonzero(taken) + start).astype(np.uint32))
    chosen = np.concatenate(parts)
    if not len(chosen):
        raise ConfigError(f"{shards.directory} has no sentence of ", *_describe(selection))
    return chosen


def _chosen(
    shards: Shards, field: str, known: tuple[str, ...], wanted: tuple[str, ...]
) -> np.ndarray:
    """Which of the known names are wanted: bool [names]."""
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
            raise ConfigError(Field(field), f"={name!r} is not in {shards.directory}; {hint}")
    return np.array([not wanted or name in wanted for name in known], bool)


def _side(shards: Shards, indices: np.ndarray, split: Split) -> np.ndarray:
    """Whether sentences are on the side of the split that is asked for: bool [len(indices)]."""
    held_out = np.zeros(len(indices), bool)
    if split.share:
        held_out = shards.key_hashes[indices] < np.uint64(round(split.share * 2**32))
    if split.keys:
        held_out |= _matches(shards, indices, split.keys)
    return held_out if split.part == "held_out" else ~held_out


def _matches(shards: Shards, indices: np.ndarray, patterns: tuple[str, ...]) -> np.ndarray:
    """Whether keys match a pattern; the keys stand in the records only, so all are read once."""
    matches, used = [], set()
    for start in range(0, len(indices), _RECORDS):
        for record in shards.read_records(indices[start : start + _RECORDS]):
            matching = {pattern for pattern in patterns if _is_held_out(record, pattern)}
            matches.append(bool(matching))
            used |= matching
    for pattern in sorted(set(patterns) - used):
        logging.warning(
            "split.keys: %r matches no key of sentences of %s (only * is special)",
            *(pattern, shards.directory),
        )
    return np.array(matches, bool)


def _is_held_out(record: Record, pattern: str) -> bool:
    """Whether the key of a sentence, or that of one of its pictures, matches a pattern."""
    pictures = record.key.split("+")
    # The names of pictures may hold a "+" too: so many parts together are what a pattern names.
    size = 1 + pattern.count("+")
    parts = ("+".join(pictures[i : i + size]) for i in range(len(pictures) - size + 1))
    prefix = f"{record.source}/" if "/" in pattern else ""
    return any(file_names.matches(prefix + key, pattern) for key in {record.key, *parts})


def _describe(selection: Selection) -> list[str]:
    """What a selection asks for, as pieces of a `ConfigError`."""
    asked = {key: getattr(selection, key) for key in ("kinds", "sources")}
    asked = {key: names for key, names in asked.items() if names}
    if selection.split.part != "all":
        asked["split"] = selection.split
    pieces = []
    for key, value in asked.items():
        pieces += [" and "] if pieces else []
        pieces += [Field(key), f"={value}"]
    return pieces
