"""Which rows make the batch at a step: a pure function of (seed, step), the same for ever.

Nothing here uses a library's random numbers or keeps a state, so any process can compute the rows
of any step, and a run goes on with the very next row on any number of processes.

Legend: B rows of the global batch, R rows of the plan.
"""

import functools

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


@functools.lru_cache(maxsize=64)
def _block(number: int, size: int, seed: int, epoch: int) -> np.ndarray:
    """A stretch of the shuffled order; neighbouring steps share it."""
    start = number * _BLOCK
    return permute(np.arange(start, min(start + _BLOCK, size)), size, seed, epoch)


def rows_of_step(
    step: int, global_batch: int, num_rows: int, seed: int, shuffle: bool
) -> np.ndarray:
    """The rows of a step's global batch.

    Epochs follow each other without a gap: a batch may hold the end of one and the start of the
    next, so no row is ever left out.

    Args:
        step: 0 for the first batch.
        global_batch: B.
        num_rows: R.
        seed: chooses the orders.
        shuffle: a new order in every epoch; otherwise the order of the plan.

    Returns:
        int64 [B], values in [0, R).
    """
    numbers_B = np.arange(step * global_batch, (step + 1) * global_batch, dtype=np.int64)
    epochs_B, places_B = np.divmod(numbers_B, num_rows)
    if not shuffle:
        return places_B
    rows_B = np.empty_like(places_B)
    blocks_B = places_B // _BLOCK
    for epoch, number in sorted(set(zip(epochs_B.tolist(), blocks_B.tolist()))):
        chosen = (epochs_B == epoch) & (blocks_B == number)
        block = _block(number, num_rows, seed, epoch)
        rows_B[chosen] = block[places_B[chosen] - number * _BLOCK]
    return rows_B
