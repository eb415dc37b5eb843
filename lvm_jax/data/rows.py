"""Which sentences, or parts of them, share a training row; planned once per data set and context.

A row has context + 1 ids: inputs are its first `context` ids, targets its last. A sentence is BOS,
images, EOS; one that fills a row exactly drops EOS (16 images of 256 ids at context 4096).

"sentence" packing puts whole sentences together. "stream" packing is the paper's: all sentences
end to end, cut every `context` ids; neighbouring rows share one id, so that every id but the first
is a target exactly once.

Legend: R rows, S sentences, P pieces (a sentence or a part of one) of some rows.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
from absl import logging

from lvm_jax.data.config import Packing
from lvm_jax.data.mixture import permute
from lvm_jax.data.shards import Shards

VERSION = 1
_MOST_CANDIDATES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pieces:
    """What some rows hold, row after row.

    Attributes:
        counts: int64 [rows], pieces of each row.
        sentences: int64 [P].
        skips: int64 [P], ids of the sentence that lie before the piece.
        takes: int64 [P], ids of the piece.
    """

    counts: np.ndarray
    sentences: np.ndarray
    skips: np.ndarray
    takes: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowPlan:
    """The rows of a data set; its arrays may be memory-mapped.

    Attributes:
        packing: "sentence" or "stream".
        context: ids per row less one.
        order: uint32 [S], every sentence once, in the order in which rows use them.
        ends: int64. For "sentence" [R]: places in `order` where rows end. For "stream" [S]: ids up
            to the end of each sentence in that order.
    """

    packing: Packing
    context: int
    order: np.ndarray
    ends: np.ndarray

    @property
    def num_rows(self) -> int:
        """R."""
        if self.packing == "sentence":
            return len(self.ends)
        return max(1, -(-(int(self.ends[-1]) - 1) // self.context))

    def pieces(self, rows: np.ndarray, num_images: np.ndarray, tokens_per_image: int) -> Pieces:
        """What the given rows hold.

        Args:
            rows: int64, values in [0, R).
            num_images: uint16 [S], of the data set that was planned.
            tokens_per_image: ids per image.
        """
        if self.packing == "sentence":
            first = np.where(rows > 0, self.ends[rows - 1], 0)
            counts = self.ends[rows] - first
        else:
            starts = rows * self.context
            stops = np.minimum(starts + self.context + 1, int(self.ends[-1]))
            first = np.searchsorted(self.ends, starts, side="right")
            counts = np.searchsorted(self.ends, stops - 1, side="right") - first + 1
        places = _ranges(first, counts)
        sentences = self.order[places].astype(np.int64)
        lengths = sentence_lengths(
            num_images[sentences], tokens_per_image, self.context, self.packing
        )
        if self.packing == "sentence":
            skips, takes = np.zeros_like(lengths), lengths
        else:
            begins = self.ends[places] - lengths
            skips = np.maximum(np.repeat(starts, counts) - begins, 0)
            takes = np.minimum(np.repeat(stops, counts) - begins, lengths) - skips
        return Pieces(counts=counts, sentences=sentences, skips=skips, takes=takes)


def sentence_lengths(
    num_images: np.ndarray, tokens_per_image: int, context: int, packing: Packing
) -> np.ndarray:
    """Ids of sentences, special ones included: int64 of the shape of `num_images`."""
    codes = np.asarray(num_images, np.int64) * tokens_per_image
    if packing == "stream":
        return codes + 2
    return np.where(codes == context, codes + 1, codes + 2)


def plan_rows(
    num_images: np.ndarray,
    tokens_per_image: int,
    context: int,
    packing: Packing = "sentence",
    shuffle: bool = True,
) -> RowPlan:
    """Plans the rows of a data set; the same for ever for the same arguments.

    Args:
        num_images: uint16 [S].
        tokens_per_image: ids per image.
        context: ids per row less one.
        packing: see the top of the file.
        shuffle: mixes the sentences before they are packed, so that a row holds sentences of all
            sources; otherwise sentences keep the order of the shards as far as packing allows.

    Raises:
        ValueError: a sentence is longer than a row; names it and the context it needs.
    """
    size = len(num_images)
    if packing == "stream":
        order = _shuffled_range(size, 0) if shuffle else np.arange(size, dtype=np.uint32)
        ends = np.cumsum(
            sentence_lengths(num_images[order], tokens_per_image, context, packing), dtype=np.int64
        )
        return RowPlan(packing=packing, context=context, order=order, ends=ends)
    longest = int(np.argmax(num_images))
    if int(num_images[longest]) * tokens_per_image > context:
        needed = int(num_images[longest]) * tokens_per_image
        raise ValueError(
            f"config.data.context={context} is too small: sentence {longest} has "
            f"{num_images[longest]} images of {tokens_per_image} ids; use at least {needed}, or "
            "config.data.packing='stream', which cuts sentences"
        )
    order, ends = _pack(num_images, tokens_per_image, context, shuffle)
    return RowPlan(packing=packing, context=context, order=order, ends=ends)


def _pack(
    num_images: np.ndarray, tokens_per_image: int, context: int, shuffle: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Best-fit-decreasing over lengths instead of sentences.

    Sentences have few different lengths, so the rows repeat few patterns ("two of 8 images and one
    of 4"). The best pattern for the lengths that are left is used as often as they last; the work
    grows with the number of patterns, not of sentences.
    """
    by_length = np.argsort(num_images, kind="stable").astype(np.uint32)
    counts = np.bincount(num_images)
    stops = np.cumsum(counts)
    used = stops - counts
    if shuffle:
        for images in np.flatnonzero(counts):
            group = slice(used[images], stops[images])
            by_length[group] = by_length[group][_shuffled_range(counts[images], int(images))]
    lengths = sentence_lengths(np.arange(len(counts)), tokens_per_image, context, "sentence")
    left = counts.copy()
    order, ends = [], []
    while left.any():
        pattern = _best_pattern(lengths, left, context + 1, tokens_per_image)
        repeats = min(int(left[images]) // times for images, times in pattern)
        columns = []
        for images, times in pattern:
            start, taken = used[images], repeats * times
            columns.append(by_length[start : start + taken].reshape(repeats, times))
            used[images] += taken
            left[images] -= taken
        order.append(np.concatenate(columns, axis=1).ravel())
        ends.append(np.full(repeats, sum(times for _, times in pattern), np.int64))
    return np.concatenate(order), np.cumsum(np.concatenate(ends))


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


def load_plan(
    shards: Shards, context: int, packing: Packing, shuffle: bool, cache: str = ""
) -> RowPlan:
    """The plan of a data set, from the cache if it is there.

    Args:
        shards: the data set.
        context: ids per row less one.
        packing: see the top of the file.
        shuffle: see `plan_rows`.
        cache: directory for plans; "" keeps them beside the shards. One that cannot be written
            costs planning again at every start.
    """
    key = plan_key(shards, context, packing, shuffle)
    directory = pathlib.Path(cache or shards.directory / "rows") / f"{packing}-{context}-{key[:16]}"
    plan = _read_plan(directory, key, context, packing)
    if plan is not None:
        return plan
    plan = plan_rows(shards.num_images, shards.tokens_per_image, context, packing, shuffle)
    logging.info("planned %d rows of %d sentences: %s", plan.num_rows, len(shards), directory)
    try:
        _write_plan(directory, key, plan)
    except OSError as error:
        logging.warning("the row plan is not kept: cannot write %s: %s", directory, error.strerror)
        return plan
    return _read_plan(directory, key, context, packing) or plan


def plan_key(shards: Shards, context: int, packing: Packing, shuffle: bool) -> str:
    """Changes with everything that the rows depend on; 64 hex digits."""
    parts = (VERSION, shards.fingerprint, context, packing, shuffle)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read_plan(directory: pathlib.Path, key: str, context: int, packing: Packing) -> RowPlan | None:
    try:
        if json.loads((directory / "plan.json").read_text())["key"] != key:
            return None
        order, ends = (
            np.load(directory / name, mmap_mode="r").view(np.ndarray)
            for name in ("order.npy", "ends.npy")
        )
    except (OSError, ValueError, KeyError):
        return None
    return RowPlan(packing=packing, context=context, order=order, ends=ends)


def _write_plan(directory: pathlib.Path, key: str, plan: RowPlan) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may plan at once: each writes its own copy, and the first to finish wins.
    partial = pathlib.Path(tempfile.mkdtemp(prefix=directory.name + ".", dir=directory.parent))
    try:
        partial.chmod(0o755)
        np.save(partial / "order.npy", plan.order)
        np.save(partial / "ends.npy", plan.ends)
        (partial / "plan.json").write_text(json.dumps({"key": key, "num_rows": plan.num_rows}))
        if directory.exists() and _read_plan(directory, key, plan.context, plan.packing) is None:
            shutil.rmtree(directory)
        try:
            os.rename(partial, directory)
        except OSError:
            if not directory.exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ... `count` times, for every pair; concatenated."""
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(starts - before, counts)


def _shuffled_range(size: int, salt: int) -> np.ndarray:
    """A fixed permutation of range(size): uint32 [size]; made in parts to bound memory."""
    order = np.empty(size, np.uint32)
    step = 1 << 20
    for start in range(0, size, step):
        stop = min(start + step, size)
        order[start:stop] = permute(np.arange(start, stop), size, 0, -1 - salt)
    return order
