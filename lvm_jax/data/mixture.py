"""Which rows make the batch at a step: a pure function of (seed, step), the same for ever.

Nothing here uses a library's random numbers or keeps a state, so any process can compute the rows
of any step, and a run goes on with the very next row on any number of processes.

The rows of a run are numbered from 0; step s has the numbers s * B to (s + 1) * B. `Schedule` says
which source gives the row of a number and how many rows that source gave before; `rows_at` says
which row of the source's plan that is.

Legend: B rows of the global batch, R rows of a plan, M sources, W phases of constant weights.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np

from lvm_jax.sentences.draws import hash_key, mix

_ROUNDS = 6
_BLOCK = 4096


def permute(index: np.ndarray | int, size: int, seed: int, epoch: int) -> np.ndarray:
    """Where a shuffled order of range(size) has its items, without ever holding the order.

    A Feistel network permutes the next power of two; values beyond `size` walk on through the
    network until they fall inside, which keeps it a permutation.

    Args:
        index: integers in [0, size), any shape.
        size: number of items.
        seed: chooses the order.
        epoch: every epoch has its own order.

    Returns:
        int64 of the shape of `index`, each value in [0, size), distinct for distinct indices.
    """
    size = int(size)
    assert size > 0
    bits = max(2, (size - 1).bit_length())
    keys = _round_keys(int(seed), int(epoch), size)
    values = _feistel(np.atleast_1d(np.asarray(index)).astype(np.uint64), bits, keys)
    outside = np.flatnonzero(values.ravel() >= size)
    flat = values.reshape(-1)
    while outside.size:
        flat[outside] = _feistel(flat[outside], bits, keys)
        outside = outside[flat[outside] >= size]
    return flat.reshape(np.shape(index)).astype(np.int64)


@functools.lru_cache(maxsize=1024)
def _round_keys(seed: int, epoch: int, size: int) -> tuple[np.uint64, ...]:
    return tuple(np.uint64(hash_key("rows", seed, epoch, size, i)) for i in range(_ROUNDS))


def _feistel(values: np.ndarray, bits: int, keys: tuple[np.uint64, ...]) -> np.ndarray:
    # Left and right may differ by a bit; they change places, and widths, an even number of times.
    widths = bits - bits // 2, bits // 2
    left, right = values >> np.uint64(widths[1]), values & np.uint64((1 << widths[1]) - 1)
    for number, key in enumerate(keys):
        mask = np.uint64((1 << widths[number % 2]) - 1)
        left, right = right, left ^ (mix(right ^ key) & mask)
    return (left << np.uint64(widths[1])) | right


@functools.lru_cache(maxsize=256)  # two for each of a hundred sources, 32 KiB each
def _block(number: int, size: int, seed: int, epoch: int) -> np.ndarray:
    """A stretch of the shuffled order; neighbouring steps share it."""
    start = number * _BLOCK
    return permute(np.arange(start, min(start + _BLOCK, size)), size, seed, epoch)


def rows_at(numbers: np.ndarray, num_rows: int, seed: int, shuffle: bool) -> np.ndarray:
    """The rows of a plan that a source gives at some places of its own endless sequence.

    Epochs follow each other without a gap: a batch may hold the end of one and the start of the
    next, so no row is ever left out.

    Args:
        numbers: int64 [n], rows that the source gave before.
        num_rows: R.
        seed: chooses the orders.
        shuffle: a new order in every epoch; otherwise the order of the plan.

    Returns:
        int64 [n], values in [0, R).
    """
    epochs, places = np.divmod(numbers, num_rows)
    if not shuffle:
        return places
    rows = np.empty_like(places)
    blocks = places // _BLOCK
    for epoch, number in sorted(set(zip(epochs.tolist(), blocks.tolist()))):
        chosen = (epochs == epoch) & (blocks == number)
        block = _block(number, num_rows, seed, epoch)
        rows[chosen] = block[places[chosen] - number * _BLOCK]
    return rows


def rows_of_step(
    step: int, global_batch: int, num_rows: int, seed: int, shuffle: bool
) -> np.ndarray:
    """The rows of a step's global batch when there is one source: int64 [B], see `rows_at`."""
    numbers_B = np.arange(step * global_batch, (step + 1) * global_batch, dtype=np.int64)
    return rows_at(numbers_B, num_rows, seed, shuffle)


