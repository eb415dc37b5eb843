"""Nearest-code search in bounded memory, read off the compiled program without running it."""

import jax
import jax.numpy as jnp

from lvm_jax.tokenizer import quantizer

NUM_CODES, DIM, TOKENS = 16_384, 8, 256


def scratch_bytes(batch):
    codes = jax.ShapeDtypeStruct((NUM_CODES, DIM), jnp.float32)
    latents = jax.ShapeDtypeStruct((batch * TOKENS, DIM), jnp.float32)
    compiled = jax.jit(quantizer.nearest).lower(codes, latents).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_scores_of_all_vectors_are_never_held_together():
    """64 images and 16,384 codes: all scores would take 1 GiB, four times those of 16 images."""
    small, large = scratch_bytes(16), scratch_bytes(64)
    everything = 64 * TOKENS * NUM_CODES * 4
    assert large < everything / 20
    assert large - small < 2 * (64 - 16) * TOKENS * DIM * 4
