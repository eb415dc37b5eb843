"""One query per row against what its prompt and itself left, beside attention over whole rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.model.attention import backends, cached

N, G, K, LENGTH, OWN = 2, 2, 8, 20, 5


@pytest.mark.parametrize(("candidates", "heads"), [(1, 2), (3, 4)])
def test_one_query_equals_the_last_of_a_whole_row(candidates, heads):
    """Prompts of 20 and 13 ids, padded, and five more of each candidate; room for three more."""
    rows = N * candidates
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (
        jax.random.normal(key, (rows, LENGTH + OWN, n, K)) for key, n in zip(keys, (heads, G, G))
    )
    reference = jax.jit(lambda q, k, v: backends.attend(q, k, v, None, backends.Choice("xla")))
    lengths = jnp.array([LENGTH, 13])
    # Candidates see the prompt of the first of them.
    first = jnp.repeat(jnp.arange(N) * candidates, candidates)
    k, v = (x.at[:, :LENGTH].set(x[first, :LENGTH]) for x in (k, v))
    as_kept = lambda k, v: (jnp.moveaxis(k, 1, 3), jnp.moveaxis(v, 1, 2))
    prompt = as_kept(*(x[::candidates, :LENGTH] for x in (k, v)))
    # What is not filled yet may hold anything.
    room = ((0, 0), (0, 3), (0, 0), (0, 0))
    own = as_kept(*(jnp.pad(x[:, LENGTH:], room, constant_values=9.0) for x in (k, v)))
    newest = q[:, -1].reshape(rows, G, heads // G, K)
    actual = jax.jit(cached.attend)(newest, prompt, lengths, own, jnp.int32(OWN))
    actual = actual.reshape(rows, heads, K)
    for row in range(rows):
        seen = np.r_[: int(lengths[row // candidates]), LENGTH : LENGTH + OWN]
        whole = [np.asarray(x)[row : row + 1, seen] for x in (q, k, v)]
        expected = reference(*whole)[0, -1]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual[row], expected, atol=2e-6 * scale)
