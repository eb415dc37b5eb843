"""Corpus + tokenizer -> shards; every unique image is tokenized once, and nothing is lost.

One process builds all of the shards or one slice of them. While shards are missing, the directory
also holds, for each slice, the ids of images so far (`tokens-*.partial`) and what its pictures held
(`pictures-*.partial`), and for each finished shard its notes, the digests of its images and what it
rejects. Whoever finishes the last shard turns these into index, manifest and `rejects.jsonl`, and
removes them.

Legend: B images of a call of the tokenizer, N images of a sentence, T ids per image.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import atomic, configs, image_record
from lvm_jax import images as images_lib
from lvm_jax.data.building import rejects, slices
from lvm_jax.data.building.originals import Originals
from lvm_jax.data.building.rejects import Rejects
from lvm_jax.data.building.slices import Slice
from lvm_jax.data.building.tokenizing import ImageTokenizer, Tokenize
from lvm_jax.data.shards.reader import INDEX_FILES, KEYS, MANIFEST, Shards
from lvm_jax.data.shards.records import ID_BYTES, Record
from lvm_jax.data.shards.writer import ShardsWriter, shard_name
from lvm_jax.sentences import corpora
from lvm_jax.sentences.corpora import CorpusConfig
from lvm_jax.vocabulary import Vocabulary

# 2: large JPEG pictures are decoded at a part of their size.
VERSION = 2
# What an unfinished directory holds beside shards; other programs may keep files here too.
_TEMPORARY = (
    "tokens-*",
    "images-*",
    "pictures-*",
    "rejects-*",
    "writing-*",
    "again-*",
    "shard-*",
    *INDEX_FILES,
    KEYS,
    MANIFEST,
)


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

    def __post_init__(self):
        for name in ("shard_megabytes", "batch_size", "num_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"config.shards.{name}={getattr(self, name)} must be at least 1")
        for name in ("sentences_per_shard", "max_rejects"):
            if getattr(self, name) < 0:
                raise ValueError(f"config.shards.{name}={getattr(self, name)} must not be negative")


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
            shards were made from it, a lost shard that does not become what it was, or `out`.
        RuntimeError: the disk became full; a new run goes on.
    """
    job = _plan(corpus, tokenizer, pathlib.Path(out), config or BuildConfig(), part or Slice())
    # Who finishes takes away what shards are known by: nobody looks meanwhile.
    with slices.finishing(job.out) if job.out.is_dir() else contextlib.nullcontext():
        writer = _open_writer(job)
        complete = writer.complete
        missing = [number for number in job.mine if not writer.finished(number)]
    _log_start(job, complete, missing)
    if missing:
        _require_space(job)
        _make_shards(job, writer, missing, progress)
    elif complete:
        total = job.count_sentences(job.mine)
        progress(Progress(before=total, done=total, total=total, num_tokenized=0))
    return _finish(job, writer)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
    """What a process is to do.

    Attributes:
        parts: indices of the sentences of every shard.
        mine: numbers of the shards that this process makes.
    """

    corpus: CorpusConfig
    sentences: corpora.Sentences
    tokenizer: ImageTokenizer
    out: pathlib.Path
    config: BuildConfig
    part: Slice
    sentences_per_shard: int
    parts: Sequence[range]
    mine: range

    def count_sentences(self, numbers: Iterable[int]) -> int:
        """Sentences of some of the shards, those that are left out included."""
        return sum(len(self.parts[number]) for number in numbers)


def _plan(
    corpus: CorpusConfig,
    tokenizer: ImageTokenizer,
    out: pathlib.Path,
    config: BuildConfig,
    part: Slice,
) -> _Job:
    sentences = corpora.sentences(corpus)
    size = config.sentences_per_shard or _sentences_per_shard(sentences, tokenizer, config)
    starts = range(0, len(sentences), size)
    return _Job(
        **{"corpus": corpus, "sentences": sentences, "tokenizer": tokenizer},
        **{"out": out, "config": config, "part": part, "sentences_per_shard": size},
        parts=[range(i, min(i + size, len(sentences))) for i in starts],
        mine=range(len(starts))[part.index :: part.count],
    )


