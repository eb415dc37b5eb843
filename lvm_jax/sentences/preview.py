"""What a corpus holds, before anything is tokenized: a table, and a picture of some sentences."""

import dataclasses
import textwrap

import numpy as np
import PIL.Image
import PIL.ImageDraw

from lvm_jax import images
from lvm_jax.sentences import spec
from lvm_jax.sentences.compose import CorpusConfig
from lvm_jax.sentences.pictures import PictureCache
from lvm_jax.sentences.sources import Source

# Sentences of one length are counted without looking at them; others up to so many a source.
_MOST_LOOKED_AT = 2_000
_CACHE_BYTES = 256 * 2**20
_LABEL_WIDTH = 150
_LETTERS = 22
_LINE_HEIGHT = 12
_GAP = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Count:
    """How much a source gives over all epochs.

    Attributes:
        source, kind: its names.
        items: pictures, clips, ... that it deals from.
        sentences: in all epochs.
        images: the same.
        exact: whether `images` was counted; otherwise it is inferred from some of the sentences.
    """

    source: str
    kind: str
    items: int
    sentences: int
    images: int
    exact: bool = True


def count(corpus: CorpusConfig) -> tuple[Count, ...]:
    """Counts every source's items, sentences and images.

    Raises:
        ValueError: a source that does not fit its files; named.
    """
    return tuple(_count(source, corpus) for source in corpus.sources)


def _count(source: Source, corpus: CorpusConfig) -> Count:
    total = source.num_sentences() * corpus.epochs
    looked_at = min(total, _MOST_LOOKED_AT)
    numbers = []
    for i in range(looked_at):
        epoch, index = divmod(i * total // looked_at, source.num_sentences())
        numbers.append(len(source.sentence(corpus.seed, epoch, index).images))
    return Count(
        source=source.name,
        kind=source.kind,
        items=len(source.items),
        sentences=total,
        images=round(sum(numbers) * total / looked_at),
        exact=looked_at == total or set(numbers) == {source.images_per_sentence},
    )


def describe(corpus: CorpusConfig, tokens_per_image: int) -> str:
    """A table of the sources: sentences, images and tokens of each, and of all.

    Args:
        corpus: the sources.
        tokens_per_image: ids of one image; special ids are not counted.

    Raises:
        ValueError: as `count`.
    """
    counts = count(corpus)
    rows = [("source", "kind", "items", "sentences", "images", "tokens", "share")]
    total = sum(each.images for each in counts)
    for each in counts:
        about = "" if each.exact else "~"
        rows.append(
            (
                each.source,
                each.kind,
                f"{each.items:,}",
                f"{each.sentences:,}",
                f"{about}{each.images:,}",
                f"{about}{each.images * tokens_per_image:,}",
                f"{100 * each.images / total:.1f}%",
            )
        )
    about = "" if all(each.exact for each in counts) else "~"
    rows.append(
        (
            "all",
            f"{len({each.kind for each in counts})} kinds",
            "",
            f"{sum(each.sentences for each in counts):,}",
            f"{about}{total:,}",
            f"{about}{total * tokens_per_image:,}",
            "",
        )
    )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def contact_sheet(corpus: CorpusConfig, size: int, per_source: int = 2) -> np.ndarray:
    """A picture of some sentences of each source, one a row, with their names beside them.

    Args:
        corpus: the sources.
        size: side of the images in pixels, the tokenizer's resolution.
        per_source: sentences of each source, spread over its first epoch.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: a source that does not fit its files.
        images.ImageError: a file that cannot be read.
    """
    if per_source < 1 or size < 1:
        raise ValueError(f"per_source={per_source} and size={size} must be at least 1")
    read = PictureCache(_CACHE_BYTES).read
    strips = []
    for source in corpus.sources:
        number = source.num_sentences()
        for i in range(min(per_source, number)):
            sentence = source.sentence(corpus.seed, 0, i * number // min(per_source, number))
            row = images.grid([[spec.load(ref, size, read) for ref in sentence.images]], _GAP)
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
