"""Random draws that never change: own integer hashing instead of a library's generator.

What a sentence shows and the order of rows must be the same for ever, on every machine and with
every library version. NumPy keeps the streams of its bit generators but not of its distributions,
so both are defined here; golden tests guard them.

Legend: B rows of the global batch, R rows of a plan.
"""

import functools
import hashlib

import numpy as np

from lvm_jax import file_names

HELD_OUT_SEED = 0
"""Of what is held out, whatever the seed of a training: so their losses can be compared."""

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_FACTOR_1 = 0xBF58476D1CE4E5B9
_FACTOR_2 = 0x94D049BB133111EB


def mix(values: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser: a bijection of uint64 whose every output bit looks random."""
    x = np.asarray(values, np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_FACTOR_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_FACTOR_2)
    return x ^ (x >> np.uint64(31))


def hash_key(*parts: int | str) -> int:
    """64 bits from integers and strings; the same for ever."""
    texts = [f"s{len(p)}:{p}" if isinstance(p, str) else f"i:{int(p)}" for p in parts]
    digest = hashlib.sha256(file_names.to_bytes("\0".join(texts))).digest()
    return int.from_bytes(digest[:8], "little")


def bit_stream(size: int, *key: int | str) -> np.ndarray:
    """Random bits that depend on the key alone: uint64 [size]."""
    counters = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(_STEP)
    return mix(counters + np.uint64(hash_key(*key)))


def shuffled(size: int, *key: int | str) -> np.ndarray:
    """A permutation of range(size) that depends on the key alone: int64 [size]."""
    return np.argsort(bit_stream(size, *key), kind="stable")


class Draws:
    """A sequence of random numbers that depends on its key alone.

    >>> draws = Draws(seed, epoch, index, "faces")
    """

    def __init__(self, *key: int | str):
        self._state = hash_key(*key)

    def bits(self) -> int:
        """An integer in [0, 2**64)."""
        self._state = x = (self._state + _STEP) & _MASK
        x = ((x ^ (x >> 30)) * _FACTOR_1) & _MASK
        x = ((x ^ (x >> 27)) * _FACTOR_2) & _MASK
        return x ^ (x >> 31)

    def integer(self, size: int) -> int:
        """An integer in [0, size)."""
        return (self.bits() * size) >> 64

    def coin(self) -> bool:
        """Heads or tails."""
        return self.bits() >> 63 == 1


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
