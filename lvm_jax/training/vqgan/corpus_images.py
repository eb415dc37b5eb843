"""The images that train a tokenizer: those of a corpus, one by one and in batches on devices."""

import bisect
import collections
import concurrent.futures
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from lvm_jax import draws, partition
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences import corpora

_PREFETCH = 2  # batches loaded ahead of the step
_PICTURE_CACHE_BYTES = 256 * 2**20


class CorpusImages:
    """The images of a corpus, one after another: every image of every sentence.

    They are read as those of shards are, so that the tokenizer sees in training what it will be
    given then. A large JPEG is decoded at a part of its size, which depends on the square that is
    shown: that keeps at least twice the side of an image, also of a small crop.

    Args:
        corpus: the sources.
        size: side of the images.
        memory_megabytes: prepared images that are kept, first come first kept.
        images: how files become square pictures, and how large they may be.
    """

    def __init__(
        self,
        corpus: corpora.CorpusConfig,
        size: int,
        memory_megabytes: int = 0,
        images: ImageConfig | None = None,
    ):
        self._corpus, self.image_size = corpus, size
        self._epoch_ends = list(
            itertools.accumulate(
                source.num_sentences() * source.images_per_sentence for source in corpus.sources
            )
        )
        self.fingerprint = corpora.Sentences(corpus).fingerprint()
        self._kept: dict[str, np.ndarray] = {}
        self._max_kept = memory_megabytes * 2**20 // (3 * size * size)
        self._loader = SquareLoader(images or ImageConfig(), size, _PICTURE_CACHE_BYTES)

    def __len__(self) -> int:
        return self._corpus.epochs * self._epoch_ends[-1]

    def parts(self) -> dict[str, range]:
        """The images of the first epoch by source; of pairs SOURCE/question and SOURCE/answer."""
        parts, start = {}, 0
        for source, end in zip(self._corpus.sources, self._epoch_ends, strict=True):
            if hasattr(source, "pairs_per_sentence"):
                parts[f"{source.name}/question"] = range(start, end, 2)
                parts[f"{source.name}/answer"] = range(start + 1, end, 2)
            else:
                parts[source.name] = range(start, end)
            start = end
        return parts

    def load(self, index: int) -> np.ndarray:
        """uint8 [size, size, 3]; index in [0, len).

        Raises:
            ImageError: the file cannot be read or is too large; names it.
        """
        ref = self._ref(index)
        image = self._kept.get(ref.key)
        if image is None:
            image = self._loader.load_one(ref)
            if len(self._kept) < self._max_kept:
                self._kept[ref.key] = image
        return image

    def _ref(self, index: int) -> ImageRef:
        epoch, place = divmod(index, self._epoch_ends[-1])
        block = bisect.bisect_right(self._epoch_ends, place)
        source = self._corpus.sources[block]
        place -= self._epoch_ends[block - 1] if block else 0
        number, position = divmod(place, source.images_per_sentence)
        images = source.sentence(self._corpus.seed, epoch, number).images
        # A sentence with fewer images than others of its source begins again.
        return images[position % len(images)]


def device_batches(
    source: CorpusImages,
    start_step: int,
    *,
    batch_size: int,
    seed: int,
    mesh: Mesh,
    num_threads: int,
) -> Iterator[jax.Array]:
    """Batches from `start_step` on: a pure function of (corpus, seed, step), loaded ahead.

    Yields:
        uint8 [batch_size, size, size, 3], images split over the mesh; each process loads only
        those of its own devices.
    """
    size = source.image_size
    sharding = partition.image_sharding(mesh)
    shape = (batch_size, size, size, 3)
    places = sharding.addressable_devices_indices_map(shape).values()
    spans = [place[0] for place in places if place is not None]
    rows = sorted({row for span in spans for row in range(*span.indices(batch_size))})

    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:

        def start(step: int) -> dict[int, concurrent.futures.Future]:
            chosen = draws.rows_of_step(step, batch_size, len(source), seed, shuffle=True)
            return {row: pool.submit(source.load, int(chosen[row])) for row in rows}

        ahead = collections.deque(start(start_step + i) for i in range(_PREFETCH))
        try:
            for step in itertools.count(start_step + _PREFETCH):
                loaded = {row: future.result() for row, future in ahead.popleft().items()}
                ahead.append(start(step))
                yield jax.make_array_from_callback(
                    shape, sharding, functools.partial(_stack, loaded, batch_size)
                )
        finally:
            pool.shutdown(cancel_futures=True)


def _stack(loaded: Mapping[int, np.ndarray], batch_size: int, index: Any) -> np.ndarray:
    return np.stack([loaded[row] for row in range(*index[0].indices(batch_size))])
