"""Which sentences, or parts of them, share a training row; planned once per data set and context.

"sentence" packing puts whole sentences together. "stream" packing is the paper's: all sentences
end to end, cut every `context` ids; neighbouring rows share one id, so that every id but the first
is a target exactly once.

A sentence that is longer than a row may be split at image borders; each part is packed as a
sentence of its own, with BOS and EOS.

Legend: R rows, S sentences of the directory, U units (sentences or their parts) that are packed.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.feeding.data_config import LongSentences, Packing
from lvm_jax.data.feeding.rows import RowPlan, ranges, sentence_lengths
from lvm_jax.draws import permute

VERSION = 2
_MOST_CANDIDATES = 256
_MOST_NUMBERS = 1 << 32  # sentences and units are numbered in uint32
_PART = 1 << 16  # units handled together: small arrays stay in the processor's cache
_SORTED = 1 << 18  # units sorted together; there may be 65,536 lengths, so not much fewer


def plan_rows(
    num_images: np.ndarray,
    tokens_per_image: int,
    context: int,
    packing: Packing = "sentence",
    shuffle: bool = True,
    long_sentences: LongSentences = "refuse",
    selected: np.ndarray | None = None,
) -> RowPlan:
    """Plans the rows of a data set; the same for ever for the same arguments.

    Memory: the arrays of the plan, 4 bytes a unit, 2 bytes a selected sentence, and small parts.

    Args:
        num_images: uint16 [S], images of each sentence; may be memory-mapped.
        tokens_per_image: ids per image.
        context: ids per row less one.
        packing: see the top of the file.
        shuffle: mixes the sentences before they are packed, so that a row holds sentences of all
            sources; otherwise sentences keep the order of the shards as far as packing allows.
        long_sentences: what "sentence" packing does with one that is longer than a row.
        selected: the sentences to use, sorted uint32 of at least one; None means all.

    Returns:
        The plan, with `firsts` and `images` only where a sentence had to be split.

    Raises:
        ConfigError: a sentence is longer than a row (or, to be split, an image is); names it and
            the context it needs. Or there are more than 2**32 sentences or parts of them.
    """
    _check_count(len(num_images), "sentences", "build several and mix them")
    if selected is not None:
        num_images = take(num_images, selected)
    if packing == "stream":
        return _plan_stream(num_images, tokens_per_image, context, shuffle, selected)
    most = context // tokens_per_image
    longest = int(np.argmax(num_images))
    firsts = images = None
    if int(num_images[longest]) <= most:
        order, ends = _pack(num_images, tokens_per_image, context, shuffle)
    elif long_sentences == "refuse" or not most:
        number = longest if selected is None else int(selected[longest])
        rather = ", or ", Field("long_sentences"), "='split', which cuts at image borders"
        raise ConfigError(
            *(Field("context"), f"={context} is too small: sentence {number} has "),
            f"{num_images[longest]} images of {tokens_per_image} ids; use at least ",
            *(f"{int(num_images[longest]) * tokens_per_image}", *(rather if most else ())),
        )
    else:
        order, ends, firsts, images = _pack_split(num_images, tokens_per_image, context, shuffle)
    if selected is not None:
        take(selected, order, out=order)
    return RowPlan(
        packing=packing, context=context, order=order, ends=ends, firsts=firsts, images=images
    )


def _check_count(count: int, things: str, *remedy: str) -> None:
    """Refuses what would wrap in the uint32 numbers of `RowPlan.order` and `_pack`."""
    if count > _MOST_NUMBERS:
        raise ConfigError(
            f"{count} {things} are more than the {_MOST_NUMBERS} that one row plan can number; ",
            *remedy,
        )


def _plan_stream(
    num_images: np.ndarray,
    tokens_per_image: int,
    context: int,
    shuffle: bool,
    selected: np.ndarray | None,
) -> RowPlan:
    size = len(num_images)
    order, ends = np.empty(size, np.uint32), np.empty(size, np.int64)
    total = 0
    for start in range(0, size, _PART):
        places = np.arange(start, min(start + _PART, size))
        chosen = permute(places, size, 0, -1) if shuffle else places
        order[places] = chosen if selected is None else selected[chosen]
        lengths = sentence_lengths(num_images[chosen], tokens_per_image, context, "stream")
        ends[places] = np.cumsum(lengths) + total
        total = int(ends[places[-1]])
    return RowPlan(packing="stream", context=context, order=order, ends=ends)


def padding(counts: np.ndarray, tokens_per_image: int, context: int) -> float:
    """Share of the ids of rows of whole sentences that are padding.

    Args:
        counts: int64, how many sentences have 0, 1, ... images; none more than fit a row.
        tokens_per_image: ids per image.
        context: ids per row less one.
    """
    lengths = sentence_lengths(np.arange(len(counts)), tokens_per_image, context, "sentence")
    num_rows = sum(repeats for repeats, _ in _patterns(counts, tokens_per_image, context))
    return 1 - float(counts @ lengths) / (num_rows * (context + 1))


def roomier_context(
    counts: np.ndarray, tokens_per_image: int, context: int, most: float
) -> tuple[int, float] | None:
    """The first of some slightly larger contexts with less than `most` padding; None: none has.

    BOS and EOS take the room of whole sentences where images alone would fill a row: two sentences
    of 8 images of 256 ids need 4,100 ids. Other arguments as for `padding`.

    Returns:
        The context and its padding.
    """
    step = max(1, context // 128)
    larger = range((context // step + 1) * step, context * 17 // 16 + 1, step)
    tried = ((each, padding(counts, tokens_per_image, each)) for each in larger)
    return next((pair for pair in tried if pair[1] < most), None)


class _Units(NamedTuple):
    """Some units of split sentences; int64 [units].

    Attributes:
        sentences: places of their sentences in `num_images`.
        firsts: the first image of each.
        images: the images of each, at least 1.
    """

    sentences: np.ndarray
    firsts: np.ndarray
    images: np.ndarray


def _split(num_images: np.ndarray, most: int) -> Iterator[_Units]:
    """Cuts sentences into units of `most` images and a remainder; gives the units in parts."""
    for start in range(0, len(num_images), _PART):
        lengths = num_images[start : start + _PART].astype(np.int64)
        counts = -(-lengths // most)
        ends = np.cumsum(counts)
        # A sentence may have thousands of units, so a part of the sentences can have many parts.
        for unit in range(0, int(ends[-1]), _PART):
            units = np.arange(unit, min(unit + _PART, int(ends[-1])))
            places = np.searchsorted(ends, units, side="right")
            firsts = (units - (ends - counts)[places]) * most
            images = np.minimum(lengths[places] - firsts, most)
            yield _Units(sentences=places + start, firsts=firsts, images=images)


def _pack_split(
    num_images: np.ndarray, tokens_per_image: int, context: int, shuffle: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Packs the units of split sentences: `order`, `ends`, `firsts` and `images` of the plan.

    What is known of the units is made one array at a time, put into the order of the rows and
    dropped, since any of them is as large as an array of the plan.
    """
    most = context // tokens_per_image
    counts = count_images(num_images)
    num_units = int((counts * -(-np.arange(len(counts)) // most)).sum())
    remedy = "use a larger ", Field("context"), f" than {context}"
    _check_count(num_units, "parts of sentences", *remedy)

    def units(name: str, dtype: type) -> np.ndarray:
        values, stop = np.empty(num_units, dtype), 0
        for part in _split(num_images, most):
            start, stop = stop, stop + len(part.images)
            values[start:stop] = getattr(part, name)
        return values

    images = units("images", np.uint16)
    order, ends = _pack(images, tokens_per_image, context, shuffle)
    images = take(images, order)
    firsts = take(units("firsts", np.uint16), order)
    take(units("sentences", np.uint32), order, out=order)
    return order, ends, firsts, images


def _pack(
    num_images: np.ndarray, tokens_per_image: int, context: int, shuffle: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Best-fit-decreasing over lengths instead of units.

    Units have few different lengths, so the rows repeat few patterns ("two of 8 images and one of
    4"). The best pattern for the lengths that are left is used as often as they last; the work
    grows with the number of patterns, not of units.

    Returns:
        uint32 [U], the units in the order of the rows, and int64 [R], where each row ends in it.
    """
    counts = count_images(num_images)
    patterns = _patterns(counts, tokens_per_image, context)
    by_length = _sorted_by(num_images, counts)
    begins = np.cumsum(counts) - counts
    used = np.zeros_like(counts)
    order = np.empty(len(num_images), np.uint32)
    ends = np.empty(sum(repeats for repeats, _ in patterns), np.int64)
    unit = row = 0
    for repeats, pattern in patterns:
        width = sum(times for _, times in pattern)
        rows = order[unit : unit + repeats * width].reshape(repeats, width)
        column = 0
        for images, times in pattern:
            # The units of this length that come next, `times` of them in each row.
            each = max(1, _PART // times)
            for start in range(0, repeats, each):
                stop = min(start + each, repeats)
                places = np.arange(start * times, stop * times) + used[images]
                if shuffle:
                    places = permute(places, int(counts[images]), 0, -1 - images)
                units = by_length[begins[images] + places]
                rows[start:stop, column : column + times] = units.reshape(-1, times)
            used[images] += repeats * times
            column += times
        ends[row : row + repeats] = width
        unit += repeats * width
        row += repeats
    return order, np.cumsum(ends, out=ends)


def count_images(num_images: np.ndarray) -> np.ndarray:
    """How many units have 0, 1, ... images: int64, from their numbers of images, uint16 [U]."""
    counts = np.zeros(int(num_images.max()) + 1, np.int64)
    for start in range(0, len(num_images), _SORTED):  # bincount makes int64 of what it gets
        counts += np.bincount(num_images[start : start + _SORTED], minlength=len(counts))
    return counts


def _sorted_by(num_images: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The units by length, those of a length in their own order: uint32 [U]."""
    by_length = np.empty(len(num_images), np.uint32)
    ends = np.cumsum(counts) - counts
    for start in range(0, len(num_images), _SORTED):
        part = np.asarray(num_images[start : start + _SORTED])
        order = np.argsort(part, kind="stable")
        here = np.bincount(part, minlength=len(counts))
        # A stretch of equal lengths goes behind those of the parts before.
        by_length[ranges(ends, here)] = order + start
        ends += here
    return by_length


def _patterns(
    counts: np.ndarray, tokens_per_image: int, context: int
) -> list[tuple[int, list[tuple[int, int]]]]:
    """(rows, (images, times) pairs of such a row), until no unit is left."""
    lengths = sentence_lengths(np.arange(len(counts)), tokens_per_image, context, "sentence")
    left, patterns = counts.copy(), []
    while left.any():
        pattern = _best_pattern(lengths, left, context + 1, tokens_per_image)
        repeats = min(int(left[images]) // times for images, times in pattern)
        for images, times in pattern:
            left[images] -= repeats * times
        patterns.append((repeats, pattern))
    return patterns


def _best_pattern(
    lengths: np.ndarray, left: np.ndarray, room: int, tokens_per_image: int
) -> list[tuple[int, int]]:
    """(images, times) pairs for the fullest row that holds one of the longest sentences left."""
    longest = int(np.flatnonzero(left)[-1])
    pattern = {longest: 1}
    room -= int(lengths[longest])
    candidates = np.flatnonzero(left)[::-1]
    candidates = [int(i) for i in candidates if lengths[i] <= room][:_MOST_CANDIDATES]
    # Subset sums as bits of an integer: bit n says that some choice has n ids in all.
    items, sums = [], [1]
    for images in candidates:
        available = min(int(left[images]) - pattern.get(images, 0), room // int(lengths[images]))
        times = 1
        while available > 0:
            times = min(times, available)
            items.append((images, times))
            fits = (1 << (room + 1)) - 1
            sums.append((sums[-1] | sums[-1] << times * int(lengths[images])) & fits)
            available -= times
            times *= 2
    # Most images first, and among those the fewest ids: long sentences, since short ones fill gaps
    # that long ones leave later.
    enough = (sums[-1].bit_length() - 1) // tokens_per_image * tokens_per_image
    reached = sums[-1] >> enough
    total = enough + (reached & -reached).bit_length() - 1
    for (images, times), before in zip(reversed(items), reversed(sums[:-1])):
        if not before >> total & 1:
            pattern[images] = pattern.get(images, 0) + times
            total -= times * int(lengths[images])
    return list(pattern.items())


def take(values: np.ndarray, places: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """values[places] in parts, for which alone numpy then needs int64 places; `out` may be them."""
    taken = np.empty(len(places), values.dtype) if out is None else out
    for start in range(0, len(places), _PART):
        part = slice(start, start + _PART)
        taken[part] = values[places[part]]
    return taken
