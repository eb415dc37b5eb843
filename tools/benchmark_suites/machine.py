"""What this machine does at best: bytes read from memory, and matrix products, per second."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Beyond any cache.
READ_BYTES = 256 * 2**20
PRODUCT_SIZE = 2048


@dataclasses.dataclass(frozen=True)
class Rates:
    """Measured on the first device, in the run that they are compared with.

    Attributes:
        bandwidth: bytes/s, the faster of two ways to read a large array once.
        flops: FLOP/s of a product of square matrices in the compute type.
    """

    bandwidth: float
    flops: float

    def bound(self, num_bytes: float, num_flops: float) -> float:
        """Seconds for reading so much and, before or after, multiplying so much."""
        return num_bytes / self.bandwidth + num_flops / self.flops


def measure(dtype: str, repeats: int = 15) -> Rates:
    """The rates of products of this type; the fastest of some repeats, others may use it too."""
    columns = 2**12
    array = jnp.ones((READ_BYTES // columns // 4, columns), jnp.float32)
    blocks = array.reshape(-1, 512, 64)
    rows = jnp.ones((len(blocks), 4, 512), jnp.float32)
    readers: list[tuple[Callable, tuple[Any, ...]]] = [
        (lambda x: jnp.sum(x, axis=1), (array,)),
        (lambda a, b: jnp.einsum("NRI,NIC->NRC", a, b), (rows, blocks)),
    ]
    seconds = min(_fastest(read, given, repeats) for read, given in readers)
    matrix = jnp.ones((PRODUCT_SIZE, PRODUCT_SIZE), dtype)
    products = _fastest(jnp.matmul, (matrix, matrix), repeats)
    return Rates(bandwidth=READ_BYTES / seconds, flops=2 * PRODUCT_SIZE**3 / products)


def _fastest(function: Callable, given: tuple[Any, ...], repeats: int) -> float:
    run = jax.jit(function)
    jax.block_until_ready(run(*given))
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(run(*given))
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
