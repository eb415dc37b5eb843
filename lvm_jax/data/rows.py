"""Which sentences, or parts of them, share a training row; planned once per data set and context.

A row has context + 1 ids: inputs are its first `context` ids, targets its last. A sentence is BOS,
images, EOS; one that fills a row exactly drops EOS (16 images of 256 ids at context 4096).

"sentence" packing puts whole sentences together. "stream" packing is the paper's: all sentences
end to end, cut every `context` ids; neighbouring rows share one id, so that every id but the first
is a target exactly once.

A sentence that is longer than a row may be split at image borders; each part is packed as a
sentence of its own, with BOS and EOS.

Legend: R rows, S sentences of the directory, U units (sentences or their parts) that are packed, P
pieces (a unit or a part of one) of some rows.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lvm_jax.data.config import LongSentences, Packing
from lvm_jax.data.mixture import permute

VERSION = 2
_MOST_CANDIDATES = 256
_MOST_NUMBERS = 1 << 32  # sentences and units are numbered in uint32
_PART = 1 << 16  # units handled together: small arrays stay in the processor's cache
_SORTED = 1 << 18  # units sorted together; there may be 65,536 lengths, so not much fewer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pieces:
    """What some rows hold, row after row.

    Attributes:
        counts: int64 [rows], pieces of each row.
        sentences: int64 [P], values in [0, S).
        totals: int64 [P], codes of the whole sentence.
        firsts: int64 [P], codes of the sentence that lie before the unit.
        codes: int64 [P], codes of the unit.
        skips: int64 [P], ids of the unit (BOS, codes, EOS) that lie before the piece.
        takes: int64 [P], ids of the piece.
    """

    counts: np.ndarray
    sentences: np.ndarray
    totals: np.ndarray
    firsts: np.ndarray
    codes: np.ndarray
    skips: np.ndarray
    takes: np.ndarray


def join_pieces(parts: Sequence[Pieces], places: np.ndarray) -> tuple[Pieces, np.ndarray]:
    """The rows of several sources as those of one batch.

    Args:
        parts: of each source, in any order of rows.
        places: int64 [rows], where in the batch each row goes, the rows of all parts end to end;
            a permutation.

    Returns:
        The pieces in the order of the batch, and where each was in all parts end to end: int64 [P].
    """
    counts = np.concatenate([part.counts for part in parts])
    order = np.argsort(places)
    moved = ranges((np.cumsum(counts) - counts)[order], counts[order])
    fields = [field.name for field in dataclasses.fields(Pieces) if field.name != "counts"]
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])[moved] for name in fields
    }
    return Pieces(counts=counts[order], **joined), moved


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowPlan:
    """The rows of a data set; its arrays may be memory-mapped.

    Attributes:
        packing: "sentence" or "stream".
        context: ids per row less one.
        order: uint32 [U], the sentence of every unit, in the order in which rows use them.
        ends: int64. For "sentence" [R]: places in `order` where rows end. For "stream" [U]: ids up
            to the end of each unit in that order.
        firsts, images: uint16 [U], the first image of each unit and its images; None where units
            are whole sentences.
    """

    packing: Packing
    context: int
    order: np.ndarray
    ends: np.ndarray
    firsts: np.ndarray | None = None
    images: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        """R; "stream" has at least one, even of less than `context` ids."""
        if self.packing == "sentence":
            return len(self.ends)
        return max(1, -(-(int(self.ends[-1]) - 1) // self.context))

    def pieces(self, rows: np.ndarray, num_images: np.ndarray, tokens_per_image: int) -> Pieces:
        """What the given rows hold.

        Args:
            rows: int64 [rows], values in [0, R), in any order.
            num_images: uint16 [S], of the data set that was planned.
            tokens_per_image: ids per image, of that data set too.

        Returns:
            The pieces of the first row given, of the second, and so on. Those of a "stream" row
            overlap its neighbours by one id.
        """
        if self.packing == "sentence":
            first = np.where(rows > 0, self.ends[rows - 1], 0)
            counts = self.ends[rows] - first
        else:
            starts = rows * self.context
            stops = np.minimum(starts + self.context + 1, int(self.ends[-1]))
            first = np.searchsorted(self.ends, starts, side="right")
            counts = np.searchsorted(self.ends, stops - 1, side="right") - first + 1
        places = ranges(first, counts)
        sentences = self.order[places].astype(np.int64)
        totals = num_images[sentences].astype(np.int64) * tokens_per_image
        firsts, codes = np.zeros_like(totals), totals
        if self.firsts is not None:
            firsts, codes = (
                array[places].astype(np.int64) * tokens_per_image
                for array in (self.firsts, self.images)
            )
        lengths = _lengths(codes, self.context, self.packing)
        if self.packing == "sentence":
            skips, takes = np.zeros_like(lengths), lengths
        else:
            begins = self.ends[places] - lengths
            skips = np.maximum(np.repeat(starts, counts) - begins, 0)
            takes = np.minimum(np.repeat(stops, counts) - begins, lengths) - skips
        return Pieces(
            counts=counts,
            sentences=sentences,
            totals=totals,
            firsts=firsts,
            codes=codes,
            skips=skips,
            takes=takes,
        )


def sentence_lengths(
    num_images: np.ndarray, tokens_per_image: int, context: int, packing: Packing
) -> np.ndarray:
    """How many ids sentences have, special ones included.

    Args:
        num_images: integers of any shape, images of each sentence.
        tokens_per_image: ids per image.
        context: ids per row less one.
        packing: "sentence" drops EOS where the images alone make `context` ids.

    Returns:
        int64 of the shape of `num_images`.
    """
    return _lengths(np.asarray(num_images, np.int64) * tokens_per_image, context, packing)


def _lengths(codes: np.ndarray, context: int, packing: Packing) -> np.ndarray:
    if packing == "stream":
        return codes + 2
    return np.where(codes == context, codes + 1, codes + 2)


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
        ValueError: a sentence is longer than a row (or, to be split, an image is); names it and
            the context it needs. Or there are more than 2**32 sentences or parts of them.
    """
    _check_count(len(num_images), "sentences", "build several and mix them (config.data.mixture)")
    if selected is not None:
        num_images = _take(num_images, selected)
    if packing == "stream":
        return _plan_stream(num_images, tokens_per_image, context, shuffle, selected)
    most = context // tokens_per_image
    longest = int(np.argmax(num_images))
    firsts = images = None
    if int(num_images[longest]) <= most:
        order, ends = _pack(num_images, tokens_per_image, context, shuffle)
    elif long_sentences == "refuse" or not most:
        number = longest if selected is None else int(selected[longest])
        rather = "config.data.long_sentences='split', which cuts at image borders"
        raise ValueError(
            f"config.data.context={context} is too small: sentence {number} has "
            f"{num_images[longest]} images of {tokens_per_image} ids; use at least "
            f"{int(num_images[longest]) * tokens_per_image}" + (f", or {rather}" if most else "")
        )
    else:
        order, ends, firsts, images = _pack_split(num_images, tokens_per_image, context, shuffle)
    if selected is not None:
        _take(selected, order, out=order)
    return RowPlan(
        packing=packing, context=context, order=order, ends=ends, firsts=firsts, images=images
    )


