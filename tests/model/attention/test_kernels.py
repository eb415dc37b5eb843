"""Kernels of accelerators: interpreted against the reference, and lowered for their platforms.

Shapes: B batch, L length, H query heads, G key/value heads, K head dim.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.model import transformer
from lvm_jax.model.attention import backends, cudnn, splash, tokamax
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.partition import Rules

# Two blocks of 128 positions.
B, L, H = 2, 256, 4


def inputs(kv_heads, head_dim, dtype="float32"):
    keys = jax.random.split(jax.random.key(0), 4)
    heads = (H, kv_heads, kv_heads, H)
    draw = lambda key, n: 2 * jax.random.normal(key, (B, L, n, head_dim)) / head_dim**0.25
    return [draw(key, n).astype(dtype) for key, n in zip(keys, heads)]


def packed():
    """Seams inside blocks and on a block's edge, one id alone, and padding at the end."""
    rows = ([1, 2, 3, 0], [50, 78, 100, 28]), ([1, 2, 3, 4], [1, 150, 60, 45])
    return jnp.asarray(np.stack([np.repeat(*row) for row in rows]), jnp.int32)


@functools.partial(jax.jit, static_argnames=("name", "interpret", "mesh", "rules"))
def run(q, k, v, do, segments, name, interpret=True, mesh=None, rules=None):
    choice = backends.Choice(name, interpret=interpret)
    attend = lambda q, k, v: backends.attend(q, k, v, segments, choice, mesh, rules)
    o, pull = jax.vjp(attend, q, k, v)
    return (o, *pull(do))


def assert_like_the_reference(name, arrays, segments, tolerance, mesh=None, rules=None):
    actual = run(*arrays, segments, name, mesh=mesh, rules=rules)
    expected = run(*(x.astype("float32") for x in arrays), segments, "xla")
    for what, one, other in zip(("o", "dq", "dk", "dv"), actual, expected):
        assert one.dtype == arrays[0].dtype
        scale = np.abs(other).max()
        np.testing.assert_allclose(
            one.astype("float32"), other, atol=tolerance * scale, err_msg=what
        )


@pytest.mark.parametrize(
    ("kv_heads", "head_dim", "is_packed", "sizes"),
    [
        (4, 64, False, (1, 1)),
        (2, 100, True, (2, 2)),
        (1, 96, True, (1, 1)),
        (4, 128, True, (2, 1)),
    ],
)
@pytest.mark.parametrize("name", ["splash", "triton"])
def test_kernels_agree_with_the_reference(name, kv_heads, head_dim, is_packed, sizes):
    fsdp, tensor = sizes
    mesh = make_mesh(MeshConfig(fsdp=fsdp, tensor=tensor), jax.devices()[: fsdp * tensor])
    # Sums over some hundred keys in float32, in another order.
    segments = packed() if is_packed else None
    assert_like_the_reference(name, inputs(kv_heads, head_dim), segments, 5e-6, mesh)


def test_kernels_take_bfloat16():
    # Queries, keys, softmax weights and results are rounded to 8 bits each.
    assert_like_the_reference("splash", inputs(2, 64, "bfloat16"), packed(), 0.05)


def test_keys_that_are_not_split_as_queries_still_meet_their_own():
    mesh = make_mesh(MeshConfig(fsdp=1, tensor=4), jax.devices()[:4])
    rules = Rules(kv_heads=None, act_kv_heads=None)
    assert_like_the_reference("triton", inputs(2, 64), packed(), 5e-6, mesh, rules)


@pytest.mark.parametrize(
    ("length", "parts", "block"),
    [(4096, 1, 512), (1024, 1, 256), (640, 1, 128), (128, 1, 128), (8192, 8, 512), (4096, 8, 256)],
)
def test_blocks_divide_what_a_device_holds_of_a_row(length, parts, block):
    assert splash.block_size(length, parts) == block


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [("splash", "splash_mha_fwd", "splash_mha_dkv"), ("triton", "mha_forward", "mha_backward")],
)
@pytest.mark.parametrize(("remat", "times"), [("dots", 1), ("projections", 2), ("full", 2)])
def test_remat_policies_keep_what_they_say(name, forward, backward, remat, times):
    """What "dots" keeps of attention is all that the backward kernel needs."""
    config = dataclasses.replace(PRESETS["debug"], attention=name, remat=remat, context=256)
    params = transformer.abstract_params(config)
    ids = jax.ShapeDtypeStruct((2, 256), jnp.int32)
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2), jax.devices()[:4])
    loss = lambda params, ids: jnp.sum(transformer.apply(config, params, ids, ids, mesh=mesh))
    calls = list(kernels(jax.make_jaxpr(jax.grad(loss))(params, ids).jaxpr))
    count = lambda kernel: sum(call.startswith(kernel) for call in calls)
    assert (count(forward), count(backward)) == (times, 1)


