"""Sentences -> records of ids, with reader threads and the device at work at the same time.

Legend: B images of a call of the tokenizer, T ids per image.
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Protocol

import numpy as np

from lvm_jax import images
from lvm_jax.data import token_cache
from lvm_jax.data.loading import SquareLoader, square_of
from lvm_jax.data.records import Record
from lvm_jax.data.rejects import Rejects
from lvm_jax.sentences import compose, spec

_PICTURE_CACHE_BYTES = 512 * 2**20
# Sentences are held back until this many batches of new images have come together, or this many
# sentences, so that the tokenizer seldom sees a part of a batch.
_BATCHES_AT_ONCE = 8
_MOST_SENTENCES_AT_ONCE = 512


class ImageTokenizer(Protocol):
    """What building needs of a tokenizer; `lvm_jax.tokenizer.codec.Tokenizer` has it.

    Attributes:
        images_per_call: batches are multiples of it.
    """

    fingerprint: str
    image_size: int
    tokens_per_image: int
    num_codes: int
    images_per_call: int

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W, 3] -> int32 [B, T]; called by one thread at a time."""
        ...


@dataclasses.dataclass(frozen=True)
class _Window:
    """Sentences that are tokenized together.

    Attributes:
        sentences: (index, sentence, digests of its images).
        loading: groups of (digest, reference) that show one square, and their pixels to come.
    """

    sentences: list[tuple[int, spec.Sentence, list[bytes]]]
    loading: collections.deque[tuple[list[tuple[bytes, spec.ImageRef]], futures.Future]]


class Tokenize:
    """Sentences -> records, a window of them after the other.

    While the device works on a window, threads read the pictures of the next one. To be used as a
    context; leaving it keeps what the device has done.

    Args:
        tokenizer: makes the ids.
        cache: of ids so far; gets the new ones.
        rejected: gets the pictures that cannot be read, and the sentences that need them.
        image_config: how files become square pictures.
        batch_size: images per call of the tokenizer, at least; see `images_per_call`.
        num_threads: threads that read and derive images.

    Attributes:
        num_tokenized: images that were tokenized.
    """

    def __init__(
        self,
        tokenizer: ImageTokenizer,
        cache: token_cache.TokenCache,
        rejected: Rejects,
        image_config: images.ImageConfig,
        *,
        batch_size: int,
        num_threads: int,
    ):
        self.num_tokenized = 0
        self._tokenizer, self._cache, self._rejects = tokenizer, cache, rejected
        each = tokenizer.images_per_call
        self._batch_size = -(-batch_size // each) * each
        self._loader = SquareLoader(image_config, tokenizer.image_size, _PICTURE_CACHE_BYTES)
        self._readers = futures.ThreadPoolExecutor(num_threads)
        self._encoder = futures.ThreadPoolExecutor(1)
        self._encoding: tuple[list[bytes], futures.Future] | None = None
        self._loading: set[bytes] = set()
        self._size_of = functools.lru_cache(2**20)(_file_size)

    def __enter__(self) -> "Tokenize":
        return self

    def __exit__(self, *error: Any) -> None:
        self._readers.shutdown(cancel_futures=True)
        # What the device has done is kept, whatever went wrong elsewhere.
        with contextlib.suppress(BaseException):
            self._settle()
        self._encoder.shutdown()

    def records(
        self,
        sentences: compose.Sentences,
        part: range,
        digests: set[bytes],
        report: Callable[[int], None],
    ) -> Iterator[Record]:
        """The records of sentences, without those that need a picture which cannot be read.

        Args:
            sentences: of the corpus.
            part: indices.
            digests: gets those of the images of the records.
            report: called with the number of sentences that were done since the last call.
        """
        windows = self._windows(sentences, part)
        window = next(windows, None)
        while window is not None:
            following = next(windows, None)
            self._encode(window)
            for index, sentence, keys in window.sentences:
                if self._rejects.drop(index, sentence, keys):
                    continue
                digests.update(keys)
                yield Record(
                    kind=sentence.kind,
                    source=sentence.source,
                    key=sentence.key,
                    ids=self._cache.get(keys),
                )
            report(len(window.sentences))
            window = following

    def _windows(self, sentences: compose.Sentences, part: range) -> Iterator[_Window]:
        waiting, wanted = [], {}
        for index in part:
            sentence = sentences[index]
            keys = [self._digest(ref) for ref in sentence.images]
            waiting.append((index, sentence, keys))
            for key, ref in zip(keys, sentence.images):
                if not (key in self._cache or key in self._loading or key in self._rejects):
                    wanted[key] = ref
            full = len(wanted) >= self._batch_size * _BATCHES_AT_ONCE
            if full or len(waiting) == _MOST_SENTENCES_AT_ONCE or index == part[-1]:
                self._loading |= wanted.keys()
                yield _Window(waiting, self._load(wanted))
                waiting, wanted = [], {}

    def _digest(self, ref: spec.ImageRef) -> bytes:
        # With the size, a file that was repaired or exchanged after an earlier run is another one.
        return token_cache.digest(f"{ref.key}|{self._size_of(ref.path)}")

    def _load(self, wanted: dict[bytes, spec.ImageRef]) -> collections.deque:
        # By file and square, so that a picture with many squares is decoded once and the images of
        # a pair, which show one square, are made together.
        items = sorted(wanted.items(), key=lambda item: square_of(item[1]))
        groups = [list(g) for _, g in itertools.groupby(items, lambda item: square_of(item[1]))]
        load = lambda group: self._loader.load([ref for _, ref in group])
        return collections.deque((group, self._readers.submit(load, group)) for group in groups)

    def _encode(self, window: _Window) -> None:
        keys: list[bytes] = []
        pixels: list[np.ndarray] = []
        while window.loading:
            group, loaded = window.loading.popleft()
            for (key, ref), image in zip(group, loaded.result()):
                self._loading.discard(key)
                if isinstance(image, images.ImageError):
                    self._rejects.add(key, ref, image)
                else:
                    keys.append(key)
                    pixels.append(image)
            while len(keys) >= self._batch_size or (keys and not window.loading):
                self._send(keys[: self._batch_size], pixels[: self._batch_size])
                del keys[: self._batch_size], pixels[: self._batch_size]
        self._settle()

    def _send(self, keys: list[bytes], pixels: list[np.ndarray]) -> None:
        """Hands a batch to the device, then keeps what it made of the one before."""
        encoding = keys, self._encoder.submit(self._tokenizer.encode, np.stack(pixels))
        try:
            self._settle()
        finally:
            self._encoding = encoding

    def _settle(self) -> None:
        """Keeps the ids of the batch that is under way, if one is."""
        if self._encoding is None:
            return
        (keys, encoded), self._encoding = self._encoding, None
        ids_BT = np.asarray(encoded.result())
        # Checked before they become uint16, where a negative id would look like a code.
        assert ids_BT.min() >= 0 and ids_BT.max() < self._tokenizer.num_codes, ids_BT
        self._cache.add(keys, ids_BT)
        self.num_tokenized += len(keys)


def _file_size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return -1  # reading it says what is wrong