def _open_writer(job: _Job) -> ShardsWriter:
    num_codes, num_special = job.tokenizer.num_codes, job.config.num_special
    return ShardsWriter(
        job.out,
        build_key=_build_key(job),
        vocabulary=Vocabulary(num_codes=num_codes, num_special=num_special),
        tokens_per_image=job.tokenizer.tokens_per_image,
        tokenizer_fingerprint=job.tokenizer.fingerprint,
    )


def _log_start(job: _Job, complete: bool, missing: list[int]) -> None:
    if complete and missing:
        logging.warning(
            "%s was finished, but %d of its shards are missing or have another size (%s first); "
            "making them again",
            *(job.out, len(missing), shard_name(missing[0])),
        )
    elif complete:
        logging.info(
            "%s: all %d sentences are there already, nothing to do (a damaged shard is made again "
            "when its file is removed)",
            *(job.out, len(job.sentences)),
        )
    elif len(missing) < len(job.mine):
        logging.info(
            "%s: %d of %d shards are there already, going on",
            *(job.out, len(job.mine) - len(missing), len(job.mine)),
        )
    elif not job.mine:
        logging.warning(
            "%s has %d shards, so slice %s has nothing to do; config.shards.shard_megabytes or "
            "sentences_per_shard makes more",
            *(job.out, len(job.parts), job.part),
        )


def _make_shards(
    job: _Job, writer: ShardsWriter, missing: list[int], progress: Callable[[Progress], None]
) -> None:
    """Tokenizes the images of shards and writes them."""
    config, tokenizer = job.config, job.tokenizer
    made_by = json.dumps([VERSION, tokenizer.fingerprint, configs.to_dict(config.images)])
    with (
        slices.open_cache(job.out, job.part, made_by, tokenizer.tokens_per_image) as cache,
        Originals(job.out, job.part) as originals,
    ):
        _require_unchanged(job, writer, originals)
        if len(cache):
            logging.info("%s: %d images are tokenized already", job.out, len(cache))
        rejected = Rejects(job.out, config.max_rejects)
        threads = {"batch_size": config.batch_size, "num_threads": config.num_threads}
        with Tokenize(
            tokenizer, cache, rejected, config.images, originals=originals, **threads
        ) as tokenize:
            total = job.count_sentences(job.mine)
            before = done = total - job.count_sentences(missing)

            def report(num_sentences: int) -> None:
                nonlocal done
                done += num_sentences
                counts = {"before": before, "done": done, "total": total}
                progress(Progress(**counts, num_tokenized=tokenize.num_tokenized))

            report(0)
            for number in missing:
                digests: set[bytes] = set()
                records = tokenize.records(job.sentences, job.parts[number], digests, report)
                closing = functools.partial(_write_beside, job.out, number, digests, rejected)
                writer.write_shard(number, _then(records, closing))


def _require_unchanged(job: _Job, writer: ShardsWriter, originals: Originals) -> None:
    """Refuses pictures that are not what shards were made from."""
    changed = originals.compare(_files(job.corpus), job.config.num_threads)
    if changed and any(writer.finished(number) for number in range(len(job.parts))):
        more = f" ({len(changed)} such files)" if len(changed) > 1 else ""
        raise ValueError(
            f"{changed[0]} holds something else than when it was read for the shards in "
            f"{job.out}, though its size is the same{more}; put the old file back, or remove "
            f"--out={job.out} to begin anew"
        )


def _files(corpus: CorpusConfig) -> Iterator[str]:
    return (path for source in corpus.sources for path in source.files)


def _then(records: Iterator[Record], closing: Callable[[], None]) -> Iterator[Record]:
    """The same records, and a call before whoever takes them learns that there are no more."""
    yield from records
    closing()


