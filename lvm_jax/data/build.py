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
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import configs
from lvm_jax import images as images_lib
from lvm_jax.data import rejects, slices
from lvm_jax.data.originals import Originals
from lvm_jax.data.records import ID_BYTES, Record, write_error
from lvm_jax.data.rejects import Rejects
from lvm_jax.data.shards import INDEX_FILES, KEYS, MANIFEST, Shards
from lvm_jax.data.shards_writer import ShardsWriter
from lvm_jax.data.slices import Slice
from lvm_jax.data.tokenize import ImageTokenizer, Tokenize
from lvm_jax.sentences import compose
from lvm_jax.sentences.compose import CorpusConfig
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
        max_rejects: pictures that may be unreadable. They are listed in `rejects.jsonl`, and the
            sentences that need them are left out; one more than this ends the build.
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
            shards were made from it, or `out`.
        RuntimeError: the disk became full; a new run goes on.
    """
    config, part, out = config or BuildConfig(), part or Slice(), pathlib.Path(out)
    sentences = compose.sentences(corpus)
    per_shard = config.sentences_per_shard or _sentences_per_shard(sentences, tokenizer, config)
    parts = [
        range(i, min(i + per_shard, len(sentences))) for i in range(0, len(sentences), per_shard)
    ]
    mine = range(len(parts))[part.index :: part.count]
    # Who finishes takes away what shards are known by: nobody looks meanwhile.
    with slices.finishing(out) if out.is_dir() else contextlib.nullcontext():
        writer = ShardsWriter(
            out,
            build_key=_build_key(sentences, tokenizer, config, per_shard),
            vocabulary=Vocabulary(num_codes=tokenizer.num_codes, num_special=config.num_special),
            tokens_per_image=tokenizer.tokens_per_image,
            tokenizer_fingerprint=tokenizer.fingerprint,
        )
        complete = writer.complete
        missing = [number for number in mine if not complete and not writer.finished(number)]
    total = sum(len(parts[number]) for number in mine)
    done = total - sum(len(parts[number]) for number in missing)
    if complete:
        logging.info("%s: all %d sentences are there already, nothing to do", out, len(sentences))
        progress(Progress(before=total, done=total, total=total, num_tokenized=0))
        if _temporary(out):
            with slices.finishing(out):
                _clean(out)
        return Shards(out)
    if len(missing) < len(mine):
        logging.info(
            "%s: %d of %d shards are there already, going on",
            *(out, len(mine) - len(missing), len(mine)),
        )
    if not mine:
        logging.warning(
            "%s has %d shards, so slice %s has nothing to do; config.shards.shard_megabytes or "
            "sentences_per_shard makes more",
            *(out, len(parts), part),
        )
    _require_space(out, sentences, tokenizer)
    if missing:
        made_by = json.dumps([VERSION, tokenizer.fingerprint, configs.to_dict(config.images)])
        with (
            slices.open_cache(out, part, made_by, tokenizer.tokens_per_image) as cache,
            Originals(out, part) as originals,
        ):
            changed = originals.compare(_files(corpus), config.num_threads)
            if changed and any(writer.finished(number) for number in range(len(parts))):
                more = f" ({len(changed)} such files)" if len(changed) > 1 else ""
                raise ValueError(
                    f"{changed[0]} holds something else than when it was read for the shards in "
                    f"{out}, though its size is the same{more}; put the old file back, or remove "
                    f"--out={out} to begin anew"
                )
            if len(cache):
                logging.info("%s: %d images are tokenized already", out, len(cache))
            rejected = Rejects(out, config.max_rejects)
            threads = {"batch_size": config.batch_size, "num_threads": config.num_threads}
            with Tokenize(
                tokenizer, cache, rejected, config.images, originals=originals, **threads
            ) as tokenize:
                state = Progress(before=done, done=done, total=total, num_tokenized=0)

                def report(num_sentences: int) -> None:
                    nonlocal state
                    count, tokenized = state.done + num_sentences, tokenize.num_tokenized
                    state = dataclasses.replace(state, done=count, num_tokenized=tokenized)
                    progress(state)

                report(0)
                for number in missing:
                    digests: set[bytes] = set()
                    records = tokenize.records(sentences, parts[number], digests, report)
                    closing = functools.partial(_write_beside, out, number, digests, rejected)
                    writer.write_shard(number, _then(records, closing))
    about = {"corpus": configs.to_dict(corpus), "image_size": tokenizer.image_size}
    about["images"] = configs.to_dict(config.images)
    return _finish(out, writer, parts, about, config.max_rejects)


def _files(corpus: CorpusConfig) -> Iterator[str]:
    return (path for source in corpus.sources for path in source.files)


def _then(records: Iterator[Record], closing: Callable[[], None]) -> Iterator[Record]:
    """The same records, and a call before whoever takes them learns that there are no more."""
    yield from records
    closing()


def _write_beside(out: pathlib.Path, number: int, digests: set[bytes], rejected: Rejects) -> None:
    """What a shard adds to the whole directory; it must be there before the shard is."""
    path = out / f"images-{number:05d}.partial"
    writing = path.with_name(f"writing-{path.name}")
    try:
        writing.write_bytes(b"".join(sorted(digests)))
        writing.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    rejected.write_part(number)


def _finish(
    out: pathlib.Path,
    writer: ShardsWriter,
    parts: list[range],
    about: dict[str, Any],
    max_rejects: int,
) -> Shards | None:
    """Writes what stands over all shards, if all are there and no other process did it."""
    with slices.finishing(out):
        if not writer.complete:
            missing = [number for number in range(len(parts)) if not writer.finished(number)]
            if missing:
                logging.info(
                    "%s: this slice is done; %d of %d shards are still missing, and whoever makes "
                    "the last one finishes the directory",
                    *(out, len(missing), len(parts)),
                )
                return None
            about |= {"unique_images": _count_unique(out), **rejects.finish(out, max_rejects)}
            if about["rejected_sentences"] == parts[-1].stop:
                raise ValueError(
                    f"{out}: every sentence needs an image that cannot be read; see "
                    f"{out / rejects.FILE}"
                )
            writer.finish(len(parts), about)
        _clean(out)
    return Shards(out)


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


def _sentence_bytes(sentences: compose.Sentences, tokenizer: ImageTokenizer) -> int:
    """Bytes of ids of an average sentence."""
    return sentences.num_images * tokenizer.tokens_per_image * ID_BYTES // len(sentences)


def _sentences_per_shard(
    sentences: compose.Sentences, tokenizer: ImageTokenizer, config: BuildConfig
) -> int:
    return max(1, config.shard_megabytes * 2**20 // _sentence_bytes(sentences, tokenizer))


def _build_key(
    sentences: compose.Sentences, tokenizer: ImageTokenizer, config: BuildConfig, per_shard: int
) -> str:
    """Changes with everything that the shards depend on; 64 hex digits."""
    parts: list[Any] = [VERSION, sentences.fingerprint(), tokenizer.fingerprint]
    parts += [tokenizer.image_size, config.num_special, per_shard, configs.to_dict(config.images)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _require_space(
    out: pathlib.Path, sentences: compose.Sentences, tokenizer: ImageTokenizer
) -> None:
    """Refuses a disk that is sure to become full, and warns of one that may."""
    each_image = tokenizer.tokens_per_image * ID_BYTES
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
