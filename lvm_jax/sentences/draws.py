"""Random draws that never change: own integer hashing instead of a library's generator.

What a sentence shows and the order of rows must be the same for ever, on every machine and with
every library version. NumPy keeps the streams of its bit generators but not of its distributions,
so both are defined here; golden tests guard them.
"""

import hashlib

import numpy as np

from lvm_jax import file_names

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