# A cycle of rows in which every source has its share exactly. Its order is a walk in steps of the
# golden ratio, so that every stretch of it, and every n-th row of it, has nearly the same shares.
_CYCLE = 1 << 20
_GOLDEN = 648_055  # odd, so that the walk meets every place of the cycle once


class Schedule:
    """Deals the rows of a run out to the sources of a mixture by weight.

    Every question is answered from the number of the row alone, in constant time.

    Args:
        weights: for each source (first step, weight) pairs, the first of them for step 0; the
            weights of all sources at a step must sum to more than 0.
        global_batch: B.
    """

    def __init__(self, weights: Sequence[Sequence[tuple[int, float]]], global_batch: int):
        steps = sorted({step for pairs in weights for step, _ in pairs})
        at_step = lambda pairs, step: [weight for first, weight in pairs if first <= step][-1]
        self._shares = [cycle_shares([at_step(pairs, s) for pairs in weights]) for s in steps]
        self._borders_W = np.array(steps, np.int64) * global_batch
        before = [np.zeros(len(weights), np.int64)]
        for shares, length in zip(self._shares, np.diff(self._borders_W).tolist()):
            before.append(before[-1] + _dealt(shares, length))
        self._before_WM = np.array(before)

    @property
    def num_phases(self) -> int:
        """W."""
        return len(self._shares)

    def locate(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which source gives each row, and how many rows it gave before.

        Args:
            numbers: int64 [n], rows of the run.

        Returns:
            sources, places: int64 [n] each.
        """
        phases = np.searchsorted(self._borders_W, numbers, side="right") - 1
        sources, places = np.empty_like(numbers), np.empty_like(numbers)
        for phase in np.unique(phases).tolist():
            chosen, shares = phases == phase, self._shares[phase]
            source_of, rank_of = _cycle(shares)
            cycles, inside = np.divmod(numbers[chosen] - self._borders_W[phase], _CYCLE)
            found = source_of[inside].astype(np.int64)
            sources[chosen] = found
            places[chosen] = (
                self._before_WM[phase, found] + cycles * np.array(shares)[found] + rank_of[inside]
            )
        return sources, places

    def counts_before(self, number: int) -> np.ndarray:
        """How many of the rows before `number` each source gives: int64 [M]."""
        phase = int(np.searchsorted(self._borders_W, number, side="right")) - 1
        length = number - int(self._borders_W[phase])
        return self._before_WM[phase] + _dealt(self._shares[phase], length)


def cycle_shares(weights: Sequence[float]) -> tuple[int, ...]:
    """Weights as whole numbers that sum to a cycle; what is above 0 stays so."""
    exact = np.array(weights, np.float64) / math.fsum(weights) * _CYCLE
    shares = np.maximum(np.floor(exact), exact > 0).astype(np.int64)
    # The largest remainders get what is missing; the largest share pays for tiny ones.
    missing = _CYCLE - int(shares.sum())
    if missing > 0:
        shares[np.argsort(shares - exact, kind="stable")[:missing]] += 1
    else:
        shares[np.argmax(shares)] += missing
    return tuple(shares.tolist())


@functools.lru_cache(maxsize=8)
def _cycle(shares: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """For each row of a cycle its source, and the rows of that source before: uint16, uint32."""
    walk = np.arange(_CYCLE, dtype=np.int64) * _GOLDEN % _CYCLE
    sources = np.searchsorted(np.cumsum(shares), walk, side="right").astype(np.uint16)
    order = np.argsort(sources, kind="stable")
    starts = np.cumsum(shares) - np.array(shares)
    ranks = np.empty(_CYCLE, np.uint32)
    ranks[order] = np.arange(_CYCLE) - starts[sources[order]]
    return sources, ranks


def _dealt(shares: tuple[int, ...], length: int) -> np.ndarray:
    """Rows of each source among the first `length` of a phase: int64 [M]."""
    cycles, inside = divmod(length, _CYCLE)
    rest = np.bincount(_cycle(shares)[0][:inside], minlength=len(shares))
    return cycles * np.array(shares, np.int64) + rest
