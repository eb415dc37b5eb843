"""Reads every picture of a corpus once, to know before building which ones cannot be read."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

from lvm_jax import images
from lvm_jax.data.building.from_sentences import BuildConfig
from lvm_jax.data.building.rejects import Dropped
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.pictures.reference import Crop, ImageRef
from lvm_jax.sentences import corpora
from lvm_jax.sentences.corpora import CorpusConfig

_CACHE_BYTES = 512 * 2**20
# What is read does not depend on it: pictures are decoded whatever they are made to.
_SIZE = 64
_FILES_AT_ONCE = 512


def read_all(
    corpus: CorpusConfig,
    config: BuildConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Decodes the pictures and frames of all sentences, each once, as building would.

    Args:
        corpus: the sentences.
        config: how pictures are read, and in how many threads.
        progress: called with how many files are done, and how many there are.

    Returns:
        The lines that building the corpus would write to `rejects.jsonl`, whatever
        `config.max_rejects` is.

    Raises:
        ValueError: a source that does not fit its files.
    """
    sentences = corpora.sentences(corpus)
    wanted: dict[ImageRef, None] = {}
    for sentence in sentences:
        wanted.update(dict.fromkeys(map(_read_as, sentence.images)))
    in_order = sorted(wanted, key=lambda ref: (ref.path, ref.frame))
    by_file = [list(refs) for _, refs in itertools.groupby(in_order, lambda ref: ref.path)]
    loader = SquareLoader(config.images, _SIZE, _CACHE_BYTES)
    dropped, done = Dropped(), 0
    progress(0, len(by_file))
    with futures.ThreadPoolExecutor(config.num_threads) as pool:
        for start in range(0, len(by_file), _FILES_AT_ONCE):
            part = by_file[start : start + _FILES_AT_ONCE]
            for errors in pool.map(lambda refs: list(_errors(loader, refs)), part):
                dropped.reasons.update(errors)
                done += 1
                progress(done, len(by_file))
    for index in range(len(sentences)) if dropped.reasons else ():
        sentence = sentences[index]
        dropped.drop(index, sentence, [_read_as(ref) for ref in sentence.images])
    return list(dropped.lines.values())


def _read_as(ref: ImageRef) -> ImageRef:
    """The same for references that can be read, or not, for the same reasons."""
    # Whether a square is shown decides whether annotations must have the shape of their pictures.
    crop = ref.crop and Crop(0, 0, Crop.UNIT)
    return dataclasses.replace(ref, crop=crop, flip=False, derivation="", parameters=())


def _errors(loader: SquareLoader, refs: Iterable[ImageRef]) -> Iterator[tuple[ImageRef, str]]:
    """Those of the references that cannot be read, and why."""
    for ref in refs:
        (square,) = loader.load([ref])
        if isinstance(square, images.ImageError):
            yield ref, str(square)
