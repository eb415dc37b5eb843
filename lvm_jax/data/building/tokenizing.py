"""Sentences -> records of ids, with reader threads and the device at work all the time.

Legend: B images of a call of the tokenizer, T ids per image.
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, Protocol

import numpy as np

from lvm_jax import images
from lvm_jax.data.building import token_cache
from lvm_jax.data.building.originals import Look, Originals
from lvm_jax.data.building.rejects import Rejects
from lvm_jax.data.shards.records import Record
from lvm_jax.pictures import reference
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora, sources

_PICTURE_CACHE_BYTES = 512 * 2**20
# Sentences are held back until this many batches of new images have come together, or this many
# sentences, so that the images of a picture meet and the tokenizer seldom sees a part of a batch.
_BATCHES_AT_ONCE = 8
_MOST_SENTENCES_AT_ONCE = 512
# Windows that are read or tokenized while records of the one before are made.
_WINDOWS_AHEAD = 2
_MOST_SIZES = 2**16


class ImageTokenizer(Protocol):
    """What building needs of a tokenizer; `lvm_jax.tokenizer.codec.Tokenizer` has it.

    Attributes:
        images_per_call: batches are multiples of it.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def tokens_per_image(self) -> int: ...
    @property
    def num_codes(self) -> int: ...
    @property
    def images_per_call(self) -> int: ...

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W, 3] -> int32 [B, T]; called by one thread at a time."""
        ...


@dataclasses.dataclass(frozen=True)
class _Window:
    """Sentences whose images are read together.

    Attributes:
        sentences: (index, sentence, digests of its images).
        loading: groups of (digest, reference) that show one square, and to come: what their file
            holds and their pixels.
        last: of the sentences that were asked for.
    """

    sentences: list[tuple[int, sources.Sentence, list[bytes]]]
    loading: collections.deque[tuple[list[tuple[bytes, reference.ImageRef]], futures.Future]]
    last: bool


class Tokenize:
    """Sentences -> records, a window of them after the other.

    Reader threads load the pictures of later windows, a feeder thread hands those of this one to
    the device in whole batches, and the caller's thread makes records of the windows before. To be
    used as a context; leaving it keeps what the device has done.

    Args:
        tokenizer: makes the ids.
        cache: of ids so far; gets the new ones.
        rejected: gets the pictures that cannot be read, and the sentences that need them.
        image_config: how files become square pictures.
        batch_size: images per call of the tokenizer, at least; see `images_per_call`.
        num_threads: threads that read and derive images.
        originals: gets what the files hold; knows which ones the cache has older images of.

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
        originals: Originals | None = None,
    ):
        self.num_tokenized = 0
        self._tokenizer, self._cache, self._rejects = tokenizer, cache, rejected
        self._originals = originals
        each = tokenizer.images_per_call
        self._batch_size = -(-batch_size // each) * each
        self._loader = SquareLoader(image_config, tokenizer.image_size, _PICTURE_CACHE_BYTES)
        self._readers = futures.ThreadPoolExecutor(num_threads)
        self._feeder = futures.ThreadPoolExecutor(1)
        self._encoder = futures.ThreadPoolExecutor(1)
        # The feeder's: images that wait for a whole batch, and the batch that is under way.
        self._keys: list[bytes] = []
        self._pixels: list[np.ndarray] = []
        self._encoding: tuple[list[bytes], futures.Future] | None = None
        self._stopped = False
        # Digests that are on their way, until cache or rejects have them.
        self._loading: set[bytes] = set()
        self._size_of = functools.lru_cache(_MOST_SIZES)(_file_size)

    def __enter__(self) -> "Tokenize":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stopped = True
        self._readers.shutdown(cancel_futures=True)
        self._feeder.shutdown(cancel_futures=True)
        # What the device has done is kept, whatever went wrong elsewhere.
        with contextlib.suppress(BaseException):
            self._settle()
        self._encoder.shutdown()

    def records(
        self,
        sentences: corpora.Sentences,
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
        ahead: collections.deque[tuple[_Window, futures.Future]] = collections.deque()
        for window in self._windows(sentences, part):
            ahead.append((window, self._feeder.submit(self._feed, window)))
            while len(ahead) > (0 if window.last else _WINDOWS_AHEAD):
                done, fed = ahead.popleft()
                fed.result()
                if ahead:
                    ahead[0][1].result()  # its first batch took along what was left of this one
                yield from self._finished(done, digests)
                report(len(done.sentences))

    def _finished(self, window: _Window, digests: set[bytes]) -> Iterator[Record]:
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

    def _windows(self, sentences: corpora.Sentences, part: range) -> Iterator[_Window]:
        waiting, wanted = [], {}
        for index in part:
            sentence = sentences[index]
            keys = [self._digest(ref) for ref in sentence.images]
            waiting.append((index, sentence, keys))
            wanted.update(self._unknown(keys, sentence.images))
            full = len(wanted) >= self._batch_size * _BATCHES_AT_ONCE
            last = index == part[-1]
            if full or len(waiting) == _MOST_SENTENCES_AT_ONCE or last:
                self._loading |= wanted.keys()
                yield _Window(waiting, self._load(wanted), last)
                waiting, wanted = [], {}

    def _unknown(
        self, keys: Sequence[bytes], refs: Sequence[reference.ImageRef]
    ) -> Iterator[tuple[bytes, reference.ImageRef]]:
        # In this order: the feeder takes away what is loading when the others have it.
        new = [(key, ref) for key, ref in zip(keys, refs) if key not in self._loading]
        known = self._cache.contains([key for key, _ in new])
        for (key, ref), cached in zip(new, known):
            if not (cached or key in self._rejects):
                yield key, ref

    def _digest(self, ref: reference.ImageRef) -> bytes:
        # A file that was repaired or exchanged after an earlier run is another one.
        text = f"{ref.key}|{self._size_of(ref.path)}"
        edition = self._originals and self._originals.editions.get(ref.path)
        return token_cache.digest(text if edition is None else f"{text}|{edition:x}")

    def _load(self, wanted: dict[bytes, reference.ImageRef]) -> collections.deque:
        # By file and square, so that a picture with many squares is decoded once and the images of
        # a pair, which show one square, are made together.
        items = sorted(wanted.items(), key=lambda item: item[1].square)
        groups = [list(g) for _, g in itertools.groupby(items, lambda item: item[1].square)]
        return collections.deque(
            (group, self._readers.submit(self._read, group)) for group in groups
        )

    def _read(self, group: list[tuple[bytes, reference.ImageRef]]) -> tuple[Look | None, list]:
        refs = [ref for _, ref in group]
        # Before it is read, so that a change between the two is not taken for what was read.
        look = self._originals.look(refs[0].path) if self._originals else None
        return look, self._loader.load(refs)

    def _feed(self, window: _Window) -> None:
        """Hands the images of a window to the device, but for less than a batch that is left.

        When it returns, all images of the windows before are kept, and those of the last one too.
        """
        left, num_sent = len(self._keys), 0
        while window.loading and not self._stopped:
            self._take(*window.loading.popleft())
            while len(self._keys) >= self._batch_size:
                self._send()
                num_sent += 1
        if self._stopped:
            raise futures.CancelledError
        if self._keys and (window.last or (left and not num_sent)):
            self._send()
            num_sent += 1
        if window.last or num_sent < 2:
            self._settle()
        self._flush()

    def _take(self, group: list[tuple[bytes, reference.ImageRef]], loaded: futures.Future) -> None:
        look, pictures = loaded.result()
        for (key, ref), picture in zip(group, pictures):
            if isinstance(picture, images.ImageError):
                self._rejects.add(key, ref, picture)
                self._loading.discard(key)
            else:
                self._keys.append(key)
                self._pixels.append(picture)
        if self._originals is not None and look is not None:
            self._originals.note(group[0][1].path, look)

    def _send(self) -> None:
        """Hands a batch to the device, then keeps what it made of the one before."""
        keys, pixels = self._keys[: self._batch_size], self._pixels[: self._batch_size]
        del self._keys[: self._batch_size], self._pixels[: self._batch_size]
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
        self._flush()
        self._cache.add(keys, ids_BT)
        self._loading.difference_update(keys)
        self.num_tokenized += len(keys)

    def _flush(self) -> None:
        if self._originals is not None:
            self._originals.flush()


def _file_size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return -1  # reading it says what is wrong
