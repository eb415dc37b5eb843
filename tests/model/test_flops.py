"""Analytic FLOPs against what the compiler counts, and against round numbers from the paper."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from lvm_jax import devices
from lvm_jax.model import flops, transformer
from lvm_jax.model.transformer_config import PRESETS

# One sentence of L ids through the reference attention, which computes the masked half too.
SIZES = dataclasses.replace(PRESETS["debug"], hidden_dim=128, mlp_dim=384, attention="xla")


def compiled_flops(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("length", [32, 128])
def test_forward_matches_the_compiler(length):
    params = transformer.abstract_params(SIZES)
    ids = jax.ShapeDtypeStruct((1, length), jnp.int32)
    # The compiler counts a scan's body once.
    config = dataclasses.replace(SIZES, scan=False)
    counted = compiled_flops(lambda p, i: transformer.apply(config, p, i), params, ids)
    padding = 2 * length * SIZES.hidden_dim
    padding *= SIZES.vocabulary.padded_size - SIZES.vocabulary.size
    analytic = length * flops.forward_flops_per_token(SIZES, keys=length) + padding
    # The compiler adds softmax, norms and rotations: a few percent at this width.
    assert analytic < counted < 1.12 * analytic


def test_training_is_three_forwards_at_half_the_keys():
    config = PRESETS["7b"]
    forward = flops.forward_flops_per_token(config, (4096 + 1) / 2)
    assert flops.train_flops_per_token(config, 4096) == 3 * forward
    # 6 per parameter, and attention on top: the usual estimate of a 7B LLaMA.
    assert 6 * 6.4e9 < flops.train_flops_per_token(config, 4096) < 6 * 7.2e9


def test_grouped_heads_cost_fewer_bytes_not_fewer_attention_flops():
    whole = dataclasses.replace(PRESETS["7b"], num_kv_heads=0)
    grouped = dataclasses.replace(PRESETS["7b"], num_kv_heads=8)
    growth = [
        flops.forward_flops_per_token(c, 4096) - flops.forward_flops_per_token(c, 1)
        for c in (whole, grouped)
    ]
    assert growth[0] == growth[1]
    reads = [
        flops.decode_bytes(c, 4095, 2, 1) - flops.decode_bytes(c, 0, 2, 1) for c in (whole, grouped)
    ]
    assert reads[0] == 4 * reads[1]


def test_batching_shares_the_weights_but_not_the_cache():
    config = PRESETS["7b"]
    alone, together = (flops.decode_bytes(config, 512, 2, b) / b for b in (1, 1000000))
    cache = 2 * 2 * 32 * 4096 * 513
    assert together == pytest.approx(cache, rel=1e-3)
    assert alone - together == pytest.approx(2 * 6.48e9, rel=0.02)


def test_utilization_is_unknown_on_unknown_devices():
    assert devices.utilization(1e12, "cpu", 1) is None
    assert devices.utilization(275e12, "TPU v4", 2) == 0.5
