"""Corpus + tokenizer -> shards; every unique image is tokenized once, and nothing is lost.

Legend: B images of a call of the tokenizer, N images of a sentence, T ids per image.
"""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Protocol

import numpy as np
from absl import logging

from lvm_jax import configs
from lvm_jax.data import token_cache
from lvm_jax.data.records import ID_BYTES, Record
from lvm_jax.data.shards import Shards
from lvm_jax.data.shards_writer import ShardsWriter
from lvm_jax.sentences import compose, spec
from lvm_jax.sentences.compose import CorpusConfig
from lvm_jax.sentences.pictures import PictureCache
from lvm_jax.vocabulary import Vocabulary

VERSION = 1
_PICTURE_CACHE_BYTES = 512 * 2**20
# Sentences are held back until this many batches of new images have come together, or this many
# sentences, so that the tokenizer seldom sees a part of a batch.
_BATCHES_AT_ONCE = 8
_MOST_SENTENCES_AT_ONCE = 512


class ImageTokenizer(Protocol):
    """What building needs of a tokenizer; `lvm_jax.tokenizer.codec.Tokenizer` has it."""

    fingerprint: str
    image_size: int
    tokens_per_image: int
    num_codes: int

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W, 3] -> int32 [B, T]."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """How shards are made; only the first three change what is in them.

    Attributes:
        shard_megabytes: about how large a shard becomes.
        sentences_per_shard: exactly how many sentences it has; 0 leaves it to `shard_megabytes`.
        num_special: special ids of the vocabulary.
        batch_size: images per call of the tokenizer.
        num_threads: threads that read and derive images.
    """

    shard_megabytes: int = 256
    sentences_per_shard: int = 0
    num_special: int = 100
    batch_size: int = 32
    num_threads: int = 4

    def __post_init__(self):
        for name in ("shard_megabytes", "batch_size", "num_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"config.shards.{name}={getattr(self, name)} must be at least 1")
        if self.sentences_per_shard < 0:
            raise ValueError(
                f"config.shards.sentences_per_shard={self.sentences_per_shard} must not be negative"
            )


def build_shards(
    corpus: CorpusConfig,
    tokenizer: ImageTokenizer,
    out: str | os.PathLike,
    config: BuildConfig | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Shards:
    """Tokenizes a corpus into a directory of shards, or goes on where an earlier run stopped.

    Args:
        corpus: the sentences.
        tokenizer: makes the ids.
        out: the directory.
        config: how.
        progress: called with (sentences done, sentences in all).

    Returns:
        The finished shards.

    Raises:
        ValueError: what the user can fix: a source, an image, or `out`.
        RuntimeError: the disk became full; a new run goes on.
    """
    config = config or BuildConfig()
    sentences = compose.sentences(corpus)
    per_shard = config.sentences_per_shard or _sentences_per_shard(sentences, tokenizer, config)
    writer = ShardsWriter(
        out,
        build_key=_build_key(sentences, tokenizer, config, per_shard),
        vocabulary=Vocabulary(num_codes=tokenizer.num_codes, num_special=config.num_special),
        tokens_per_image=tokenizer.tokens_per_image,
        tokenizer_fingerprint=tokenizer.fingerprint,
    )
    total = len(sentences)
    if writer.complete:
        logging.info("%s: all %d sentences are there already, nothing to do", out, total)
        progress(total, total)
        return Shards(out)
    starts = range(0, total, per_shard)
    done = [number for number in range(len(starts)) if writer.finished(number)]
    if done:
        logging.info("%s: %d of %d shards are there already, going on", out, len(done), len(starts))
    _require_space(pathlib.Path(out), sentences, tokenizer)
    cache_path = pathlib.Path(out) / f"tokens-{tokenizer.fingerprint[:16]}.partial"
    cache = token_cache.TokenCache(cache_path, tokenizer.tokens_per_image)
    with contextlib.closing(cache), futures.ThreadPoolExecutor(config.num_threads) as pool:
        if len(cache):
            logging.info("%s: %d images are tokenized already", out, len(cache))
        tokenize = _Tokenize(tokenizer, cache, pool, config.batch_size)
        for number, start in enumerate(starts):
            stop = min(start + per_shard, total)
            if number not in done:
                part = range(start, stop)
                report = lambda index: progress(index, total)
                writer.write_shard(number, _tokenized(sentences, part, tokenize, report))
            progress(stop, total)
        about = {"corpus": configs.to_dict(corpus), "image_size": tokenizer.image_size}
        writer.finish(len(starts), {**about, "unique_images": len(cache)})
    cache.remove()
    return Shards(out)


def _tokenized(
    sentences: compose.Sentences, part: range, tokenize: "_Tokenize", report: Callable[[int], None]
) -> Iterator[Record]:
    """The records of some sentences; the tokenizer is called for many sentences at once."""
    waiting: list[spec.Sentence] = []
    for index in part:
        waiting.append(sentences[index])
        tokenize.want(waiting[-1])
        if tokenize.ready or len(waiting) == _MOST_SENTENCES_AT_ONCE or index == part[-1]:
            tokenize.run()
            for sentence in waiting:
                yield tokenize.record(sentence)
            waiting.clear()
            report(index + 1)


class _Tokenize:
    """Collects images that are not in the cache, and tokenizes them in whole batches."""

    def __init__(
        self,
        tokenizer: ImageTokenizer,
        cache: token_cache.TokenCache,
        pool: futures.Executor,
        batch_size: int,
    ):
        self._tokenizer, self._cache, self._pool = tokenizer, cache, pool
        self._batch_size = batch_size
        self._wanted: dict[bytes, spec.ImageRef] = {}
        self._read = PictureCache(_PICTURE_CACHE_BYTES).read

    @property
    def ready(self) -> bool:
        return len(self._wanted) >= self._batch_size * _BATCHES_AT_ONCE

    def want(self, sentence: spec.Sentence) -> None:
        for ref in sentence.images:
            key = token_cache.digest(ref.key)
            if key not in self._cache:
                self._wanted[key] = ref

    def run(self) -> None:
        # By file and square, so that a picture with many squares is decoded once and the images of
        # a pair, which show one square, are made together.
        wanted = sorted(self._wanted.items(), key=lambda item: _square_of(item[1]))
        groups = [list(group) for _, group in itertools.groupby(wanted, lambda i: _square_of(i[1]))]
        loading = collections.deque(self._pool.submit(self._load, group) for group in groups)
        keys: list[bytes] = []
        pixels: list[np.ndarray] = []
        try:
            for group in groups:
                keys += [key for key, _ in group]
                pixels += loading.popleft().result()
                while len(keys) >= self._batch_size or (keys and not loading):
                    self._encode(keys[: self._batch_size], pixels[: self._batch_size])
                    del keys[: self._batch_size], pixels[: self._batch_size]
        finally:
            for future in loading:
                future.cancel()
        self._wanted.clear()

    def _load(self, group: list[tuple[bytes, spec.ImageRef]]) -> list[np.ndarray]:
        square = spec.load_square(group[0][1], self._tokenizer.image_size, self._read)
        return [spec.derived(ref, square) for _, ref in group]

    def _encode(self, keys: list[bytes], pixels: list[np.ndarray]) -> None:
        ids_BT = np.asarray(self._tokenizer.encode(np.stack(pixels)))
        # Checked before they become uint16, where a negative id would look like a code.
        assert ids_BT.min() >= 0 and ids_BT.max() < self._tokenizer.num_codes, ids_BT
        self._cache.add(keys, ids_BT)

    def record(self, sentence: spec.Sentence) -> Record:
        ids = self._cache.get([token_cache.digest(ref.key) for ref in sentence.images])
        return Record(kind=sentence.kind, source=sentence.source, key=sentence.key, ids=ids)


def _square_of(ref: spec.ImageRef) -> tuple[str, int, str, bool]:
    return ref.path, ref.frame, repr(ref.crop), ref.flip


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
    parts += [tokenizer.image_size, config.num_special, per_shard]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _require_space(
    out: pathlib.Path, sentences: compose.Sentences, tokenizer: ImageTokenizer
) -> None:
    """Refuses a disk that is sure to become full."""
    needed = len(sentences) * _sentence_bytes(sentences, tokenizer)
    there = sum(path.stat().st_size for path in out.glob("shard-*"))
    free = shutil.disk_usage(out).free
    if needed - there > free:
        raise ValueError(
            f"--out={out} has {free / 2**20:.0f} MiB free, but the shards need "
            f"{needed / 2**20:.0f} MiB; free space or choose another place"
        )
