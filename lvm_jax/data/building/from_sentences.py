"""Corpus + tokenizer -> shards; every unique image is tokenized once, and nothing is lost.

Beside what every build keeps (`lifecycle`), an unfinished directory holds for each slice the ids of
images so far (`tokens-*.partial`) and what its pictures held (`pictures-*.partial`), and for each
finished shard the digests of its images and what it rejects.

Legend: T ids per image.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import atomic, configs, image_record
from lvm_jax import images as images_lib
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.building import lifecycle, originals, rejects, token_cache
from lvm_jax.data.building.lifecycle import Notes, Plan, Records, State
from lvm_jax.data.building.originals import Originals
from lvm_jax.data.building.rejects import Rejects
from lvm_jax.data.building.slices import Slice
from lvm_jax.data.building.tokenizing import ImageTokenizer, Tokenize
from lvm_jax.data.building.workers import Moved
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.records import ID_BYTES, Record
from lvm_jax.sentences import corpora
from lvm_jax.sentences.corpora import CorpusConfig
from lvm_jax.vocabulary import Vocabulary

# 2: large JPEG pictures are decoded at a part of their size.
VERSION = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """How shards are made; `max_rejects` and what follows it do not change what is in them.

    Attributes:
        shard_megabytes: about how large a shard becomes.
        sentences_per_shard: exactly how many sentences it takes; 0 leaves it to `shard_megabytes`.
        num_special: special ids of the vocabulary.
        images: how files become square pictures.
        max_rejects: pictures and videos that may be unreadable. They are listed in `rejects.jsonl`,
            and the sentences that need them are left out; one more than this ends the build.
        batch_size: images per call of the tokenizer; raised to what its devices take at once.
        num_threads: threads that read and derive images.
    """

    shard_megabytes: int = 256
    sentences_per_shard: int = 0
    num_special: int = 100
    images: images_lib.ImageConfig = dataclasses.field(default_factory=images_lib.ImageConfig)
    max_rejects: int = 0
    batch_size: int = 32
    num_threads: int = 4

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "shard_megabytes", "batch_size", "num_threads")
        configs.require_at_least(self, 0, "sentences_per_shard", "max_rejects")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a process is.

    Attributes:
        before: sentences of its slice that earlier runs finished.
        done: the same and those of this run.
        total: sentences of its slice.
        num_tokenized: images that this run has tokenized.
    """

    before: int
    done: int
    total: int
    num_tokenized: int


def build_shards(
    corpus: CorpusConfig,
    tokenizer: ImageTokenizer,
    out: str | os.PathLike,
    config: BuildConfig | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
    part: Slice | None = None,
) -> Shards | None:
    """Tokenizes a corpus into a directory of shards, or goes on where an earlier run stopped.

    In a finished directory it makes shards again that are missing or have another size: whoever
    removes a damaged one gets it back, to the byte, while pictures and tokenizer are the same.

    Several processes may share the work, each with a slice, also on machines that share a disk;
    together they write the same bytes as one. An image is tokenized once in each slice that needs
    it.

    Args:
        corpus: the sentences.
        tokenizer: makes the ids.
        out: the directory.
        config: how.
        progress: called now and then.
        part: what this process makes; all by default.

    Returns:
        The finished shards, or None if other slices have still to finish.

    Raises:
        ValueError: what the user can fix: a source, an image, a picture that was changed since
            shards were made from it, a lost shard that does not become what it was, or `out`. Names
            of fields are those of `config`.
        RuntimeError: the disk became full; a new run goes on.
    """
    pictures = _Pictures(
        corpus, tokenizer, pathlib.Path(out), config or BuildConfig(), part or Slice()
    )

    def report(shards: lifecycle.Progress) -> None:
        progress(
            Progress(
                before=shards.before,
                done=shards.done,
                total=shards.total,
                num_tokenized=pictures.num_tokenized,
            )
        )

    return lifecycle.build(pictures.plan(), pictures, report)


