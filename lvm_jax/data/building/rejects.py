"""Files that cannot be read, and the sentences that are left out because of them.

While shards are built, each has a part file; in the end they become `rejects.jsonl`, a line for
each picture or video:

    {"path": "a/b.png", "reason": "cannot read ...", "sentences": [...]}

with {"index", "source", "key"} of every sentence that needed it. A video counts once, however many
of its frames are missing; the reason is that of the first. Bytes of names that are no UTF-8 stand
there as Python spells them: 0xe9 as \\udce9.
"""

import collections
import json
import pathlib
import re
from collections.abc import Hashable, Sequence
from typing import Any

from lvm_jax import atomic, images
from lvm_jax.configs import ConfigError, Field
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences.sources import Sentence

FILE = "rejects.jsonl"
_PARTS = "rejects-*.partial"


class TooManyRejectsError(images.ImageError, ConfigError):
    """More files than `max_rejects` cannot be read."""


class Dropped:
    """Sentences that need an image which cannot be made.

    Attributes:
        reasons: why, of each such image by what it is known by.
        lines: of `rejects.jsonl`, by path.
    """

    def __init__(self):
        self.reasons: dict[Hashable, str] = {}
        self.lines: dict[str, dict[str, Any]] = {}

    def drop(self, index: int, sentence: Sentence, known_by: Sequence[Hashable]) -> bool:
        """Whether a sentence needs an image that there is not; notes it if so.

        Args:
            index: of the sentence.
            sentence: with its images.
            known_by: what each of these is known by in `reasons`.
        """
        if not self.reasons:
            return False
        bad: dict[str, dict[str, Any]] = {}
        for ref, known in zip(sentence.images, known_by):
            if known in self.reasons:
                line = {"path": ref.path, "reason": self.reasons[known], "sentences": []}
                bad[ref.path] = self.lines.setdefault(ref.path, line)
        for line in bad.values():
            about = {"index": index, "source": sentence.source, "key": sentence.key}
            line["sentences"].append(about)
        return bool(bad)


class Rejects:
    """Collects what is left out of the shards of a directory.

    Args:
        directory: of the shards; part files of finished shards count.
        limit: files that may be missing, in the whole directory.
    """

    def __init__(self, directory: pathlib.Path, limit: int):
        self._directory, self._limit = directory, limit
        self._dropped = Dropped()
        self._known = {line["path"] for line in merged(directory)}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._dropped.reasons

    def add(self, digest: bytes, ref: ImageRef, error: images.ImageError) -> None:
        """Notes an image, known by its digest, that cannot be made from its picture.

        Raises:
            TooManyRejectsError: its file is one more than the limit; names it.
        """
        self._dropped.reasons[digest] = str(error)
        self._known.add(ref.path)
        if len(self._known) > self._limit:
            raise _too_many(len(self._known), self._limit, str(error)) from error

    def drop(self, index: int, sentence: Sentence, digests: Sequence[bytes]) -> bool:
        """As `Dropped.drop`."""
        return self._dropped.drop(index, sentence, digests)

    def write_part(self, number: int) -> None:
        """Writes what was dropped since the last call as the part file of a shard."""
        path = self._directory / f"rejects-{number:05d}.partial"
        lines = self._dropped.lines
        if lines or path.exists():
            # Under a name that does not match that of the parts.
            partial = path.with_name(f"writing-{path.name}")
            with atomic.writing(path, partial=partial) as partial:
                partial.write_text(_text(list(lines.values())))
        lines.clear()


def merged(directory: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of all part files, in the order of the shards; one line for each file."""
    lines: dict[str, dict[str, Any]] = {}
    for path in sorted(directory.glob(_PARTS)):
        for line in map(json.loads, path.read_text().splitlines()):
            known = lines.setdefault(line["path"], line)
            if known is not line:
                known["sentences"] += line["sentences"]
    return list(lines.values())


def finish(directory: pathlib.Path, limit: int) -> dict[str, int]:
    """Writes `rejects.jsonl`, if there is anything to write, and counts.

    Raises:
        TooManyRejectsError: more files than the limit; slices each counted only what they saw.
    """
    lines = merged(directory)
    require_few(lines, limit)
    write(directory, lines)
    return {"rejected_images": len(lines), "rejected_sentences": count_sentences(lines)}


def write(directory: pathlib.Path, lines: Sequence[dict[str, Any]]) -> None:
    """Writes `rejects.jsonl`; without lines there is none."""
    if lines:
        atomic.write_text(directory / FILE, _text(lines))
    else:
        (directory / FILE).unlink(missing_ok=True)


def require_few(lines: Sequence[dict[str, Any]], limit: int) -> None:
    """Refuses more files than the limit.

    Raises:
        TooManyRejectsError: says how many, and why the last one cannot be read.
    """
    if len(lines) > limit:
        raise _too_many(len(lines), limit, lines[-1]["reason"])


def count_sentences(lines: Sequence[dict[str, Any]]) -> int:
    """Sentences that need any of the files."""
    return len({sentence["index"] for line in lines for sentence in line["sentences"]})


def by_reason(lines: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """Reasons that differ in more than names and numbers, and how often each came up."""
    counts: collections.Counter[str] = collections.Counter()
    for line in lines:
        reason = line["reason"].replace(line["path"], "FILE")
        counts[re.sub(r"\d+", "N", reason)] += 1
    return counts.most_common()


def _too_many(count: int, limit: int, reason: str) -> TooManyRejectsError:
    name = Field("max_rejects")
    if not limit:
        return TooManyRejectsError(f"{reason}, or raise ", name, "=0")
    return TooManyRejectsError(
        f"{count} files cannot be read, more than ", name, f"={limit}; {reason}"
    )


def _text(lines: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)
