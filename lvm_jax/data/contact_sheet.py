"""A picture of some sentences of a corpus, their pictures read as the shards' config says."""

import textwrap

import numpy as np
import PIL.Image
import PIL.ImageDraw

from lvm_jax import images
from lvm_jax.data.loading import SquareLoader
from lvm_jax.sentences import spec
from lvm_jax.sentences.compose import CorpusConfig

_CACHE_BYTES = 256 * 2**20
_LABEL_WIDTH = 150
_LETTERS = 22
_LINE_HEIGHT = 12
_GAP = 2


def contact_sheet(
    corpus: CorpusConfig,
    size: int,
    per_source: int = 2,
    config: images.ImageConfig | None = None,
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
        images.ImageError: a file that cannot be read.
    """
    if per_source < 1 or size < 1:
        raise ValueError(f"per_source={per_source} and size={size} must be at least 1")
    loader = SquareLoader(config or images.ImageConfig(), size, _CACHE_BYTES)
    strips = []
    for source in corpus.sources:
        number = source.num_sentences()
        for i in range(min(per_source, number)):
            sentence = source.sentence(corpus.seed, 0, i * number // min(per_source, number))
            row = images.grid([[loader.load_one(ref) for ref in sentence.images]], _GAP)
            strips.append((_label(sentence, row.shape[0]), row))
    height = sum(max(label.shape[0], row.shape[0]) for label, row in strips)
    width = _LABEL_WIDTH + max(row.shape[1] for _, row in strips)
    sheet = np.full((height, width, 3), 255, np.uint8)
    top = 0
    for label, row in strips:
        sheet[top : top + label.shape[0], :_LABEL_WIDTH] = label
        sheet[top : top + row.shape[0], _LABEL_WIDTH : _LABEL_WIDTH + row.shape[1]] = row
        top += max(label.shape[0], row.shape[0])
    return sheet


def _label(sentence: spec.Sentence, height: int) -> np.ndarray:
    """Source, kind and as much of the key as there is room for: uint8 [>= height, width, 3]."""
    lines = [sentence.source]
    if sentence.kind != sentence.source:
        lines.append(sentence.kind)
    number = len(sentence.images)
    lines.append(f"{number} image{'s' * (number > 1)}")
    room = max(0, height // _LINE_HEIGHT - len(lines))
    lines += textwrap.wrap(sentence.key, _LETTERS)[:room]
    shown = PIL.Image.new(
        "RGB", (_LABEL_WIDTH, max(height, _LINE_HEIGHT * len(lines) + _GAP)), "white"
    )
    pen = PIL.ImageDraw.Draw(shown)
    for number, line in enumerate(lines):
        # Pillow's own font knows Latin letters only.
        text = line.encode("ascii", "replace").decode()[:_LETTERS]
        pen.text((4, _GAP + number * _LINE_HEIGHT), text, fill="black" if number else "navy")
    return np.asarray(shown)
