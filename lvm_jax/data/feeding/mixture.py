"""Which rows make the batch at a step: a pure function of (seed, step), the same for ever.

Nothing here uses a library's random numbers or keeps a state, so any process can compute the rows
of any step, and a run goes on with the very next row on any number of processes.

The rows of a run are numbered from 0; step s has the numbers s * B to (s + 1) * B. `Schedule` says
which source gives the row of a number and how many rows that source gave before;
`draws.rows_at` says which row of the source's plan that is.

Legend: B rows of the global batch, M sources, W phases of constant weights.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np

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
            giving = source_of[inside].astype(np.int64)
            sources[chosen] = giving
            places[chosen] = (
                self._before_WM[phase, giving] + cycles * np.array(shares)[giving] + rank_of[inside]
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
