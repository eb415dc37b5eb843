"""A picture of some sentences of a corpus, their pictures read as the shards' config says."""

import textwrap

import numpy as np

from lvm_jax import sheets
from lvm_jax.configs import ConfigError, Field
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import sources
from lvm_jax.sentences.corpora import CorpusConfig

_CACHE_BYTES = 256 * 2**20
_LABEL_WIDTH = 150
_LETTERS = 22


def contact_sheet(
    corpus: CorpusConfig,
    size: int,
    per_source: int = 2,
    config: ImageConfig | None = None,
) -> np.ndarray:
    """Draws some sentences of each source, one a row, with their names beside them.

    Args:
        corpus: the sources.
        size: side of the images in pixels, the tokenizer's resolution.
        per_source: sentences of each source, spread over its first epoch.
        config: how files become squares.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: a source that does not fit its files.
        ImageError: a file that cannot be read.
    """
    for name, value in {"size": size, "per_source": per_source}.items():
        if value < 1:
            raise ConfigError(Field(name), f"={value} must be at least 1")
    loader = SquareLoader(config or ImageConfig(), size, _CACHE_BYTES)
    strips = []
    for source in corpus.sources:
        number = source.num_sentences()
        for i in range(min(per_source, number)):
            sentence = source.sentence(corpus.seed, 0, i * number // min(per_source, number))
            row = sheets.grid([[loader.load_one(ref) for ref in sentence.images]])
            strips.append((_label(sentence, row.shape[0]), row))
    return sheets.above([sheets.beside(strip) for strip in strips])


def _label(sentence: sources.Sentence, height: int) -> np.ndarray:
    """Source, kind and as much of the key as there is room for: uint8 [H, _LABEL_WIDTH, 3]."""
    lines = [sentence.source]
    if sentence.kind != sentence.source:
        lines.append(sentence.kind)
    number = len(sentence.images)
    lines.append(f"{number} image{'s' * (number > 1)}")
    written = [
        sheets.text_line(line, _LABEL_WIDTH, color="black" if place else "navy")
        for place, line in enumerate(lines)
    ]
    room = max(0, height // len(written[0]) - len(lines))
    wrapped = textwrap.wrap(sentence.key, _LETTERS)[:room]
    return sheets.above(written + [sheets.text_line(line, _LABEL_WIDTH) for line in wrapped])