def _check_count(count: int, things: str, remedy: str) -> None:
    """Refuses what would wrap in the uint32 numbers of `RowPlan.order` and `_pack`."""
    if count > _MOST_NUMBERS:
        raise ValueError(
            f"{count} {things} are more than the {_MOST_NUMBERS} that one row plan can number; "
            f"{remedy}"
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
    counts = _count(num_images)
    num_units = int((counts * -(-np.arange(len(counts)) // most)).sum())
    _check_count(
        num_units, "parts of sentences", f"use a larger config.data.context than {context}"
    )

    def units(name: str, dtype: type) -> np.ndarray:
        values, stop = np.empty(num_units, dtype), 0
        for part in _split(num_images, most):
            start, stop = stop, stop + len(part.images)
            values[start:stop] = getattr(part, name)
        return values

    images = units("images", np.uint16)
    order, ends = _pack(images, tokens_per_image, context, shuffle)
    images = _take(images, order)
    firsts = _take(units("firsts", np.uint16), order)
    _take(units("sentences", np.uint32), order, out=order)
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
    counts = _count(num_images)
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
                found = by_length[begins[images] + places]
                rows[start:stop, column : column + times] = found.reshape(-1, times)
            used[images] += repeats * times
            column += times
        ends[row : row + repeats] = width
        unit += repeats * width
        row += repeats
    return order, np.cumsum(ends, out=ends)


def _count(num_images: np.ndarray) -> np.ndarray:
    """How many units have 0, 1, ... images: int64."""
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


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Counts up from every start: start, start + 1, ... start + count - 1, one after another.

    Args:
        starts: int64 [n].
        counts: int64 [n], how many numbers each start gives, at least 0.

    Returns:
        int64 [sum of counts].
    """
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(starts - before, counts)


def _take(values: np.ndarray, places: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """values[places] in parts, for which alone numpy then needs int64 places; `out` may be them."""
    taken = np.empty(len(places), values.dtype) if out is None else out
    for start in range(0, len(places), _PART):
        part = slice(start, start + _PART)
        taken[part] = values[places[part]]
    return taken
