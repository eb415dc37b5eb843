"""How much a corpus holds, before anything is tokenized."""

import dataclasses
from collections.abc import Sequence

from lvm_jax.sentences.corpora import CorpusConfig
from lvm_jax.sentences.sources import Source

# Sentences of one length are counted without looking at them; others up to so many a source.
_MOST_LOOKED_AT = 2_000


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


def describe(counts: Sequence[Count], tokens_per_image: int) -> str:
    """A table of the sources: sentences, images and tokens of each, and of all.

    Args:
        counts: see `count`.
        tokens_per_image: ids of one image; special ids are not counted.
    """
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
    lines = _columns(rows, num_names=2)
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def describe_kinds(counts: Sequence[Count], tokens_per_image: int) -> str:
    """A table of the kinds, of which many sources may have the same; arguments as `describe`."""
    total = sum(each.images for each in counts)
    rows = [("kind", "sources", "sentences", "images", "tokens", "share")]
    for kind in dict.fromkeys(each.kind for each in counts):
        same = [each for each in counts if each.kind == kind]
        about = "" if all(each.exact for each in same) else "~"
        num_images = sum(each.images for each in same)
        rows.append(
            (
                kind,
                f"{len(same):,}",
                f"{sum(each.sentences for each in same):,}",
                f"{about}{num_images:,}",
                f"{about}{num_images * tokens_per_image:,}",
                f"{100 * num_images / total:.1f}%",
            )
        )
    return "\n".join(_columns(rows, num_names=1))


def _columns(rows: Sequence[tuple[str, ...]], num_names: int) -> list[str]:
    """Lines whose fields stand below each other: first names, then numbers."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) if i < num_names else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
