"""What numbers of codes say: how many are in use, and how evenly.

Each function takes jax arrays, inside a program too, or numpy arrays: float32 from the former,
int64 and float64 from the latter, which count whole corpora.

Letters: K codes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Counts = jax.Array | np.ndarray


def histogram(ids: jax.Array | np.ndarray, num_codes: int) -> Counts:
    """How often each code occurs: [K].

    Args:
        ids: integers of any shape in [0, num_codes).
        num_codes: K.
    """
    if isinstance(ids, jax.Array):
        return jnp.zeros(num_codes, jnp.float32).at[ids.reshape(-1)].add(1.0)
    return np.bincount(np.ravel(ids).astype(np.int64), minlength=num_codes)


def usage(counts_K: Counts) -> Any:
    """Share of codes that occur at all, in [0, 1]."""
    return (counts_K > 0).mean()


def entropy(counts_K: Counts) -> Any:
    """Nats per id when codes are drawn as often as counted."""
    library = jnp if isinstance(counts_K, jax.Array) else np
    p_K = counts_K / library.maximum(library.sum(counts_K), 1.0)
    logs_K = library.log(library.maximum(p_K, 1e-30))
    return -library.sum(library.where(p_K > 0, p_K * logs_K, 0.0))


def perplexity(counts_K: Counts) -> Any:
    """exp(entropy) of the code distribution: K when all codes are equally frequent."""
    library = jnp if isinstance(counts_K, jax.Array) else np
    return library.exp(entropy(counts_K))
