"""What numbers of codes say: how many are in use, and how evenly."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np


def histogram(ids: jax.Array, num_codes: int) -> jax.Array:
    """How often each code occurs: float32 [K]."""
    return jnp.zeros(num_codes, jnp.float32).at[ids.reshape(-1)].add(1.0)


def usage(counts_K: jax.Array) -> jax.Array:
    """Share of codes that occur at all, in [0, 1]."""
    return jnp.mean(counts_K > 0)


def perplexity(counts_K: jax.Array) -> jax.Array:
    """exp(entropy) of the code distribution: K when all codes are equally frequent."""
    p_K = counts_K / jnp.maximum(jnp.sum(counts_K), 1.0)
    return jnp.exp(-jnp.sum(jnp.where(p_K > 0, p_K * jnp.log(jnp.maximum(p_K, 1e-30)), 0.0)))


def count_codes(arrays: Iterable[np.ndarray], num_codes: int) -> np.ndarray:
    """How often each code occurs in arrays of code ids; int64 [num_codes]."""
    counts = np.zeros(num_codes, np.int64)
    for ids in arrays:
        counts += np.bincount(np.ravel(ids).astype(np.int64), minlength=num_codes)
    return counts


def code_entropy(counts: np.ndarray) -> float:
    """Nats per id when codes are drawn as often as counted; exp of it is their perplexity."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-np.sum(shares * np.log(shares)))
