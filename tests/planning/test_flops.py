"""FLOPs counted in jaxprs, against what can be worked out by hand."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from lvm_jax.model.attention import splash, triton
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.planning import flops, kernels
from tests.planning.hlo import make_texts

DEBUG = PRESETS["debug"]
MESH = (2, 4, 1)
ROWS = 16


def counted(config):
    """Of the real step on eight devices."""
    made = make_texts.training(config, jax.devices(), MESH)
    traced = made.step.trace(jax.eval_shape(made.init_state), made.abstract_batch)
    return flops.count(traced.jaxpr, config, ROWS, config.context)


def total(function, *shapes):
    jaxpr = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes))
    return flops.count(jaxpr, DEBUG, 1, 1)


@pytest.fixture(scope="module")
def plain():
    return counted(dataclasses.replace(DEBUG, attention="xla"))


def products(config, passes):
    """FLOPs of the layers' kernels over the batch, `passes` of them."""
    tokens = ROWS * config.context
    return 2.0 * tokens * config.num_layers * config.matrix_parameters_per_layer * passes


def test_the_step_is_three_passes_of_everything(plain):
    assert plain.matrices == products(DEBUG, 3)
    tokens, table = ROWS * DEBUG.context, DEBUG.vocabulary.padded_size * DEBUG.hidden_dim
    assert plain.head == 3 * 2.0 * tokens * table
    # All keys, the masked half included.
    scores = DEBUG.num_layers * DEBUG.num_heads * DEBUG.head_dim * DEBUG.context
    assert plain.attention == 3 * 2 * 2.0 * tokens * scores
    assert plain.recomputed == plain.other == plain.kernels == plain.unknown_loops == 0


def test_products_in_eight_bits_are_told_apart(plain):
    small = counted(dataclasses.replace(DEBUG, attention="xla", products="int8"))
    assert plain.eight_bit == 0 and small.eight_bit == small.matrices
    assert dataclasses.replace(small, eight_bit=0.0) == plain


def test_remat_runs_the_forward_pass_again_but_for_its_last_product(plain):
    again = counted(dataclasses.replace(DEBUG, attention="xla", remat="full"))
    # Nothing in the backward pass needs the result of `down`.
    down = 2.0 * ROWS * DEBUG.context * DEBUG.num_layers * DEBUG.hidden_dim * DEBUG.mlp_dim
    assert again.matrices == products(DEBUG, 4) - down
    assert again.attention == pytest.approx(plain.attention * 4 / 3)
    assert again.recomputed == pytest.approx(again.total - plain.total)
    assert again.model == plain.model


def test_micro_batches_and_pieces_of_rows_change_no_model_flops(plain):
    made = make_texts.training(
        dataclasses.replace(DEBUG, attention="xla"),
        jax.devices(),
        MESH,
        accumulation=2,
        loss_chunks=2,
    )
    traced = made.step.trace(jax.eval_shape(made.init_state), made.abstract_batch)
    pieces = flops.count(traced.jaxpr, DEBUG, ROWS, DEBUG.context)
    assert pieces.matrices == plain.matrices and pieces.attention == plain.attention
    # The head's forward product is made again.
    assert pieces.head == plain.head * 4 / 3
    assert pieces.recomputed == plain.head / 3


@pytest.mark.parametrize(
    "attention, remat, ratio", [("xla", "full", 1.60), ("blockwise", "none", 1.08)]
)
def test_a_presets_ratio_to_its_model_flops(attention, remat, ratio):
    """Known from a count by other means; 4,096 ids a row."""
    config = dataclasses.replace(PRESETS["300m"], attention=attention, remat=remat)
    assert counted(config).ratio == pytest.approx(ratio, abs=0.005)


