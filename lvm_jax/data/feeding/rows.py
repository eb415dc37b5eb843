"""What training rows hold: a plan of all rows, and the pieces of some of them.

A row has context + 1 ids: inputs are its first `context` ids, targets its last. A sentence is BOS,
images, EOS; one that fills a row exactly drops EOS (16 images of 256 ids at context 4096).
`packing` says how plans are made.

Legend: R rows, S sentences of the directory, U units (sentences or their parts) that are packed, P
pieces (a unit or a part of one) of some rows.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lvm_jax.data.feeding.data_config import Packing


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
        if self.firsts is not None and self.images is not None:
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
