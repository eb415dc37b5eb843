"""How many codes are in use and how evenly, from jax arrays and from numpy arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.measures import codes

IDS = np.array([[0, 0, 1, 1], [2, 2, 3, 3]])


@pytest.mark.parametrize("library", [np, jnp])
def test_usage_and_perplexity(library):
    counts = codes.histogram(library.asarray(IDS), 8)
    np.testing.assert_array_equal(counts, [2, 2, 2, 2, 0, 0, 0, 0])
    assert codes.usage(counts) == 0.5
    np.testing.assert_allclose(codes.entropy(counts), np.log(4.0), rtol=1e-6)
    np.testing.assert_allclose(codes.perplexity(counts), 4.0, rtol=1e-6)
    np.testing.assert_allclose(codes.perplexity(codes.histogram(library.asarray(IDS * 0), 8)), 1.0)


def test_no_codes_at_all_are_one_sure_choice():
    assert codes.usage(np.zeros(4)) == 0.0 and codes.perplexity(np.zeros(4)) == 1.0


def test_programs_count_in_float32_and_corpora_in_integers():
    inside = jax.jit(lambda ids: codes.histogram(ids, 8))(IDS)
    assert inside.dtype == np.float32 and codes.histogram(IDS, 8).dtype == np.int64
    # More than float32 can count.
    assert codes.usage(np.array([2**40, 1, 0, 0])) == 0.5