class _Pictures:
    """The sentences of a corpus as a source of shards (`lifecycle.Source`).

    Attributes:
        parts: indices of the sentences of every shard.
    """

    def __init__(
        self,
        corpus: CorpusConfig,
        tokenizer: ImageTokenizer,
        out: pathlib.Path,
        config: BuildConfig,
        part: Slice,
    ):
        self.corpus, self.tokenizer, self.out = corpus, tokenizer, out
        self.config, self.part = config, part
        self.sentences = corpora.sentences(corpus)
        count, size = len(self.sentences), self._sentences_per_shard()
        self.parts = [range(i, min(i + size, count)) for i in range(0, count, size)]
        self._compared = originals.Comparison()
        self._tokenize: Tokenize | None = None

    @property
    def num_tokenized(self) -> int:
        """Images that this process has tokenized."""
        return self._tokenize.num_tokenized if self._tokenize else 0

    def plan(self) -> Plan:
        """The directory that they become."""
        tokenizer = self.tokenizer
        return Plan(
            out=self.out,
            part=self.part,
            build_key=self._build_key(),
            vocabulary=Vocabulary(
                num_codes=tokenizer.num_codes, num_special=self.config.num_special
            ),
            tokens_per_image=tokenizer.tokens_per_image,
            tokenizer_fingerprint=tokenizer.fingerprint,
            sizes=[len(part) for part in self.parts],
        )

    def _build_key(self) -> str:
        """Changes with everything that the shards depend on; 64 hex digits."""
        config, tokenizer = self.config, self.tokenizer
        depends_on = [
            VERSION,
            self.sentences.fingerprint(),
            tokenizer.fingerprint,
            tokenizer.image_size,
            config.num_special,
            self._sentences_per_shard(),
            configs.to_dict(config.images),
        ]
        return hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()

    def _sentences_per_shard(self) -> int:
        each_image = self.tokenizer.tokens_per_image * ID_BYTES
        average = self.sentences.num_images * each_image // len(self.sentences)
        fitting = max(1, self.config.shard_megabytes * 2**20 // average)
        return self.config.sentences_per_shard or fitting

    def changed(self, state: State) -> list[str]:
        """Pictures that hold something else than when they were last read.

        Where no shard shows them yet, they are tokenized again.
        """
        if not state.missing:
            return []
        files = (path for source in self.corpus.sources for path in source.files)
        self._compared = originals.compare(self.out, files, self.config.num_threads)
        return self._compared.changed if state.notes else []

    @contextlib.contextmanager
    def making(self, state: State) -> Iterator[Records]:
        """Has readers and the tokenizer ready."""
        self._require_space()
        config, tokenizer = self.config, self.tokenizer
        made_by = json.dumps([VERSION, tokenizer.fingerprint, configs.to_dict(config.images)])
        each = tokenizer.tokens_per_image
        with (
            contextlib.closing(token_cache.open_cache(self.out, self.part, made_by, each)) as cache,
            Originals(self.out, self.part, self._compared) as read,
        ):
            if len(cache):
                logging.info("%s: %d images are tokenized already", self.out, len(cache))
            rejected = Rejects(self.out, config.max_rejects)
            with Tokenize(
                tokenizer,
                cache,
                rejected,
                config.images,
                batch_size=config.batch_size,
                num_threads=config.num_threads,
                originals=read,
            ) as self._tokenize:
                yield functools.partial(self._records, self._tokenize, rejected)

    def _records(
        self, tokenize: Tokenize, rejected: Rejects, number: int, notes: Notes, moved: Moved
    ) -> Iterator[Record]:
        del notes  # what a shard adds stands in files of its own
        digests: set[bytes] = set()
        yield from tokenize.records(self.sentences, self.parts[number], digests, moved)
        path = self.out / f"images-{number:05d}.partial"
        # Under a name that `_count_unique` does not look for.
        with atomic.writing(path, partial=path.with_name(f"writing-{path.name}")) as partial:
            partial.write_bytes(b"".join(sorted(digests)))
        rejected.write_part(number)

    def written(self, number: int, notes: Notes) -> None:
        """Nothing: a picture too many was refused when it was read."""

    def about(self, notes: Mapping[int, Notes]) -> dict[str, Any]:
        """What the manifest says beside the shards; writes `rejects.jsonl`."""
        about = {
            "corpus": configs.to_dict(self.corpus),
            "image_size": self.tokenizer.image_size,
            **image_record.entry(self.config.images),
            "unique_images": self._count_unique(),
            **rejects.finish(self.out, self.config.max_rejects),
        }
        if about["rejected_sentences"] == len(self.sentences):
            raise ValueError(
                f"{self.out}: every sentence needs an image that cannot be read; see "
                f"{self.out / rejects.FILE}"
            )
        return about

    def _count_unique(self) -> int:
        data = b"".join(path.read_bytes() for path in sorted(self.out.glob("images-*.partial")))
        return len(np.unique(np.frombuffer(data, [("high", "<u8"), ("low", "<u8")])))

    def _require_space(self) -> None:
        """Refuses a disk that is sure to become full, and warns of one that may."""
        out, sentences = self.out, self.sentences
        each_image = self.tokenizer.tokens_per_image * ID_BYTES
        at_least, at_most = sentences.fewest_images * each_image, sentences.num_images * each_image
        there = sum(path.stat().st_size for path in out.glob("shard-*"))
        free = shutil.disk_usage(out).free
        if at_least - there > free:
            raise ConfigError(
                *(Field("out"), f"={out} has {free / 2**20:.0f} MiB free, but the shards need "),
                f"{at_least / 2**20:.0f} MiB; free space or choose another place",
            )
        if at_most - there > free:
            logging.warning(
                "%s has %.0f MiB free, and the shards may need up to %.0f MiB",
                *(out, free / 2**20, at_most / 2**20),
            )