def _write_beside(out: pathlib.Path, number: int, digests: set[bytes], rejected: Rejects) -> None:
    """What a shard adds to the whole directory; it must be there before the shard is."""
    path = out / f"images-{number:05d}.partial"
    # Under a name that `_count_unique` does not look for.
    with atomic.writing(path, partial=path.with_name(f"writing-{path.name}")) as partial:
        partial.write_bytes(b"".join(sorted(digests)))
    rejected.write_part(number)


def _finish(job: _Job, writer: ShardsWriter) -> Shards | None:
    """Writes what stands over all shards, if all are there and no other process did it."""
    with slices.finishing(job.out):
        missing = sum(not writer.finished(number) for number in range(len(job.parts)))
        if missing:
            logging.info(
                "%s: this slice is done; %d of %d shards are still missing, and whoever makes "
                "the last one finishes the directory",
                *(job.out, missing, len(job.parts)),
            )
            return None
        if not writer.complete:
            writer.finish(len(job.parts), _about(job))
        _clean(job.out)
    return Shards(job.out)


def _about(job: _Job) -> dict[str, Any]:
    """What the manifest says beside the shards; writes `rejects.jsonl`."""
    about = {
        "corpus": configs.to_dict(job.corpus),
        "image_size": job.tokenizer.image_size,
        **image_record.entry(job.config.images),
        "unique_images": _count_unique(job.out),
        **rejects.finish(job.out, job.config.max_rejects),
    }
    if about["rejected_sentences"] == len(job.sentences):
        raise ValueError(
            f"{job.out}: every sentence needs an image that cannot be read; see "
            f"{job.out / rejects.FILE}"
        )
    return about


def _clean(out: pathlib.Path) -> None:
    """Removes what only an unfinished directory needs."""
    for path in _temporary(out):
        path.unlink(missing_ok=True)


def _temporary(out: pathlib.Path) -> list[pathlib.Path]:
    partial = [path for name in _TEMPORARY for path in out.glob(f"{name}.partial")]
    return partial + list(out.glob("shard-*.json"))


def _count_unique(out: pathlib.Path) -> int:
    data = b"".join(path.read_bytes() for path in sorted(out.glob("images-*.partial")))
    return len(np.unique(np.frombuffer(data, [("high", "<u8"), ("low", "<u8")])))


def _sentence_bytes(sentences: corpora.Sentences, tokenizer: ImageTokenizer) -> int:
    """Bytes of ids of an average sentence."""
    return sentences.num_images * tokenizer.tokens_per_image * ID_BYTES // len(sentences)


def _sentences_per_shard(
    sentences: corpora.Sentences, tokenizer: ImageTokenizer, config: BuildConfig
) -> int:
    return max(1, config.shard_megabytes * 2**20 // _sentence_bytes(sentences, tokenizer))


def _build_key(job: _Job) -> str:
    """Changes with everything that the shards depend on; 64 hex digits."""
    parts: list[Any] = [VERSION, job.sentences.fingerprint(), job.tokenizer.fingerprint]
    parts += [job.tokenizer.image_size, job.config.num_special, job.sentences_per_shard]
    parts += [configs.to_dict(job.config.images)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _require_space(job: _Job) -> None:
    """Refuses a disk that is sure to become full, and warns of one that may."""
    out, sentences = job.out, job.sentences
    each_image = job.tokenizer.tokens_per_image * ID_BYTES
    at_least, at_most = sentences.fewest_images * each_image, sentences.num_images * each_image
    there = sum(path.stat().st_size for path in out.glob("shard-*"))
    free = shutil.disk_usage(out).free
    if at_least - there > free:
        raise ValueError(
            f"--out={out} has {free / 2**20:.0f} MiB free, but the shards need "
            f"{at_least / 2**20:.0f} MiB; free space or choose another place"
        )
    if at_most - there > free:
        logging.warning(
            "--out=%s has %.0f MiB free, and the shards may need up to %.0f MiB",
            *(out, free / 2**20, at_most / 2**20),
        )