def test_a_model_on_a_mesh_gives_the_reference_loss_and_gradients():
    """With layers in a scan, of which remat keeps results of the kernel."""
    length = 128
    base = dataclasses.replace(PRESETS["debug"], context=length)
    params = transformer.init_params(base, 0)
    ids = jax.random.randint(jax.random.key(1), (B, length), 0, base.vocabulary.size)
    segments = packed()[:, :length]
    mesh = make_mesh(MeshConfig(fsdp=1, tensor=2), jax.devices()[:2])

    def gradients(mesh, **changes):
        config = dataclasses.replace(base, **changes)
        logits = lambda params: transformer.apply(config, params, ids, segments, mesh=mesh)
        loss = lambda params: jnp.mean(jax.nn.logsumexp(logits(params), axis=-1))
        return jax.device_get(jax.jit(jax.value_and_grad(loss))(params))

    actual = gradients(mesh, attention="splash", remat="dots")
    expected = gradients(None, attention="xla")
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        # As in test_mesh_equality.py, and layers of float32 sums in another order.
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def kernels(jaxpr):
    """Names of the kernels of which some result is used."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            yield equation.params["name"]
        elif equation.outvars:
            for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
                if is_jaxpr(inner):
                    yield from kernels(getattr(inner, "jaxpr", inner))


def is_jaxpr(value):
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


# Known: see the file's docstring.
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", ["splash", "triton", "cudnn"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_kernels_are_lowered_for_platforms_that_are_not_here(name, is_packed, monkeypatch):
    from jax._src.cudnn import fused_attention_stablehlo

    # What cuDNN's wrapper would ask a GPU.
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91100)
    monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda _: True)
    platform, call = {
        "splash": ("tpu", "tpu_custom_call"),
        "triton": ("cuda", "triton"),
        "cudnn": ("cuda", "__cudnn$fmhaSoftmax"),
    }[name]
    segments = packed() if is_packed else None
    kind = {"tpu": "TPU v5", "cuda": "NVIDIA H100 80GB HBM3"}[platform]
    arrays = inputs(2, 100, "bfloat16")
    with described(kind):
        traced = run.trace(*arrays, segments, name, interpret=False)
        assert [leaf.shape[-1] for leaf in traced.out_info] == [100] * 4
        text = traced.lower(lowering_platforms=(platform,)).as_text()
    # Forward and backward; Triton's backward pass has a kernel before.
    assert text.count(call) >= 2
    if name == "cudnn":
        assert ("PADDING_CAUSAL" in text) == is_packed


def described(kind):
    """Tells kernels what to be lowered for: JAX 0.12 looks for a GPU otherwise."""
    platform = "tpu" if kind.startswith("TPU") else "gpu"
    device = jax.sharding.AbstractDevice(device_kind=kind, num_cores=1, platform=platform)
    axes = ((1,), ("any",), (jax.sharding.AxisType.Auto,))
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh(*axes, abstract_device=device))


def test_tokamax_agrees_with_the_reference():
    pytest.importorskip("tokamax")
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2), jax.devices()[:4])
    with jax.numpy_rank_promotion("allow"):  # it leans on that
        for segments in (None, packed()):
            assert_like_the_reference("tokamax", inputs(2, 64), segments, 5e-6, mesh)


def test_first_keys_are_where_segments_begin():
    segments = jnp.asarray([[1, 1, 1, 2, 2, 3, 0, 0], [0] * 8])
    expected = [[0, 0, 0, 3, 3, 5, 6, 6], [0] * 8]
    np.testing.assert_array_equal(tokamax.first_keys(segments), expected)


def test_cudnn_offsets_are_where_segments_begin():
    segments = jnp.asarray([[1, 1, 1, 2, 2, 3, 0, 0], [1, 1, 2, 2, 2, 2, 2, 2], [4] * 8, [0] * 8])
    starts, lengths, fits = cudnn.offsets(segments, 4)
    none = [-1] * 3
    expected = [[0, 3, 5, 6, -1], [0, 2, *none], [0, -1, *none], [0, -1, *none]]
    np.testing.assert_array_equal(starts, expected)
    np.testing.assert_array_equal(lengths, [[3, 2, 1, 2], [2, 6, -1, -1], [8, *none], [8, *none]])
    assert fits.all()
    assert cudnn.offsets(segments, 3)[2].tolist() == [False, True, True, True]


def test_cudnn_offsets_of_random_rows_cover_them():
    rng = np.random.default_rng(0)
    for _ in range(20):
        edges = np.sort(rng.choice(np.arange(1, 40), rng.integers(0, 6), replace=False))
        row = np.searchsorted(edges, np.arange(40), side="right") + 1
        starts, lengths, fits = (np.asarray(x)[0] for x in cudnn.offsets(jnp.asarray(row)[None], 8))
        assert fits
        found = [
            number
            for start, length in zip(starts, lengths)
            if start >= 0
            for number in row[start : start + length]
        ]
        np.testing.assert_array_equal(found, row)