def test_loops_multiply():
    body = lambda x, _: (x @ x, None)
    once = total(lambda x: x @ x, (8, 8)).total
    assert once == 2 * 8**3
    assert total(lambda x: jax.lax.scan(body, x, length=5)[0], (8, 8)).total == 5 * once
    known = lambda x: jax.lax.fori_loop(2, 6, lambda _, x: x @ x, x)
    assert total(known, (8, 8)).total == 4 * once


def test_a_loop_of_unknown_length_counts_once_and_is_reported():
    grow = lambda x: jax.lax.while_loop(lambda x: jnp.sum(x) < 9, lambda x: x @ x, x)
    result = total(grow, (8, 8))
    assert result.total == 2 * 8**3 and result.unknown_loops == 1


def test_a_conditional_counts_its_larger_branch():
    choose = lambda p, x: jax.lax.cond(p[0] > 0, lambda x: x @ x @ x, lambda x: x + 1, x)
    assert total(choose, (1,), (8, 8)).total == 2 * 2 * 8**3


def test_parts_of_devices_add_up():
    mesh = Mesh(jax.devices(), ("x",))
    part = jax.shard_map(lambda a, b: a @ b, mesh=mesh, in_specs=(P("x"), P()), out_specs=P("x"))
    assert total(part, (16, 4), (4, 8)).total == 2 * 16 * 4 * 8


def test_convolutions_count():
    convolve = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME")
    assert total(convolve, (1, 3, 8, 8), (5, 3, 3, 3)).total == 2 * (5 * 64) * (3 * 9)


def test_a_kernel_counts_as_the_blocks_it_runs():
    """Splash: one block for the whole row here, so that the masked half is run; 2 + 5 products."""
    config = dataclasses.replace(
        DEBUG, hidden_dim=96, num_kv_heads=4, context=128, attention="splash"
    )
    kernel = counted(config)
    assert kernel.kernels == 2 * config.num_layers
    one = 2.0 * ROWS * config.context**2 * config.hidden_dim * config.num_layers
    # Outside of the kernels, output times gradient summed over the head.
    deltas = one / config.context
    assert kernel.attention == 7 * one + deltas
    assert kernel.matrices == products(config, 3)


def test_a_gpus_kernels_count():
    """Pallas-Triton: 2 products forward, 7 backward."""
    config = dataclasses.replace(DEBUG, hidden_dim=96, context=256, attention="triton")
    one = 2.0 * ROWS * config.context * config.hidden_dim * config.num_layers
    blocks = triton.FORWARD_BLOCK, triton.BACKWARD_BLOCK
    forward, backward = ((config.context + block) / 2 for block in blocks)
    expected = (2 * forward + 7 * backward) * one
    assert counted(config).attention == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("name, products", [("fwd_wrapper", 2), ("bwd_wrapper", 5)])
def test_cudnns_kernels_count_though_nothing_of_them_is_visible(name, products):
    """A stand-in for its equation, which is traced only where the library is."""
    arrays = [jax.ShapeDtypeStruct((2, 256, heads, 64), jnp.bfloat16) for heads in (8, 4, 4)]
    equation = types.SimpleNamespace(
        primitive=types.SimpleNamespace(name=f"dot_product_attention_{name}"),
        invars=[types.SimpleNamespace(aval=aval) for aval in arrays],
        params={},
    )
    # Blocks of 128.
    assert kernels.flops(equation, 0) == products * 2.0 * (2 * 256 * 8 * 64) * (256 + 128) / 2


def test_blocks_that_the_mask_hides_do_not_count():
    longer = dataclasses.replace(
        DEBUG, hidden_dim=96, num_kv_heads=4, context=1024, attention="splash", remat="full"
    )
    kernel = counted(longer)
    one = 2.0 * ROWS * longer.context * longer.hidden_dim * longer.num_layers
    # A query meets its own block and those before it; the forward kernel runs twice.
    keys = (longer.context + splash.block_size(longer.context)) / 2
    assert kernel.attention == (2 + 2 + 5) * one * keys + one
    assert kernel.recomputed >= 2 * one * keys
