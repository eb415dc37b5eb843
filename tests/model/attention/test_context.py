"""Attention of rows that devices share against that of whole rows on one device.

Shapes: B batch, L length, H query heads, G key/value heads, K head dim.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.mesh import AXES, MeshConfig, make_mesh
from lvm_jax.model.attention import backends, context, context_order, splash

B, L, H, G, K = 4, 48, 4, 2, 8


def random_inputs(num_rows=B, length=L):
    keys = jax.random.split(jax.random.key(0), 4)
    # Twice the unit scale: scores with standard deviation 4, far from uniform attention.
    return [
        2 * jax.random.normal(key, (num_rows, length, n, K)) for key, n in zip(keys, (H, G, G, H))
    ]


def segments_of(kind):
    """Sentences whose seams lie within chunks and on their borders, and padding at the end."""
    if kind == "whole":
        return None
    rows = [(7, 5, 20, 9), (12, 12, 12, 12), (1, 46, 0, 0), (24, 23, 1, 0)]
    segments = [np.repeat([1, 2, 3, 4], lengths) for lengths in rows]
    return jnp.asarray(np.stack([np.pad(s, (0, L - len(s))) for s in segments]), jnp.int32)


def mesh_of(*sizes):
    return make_mesh(MeshConfig(**dict(zip(AXES, sizes))), jax.devices()[: np.prod(sizes)])


@functools.partial(jax.jit, static_argnums=(0, 6))
def run(mesh, q, k, v, do, segments, backend="blockwise"):
    """Output and gradients on a mesh, or of the reference, all in natural order."""

    def attend(q, k, v):
        if mesh is None:
            return backends.attend(q, k, v, segments, backends.Choice("xla"))
        balance = functools.partial(context_order.balance, mesh=mesh, rules=None)
        of_rows = None if segments is None else balance(segments)
        choice = backends.Choice(backend, interpret=True)
        o = backends.attend(balance(q), balance(k), balance(v), of_rows, choice, mesh)
        return context_order.restore(o, mesh, None)

    o, pull = jax.vjp(attend, q, k, v)
    return (o, *pull(do))


@pytest.fixture
def block_sizes(monkeypatch):
    """Sets constants that decide on blocks; nothing that was traced with others is used."""
    run.clear_cache()
    return monkeypatch.setattr


@pytest.fixture(scope="module", params=["whole", "packed"])
def case(request):
    """(inputs, segments, what the reference makes of them)."""
    inputs, segments = random_inputs(), segments_of(request.param)
    return inputs, segments, jax.device_get(run(None, *inputs, segments))


@pytest.mark.parametrize(
    "sizes, max_block",
    [((1, 1, 2, 1), 4), ((2, 1, 2, 2), 512), ((1, 2, 4, 1), 2), ((1, 1, 8, 1), 512)],
)
def test_shared_rows_attend_as_whole_ones(case, block_sizes, sizes, max_block):
    block_sizes(context, "MAX_BLOCK", max_block)
    inputs, segments, expected = case
    actual = run(mesh_of(*sizes), *inputs, segments)
    for name, one, other in zip(("o", "dq", "dk", "dv"), actual, expected):
        # Sums over some dozen keys in float32, in another order.
        np.testing.assert_allclose(one, other, atol=5e-6 * np.abs(other).max(), err_msg=name)


@pytest.mark.parametrize("fused_blocks", [8, 0])
def test_splash_takes_shared_rows(block_sizes, fused_blocks):
    """Interpreted; two heads in each of two parts, rows in two parts of two chunks of a block."""
    block_sizes(splash, "FUSED_BLOCKS", fused_blocks)
    inputs = random_inputs(1, 512)
    segments = jnp.asarray(np.repeat([[1, 2, 3, 0]], [100, 156, 250, 6], axis=1), jnp.int32)
    expected = run(None, *inputs, segments)
    actual = run(mesh_of(1, 1, 2, 2), *inputs, segments, "splash")
    for name, one, other in zip(("o", "dq", "dk", "dv"), actual, expected):
        np.testing.assert_allclose(one, other, atol=5e-6 * np.abs(other).max(), err_msg=name)


def test_bfloat16_rounds_but_does_not_drift(case):
    inputs, segments, expected = case
    half = [x.astype(jnp.bfloat16) for x in inputs]
    actual = run(mesh_of(1, 1, 4, 1), *half, segments)
    alone = run(None, *half, segments)
    for one, single, other in zip(actual, alone, expected):
        assert one.dtype == jnp.bfloat16
        error, of_single = (np.abs(x.astype(jnp.float32) - other).max() for x in (one, single))
        # Parts of the gradients of keys and values are rounded before they are added up.
        assert error < max(1.5 * of_single, 0.01 * np.abs(other).max())


def test_nothing_flows_from_later_positions_or_other_segments():
    q, k, v, do = random_inputs()
    segments = segments_of("packed")
    for row, position in [(0, 6), (0, 30), (1, 12), (3, 47)]:
        only = jnp.zeros_like(do).at[row, position].set(do[row, position])
        _, _, dk, dv = run(mesh_of(1, 1, 4, 1), q, k, v, only, segments)
        sees = np.zeros((B, L), bool)
        sees[row, : position + 1] = segments[row, : position + 1] == segments[row, position]
        np.testing.assert_array_equal((np.abs(dk).max((2, 3)) > 0)[~sees], False)
        np.testing.assert_array_equal(np.abs(dv).max((2, 3)) > 0, sees)


def equations(jaxpr, times=1):
    """(equation, how often one device runs it), inside everything."""
    for equation in jaxpr.eqns:
        yield equation, times
        inside = times * equation.params.get("length", 1)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner, inside)


def flops_of(product):
    contracted = product.params["dimension_numbers"][0][0]
    lengths = [product.invars[0].aval.shape[dim] for dim in contracted]
    return 2 * np.prod(product.outvars[0].aval.shape) * np.prod(lengths)


def test_a_device_computes_its_share_of_what_the_mask_leaves(block_sizes):
    """The program is one for all devices, so what it computes is what each of them does."""
    block_sizes(context, "MAX_BLOCK", 3)
    parts, size = 4, 3
    inputs = random_inputs()
    jaxpr = jax.make_jaxpr(lambda *x: run(mesh_of(1, 1, parts, 1), *x, None))(*inputs).jaxpr
    found = list(equations(jaxpr))
    products = sum(
        times * flops_of(equation)
        for equation, times in found
        if equation.primitive.name == "dot_general"
    )
    # Of M blocks of a row, M * (M + 1) / 2 pairs are seen; each takes two products forward and
    # five backward.
    num_blocks = L // size
    pairs = num_blocks * (num_blocks + 1) / 2 / parts
    assert products == 7 * 2 * B * H * K * size**2 * pairs
    # Nothing is as large as the scores of a device's queries, or even of one of its chunks.
    sizes = [
        np.prod(v.aval.shape)
        for equation, _ in found
        if equation.primitive.name == "dot_general"
        for v in equation.outvars
    ]
    assert max(sizes) < B * H * (L / (2 * parts)) ** 2


@pytest.mark.parametrize(
    "chunk, size", [(1, 1), (512, 512), (2048, 512), (768, 384), (1000, 500), (1021, 1021)]
)
def test_blocks_divide_a_chunk(chunk, size):
    assert context.block_size(chunk) == size
