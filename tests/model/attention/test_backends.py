"""Every attention backend against the reference, over several blocks and a ragged last one.

Shapes: B batch, L length, H query heads, G key/value heads, K head dim.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.configs import ConfigError
from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.model.attention import backends, blockwise
from lvm_jax.model.attention.needs import Sizes

B, L, H, K = 2, 2 * blockwise.BLOCK + 37, 4, 8


def random_inputs(num_kv_heads):
    keys = jax.random.split(jax.random.key(0), 4)
    heads = (H, num_kv_heads, num_kv_heads, H)
    # Twice the unit scale: scores with standard deviation 4, far from uniform attention.
    return [2 * jax.random.normal(key, (B, L, n, K)) for key, n in zip(keys, heads)]


def segments_of(kind):
    """Sentences whose seams lie inside blocks, on a block's edge, and padding at the end."""
    if kind == "none":
        return None
    rows = [(50, blockwise.BLOCK - 50, 100, 0), (1, 150, 60, L - 231)]
    segments = [np.repeat([1, 2, 3, 4], lengths) for lengths in rows]
    return jnp.asarray(np.stack([np.pad(s, (0, L - len(s))) for s in segments]), jnp.int32)


def sizes(length, **others):
    return Sizes(**{"length": length, "num_heads": H, "kv_heads": H, "head_dim": K} | others)


@functools.partial(jax.jit, static_argnums=0)
def run(backend, q, k, v, do, segments):
    attend = lambda q, k, v: backends.attend(q, k, v, segments, backends.Choice(backend))
    o, pull = jax.vjp(attend, q, k, v)
    return (o, *pull(do))


@pytest.mark.parametrize("segments", ["none", "packed"])
@pytest.mark.parametrize("num_kv_heads", [H, 1])
@pytest.mark.parametrize("backend", ["blockwise", "per_head"])
def test_backends_agree(backend, num_kv_heads, segments):
    inputs = random_inputs(num_kv_heads)
    actual = run(backend, *inputs, segments_of(segments))
    expected = run("xla", *inputs, segments_of(segments))
    for name, one, other in zip(("o", "dq", "dk", "dv"), actual, expected):
        # Sums over some hundred keys in float32, in another order.
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, atol=5e-6 * scale, err_msg=name)


@pytest.mark.parametrize("backend", ["xla", "blockwise", "per_head"])
def test_nothing_flows_from_later_positions_or_other_segments(backend):
    """The gradient of one position's output is exactly zero outside what it may see."""
    q, k, v, do = random_inputs(2)
    segments = segments_of("packed")
    for row, position in [(0, blockwise.BLOCK - 1), (0, blockwise.BLOCK), (1, 2 * 128 + 5)]:
        only = jnp.zeros_like(do).at[row, position].set(do[row, position])
        _, _, dk, dv = run(backend, q, k, v, only, segments)
        sees = np.zeros((B, L), bool)
        sees[row, : position + 1] = segments[row, : position + 1] == segments[row, position]
        for grad in (dk, dv):
            reached = np.abs(grad).max((2, 3)) > 0
            np.testing.assert_array_equal(reached[~sees], False)
        np.testing.assert_array_equal(np.abs(dv).max((2, 3)) > 0, sees)


def test_bfloat16_rounds_but_does_not_drift():
    inputs = random_inputs(2)
    expected = run("xla", *inputs, None)
    half = [x.astype(jnp.bfloat16) for x in inputs]
    for backend in ("xla", "blockwise", "per_head"):
        actual = run(backend, *half, None)
        for one, other in zip(actual, expected):
            assert one.dtype == jnp.bfloat16
            # Inputs, softmax weights and result are rounded to 8 bits each.
            error = np.abs(one.astype(jnp.float32) - other).max()
            assert error < 0.05 * np.abs(other).max(), backend


def test_auto_depends_on_length_and_mesh():
    choose = lambda length, mesh: backends.choose("auto", sizes(length), mesh).name
    assert choose(2 * blockwise.BLOCK, None) == "xla"
    assert choose(1024, None) == "per_head"  # tests run on CPU
    assert choose(1024, make_mesh(MeshConfig())) == "blockwise"
    assert choose(1024, make_mesh(MeshConfig(), jax.devices()[:1])) == "per_head"
    assert backends.choose("xla", sizes(1024), None).name == "xla"


def test_auto_on_shared_rows_is_what_takes_them():
    mesh = make_mesh(MeshConfig(fsdp=2, context=4))
    choice = backends.choose("auto", sizes(64), mesh)
    assert choice.name == "blockwise"
    assert "splash: needs TPU devices, not cpu" in str(choice)
    assert backends.choose("splash", sizes(2048), mesh).interpret
    with pytest.raises(ConfigError, match=r"^attention=splash needs rows of a multiple of 1024 "):
        backends.choose("splash", sizes(1280), mesh)
