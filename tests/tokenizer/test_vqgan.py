"""The network: shapes, names, every knob, and the parts the training relies on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax import trees
from lvm_jax.tokenizer import blocks, vqgan
from lvm_jax.tokenizer.vqgan_config import PRESETS

DEBUG = PRESETS["debug"]
IMAGES = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)

KNOBS = [
    {},
    {"attention_levels": (1,), "mid_attention": True},
    {"downsample": "average", "upsample": "depth_to_space"},
    {"downsample": "conv", "upsample": "nearest_conv", "patch_size": 1},
    {"shortcut_source": "conv2", "block_bias": False, "conv_in_bias": False},
    {"quant_convs": False, "latent_dim": 4, "encoder_out_kernel": 3},
    {"normalize_codes": True, "pixel_range": "zero_one"},
    {"num_mid_blocks": 0, "decoder_blocks": (2, 1)},
]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_traces(name):
    config = PRESETS[name]
    size, side = config.image_size, config.grid_size

    def reconstruct(params, images):
        z = vqgan.encode(config, params, images)
        ids = vqgan.lookup(config, params, z)
        return z, ids, vqgan.decode_ids(config, params, ids)

    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    z, ids, output = jax.eval_shape(reconstruct, vqgan.abstract_params(config), images)
    assert z.shape == (2, side, side, config.code_dim)
    assert (ids.shape, ids.dtype) == ((2, config.tokens_per_image), jnp.int32)
    assert (output.shape, output.dtype) == (images.shape, jnp.float32)


@pytest.mark.parametrize("changes", KNOBS, ids=lambda c: "-".join(c) or "debug")
def test_every_knob_runs_and_every_parameter_matters(changes):
    config = dataclasses.replace(DEBUG, **changes)
    params = vqgan.init_params(config, 0)
    assert not trees.first_differences(vqgan.abstract_params(config), params)

    def loss(params):
        z = vqgan.encode(config, params, IMAGES)
        decoded = vqgan.decode_latents(config, params, z)
        # The codebook takes part through a linear read-out: lookup itself has no gradient.
        codes = vqgan.codebook(config, params)
        return jnp.sum(jnp.sin(3 * decoded)) + jnp.sum(
            jnp.sin(codes * jnp.arange(codes.shape[1])[None])
        )

    grads = trees.flatten(jax.jit(jax.grad(loss))(params))
    # A key's bias shifts all scores of a query alike, which softmax ignores.
    silent = {n for n, g in grads.items() if not np.any(np.abs(g) > 0) and "/k/bias" not in n}
    assert not silent


def test_names_are_those_of_the_clean_tree():
    names = set(trees.flatten(vqgan.abstract_params(PRESETS["taming_f16_1024"])))
    assert {
        "codebook",
        "quant_conv/kernel",
        "post_quant_conv/bias",
        "encoder/conv_in/kernel",
        "encoder/down_0/res_0/norm1/scale",
        "encoder/down_0/downsample/conv/kernel",
        "encoder/down_4/attn_1/proj/kernel",
        "encoder/mid/attn/norm/bias",
        "encoder/mid/res_1/conv2/kernel",
        "encoder/norm_out/scale",
        "encoder/conv_out/kernel",
        "decoder/conv_in/kernel",
        "decoder/up_1/res_0/shortcut/kernel",
        "decoder/up_4/upsample/conv/bias",
        "decoder/up_4/attn_2/q/kernel",
        "decoder/conv_out/kernel",
    } <= names
    assert (
        not {"encoder/down_4/downsample/conv/kernel", "decoder/up_0/upsample/conv/kernel"} & names
    )


def test_init_is_a_pure_function_of_the_seed():
    a, b, c = (vqgan.init_params(DEBUG, seed) for seed in (0, 0, 1))
    assert trees.fingerprint(a) == trees.fingerprint(b) != trees.fingerprint(c)
    kernel = np.asarray(a["decoder"]["up_1"]["res_0"]["conv1"]["kernel"])
    # 2,304 draws: the sample's deviation is within 5% of the population's with room to spare.
    np.testing.assert_allclose(kernel.std(), (9 * 16) ** -0.5, rtol=0.05)


def test_patches_fold_and_unfold():
    x = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    folded = blocks.fold_patches(x, 2)
    assert folded.shape == (2, 2, 3, 12)
    # The first three channels are the top left pixel of each patch, the next its right neighbour.
    np.testing.assert_array_equal(folded[..., :3], x[:, ::2, ::2])
    np.testing.assert_array_equal(folded[..., 3:6], x[:, ::2, 1::2])
    np.testing.assert_array_equal(blocks.unfold_patches(folded, 2), x)


def test_stride_two_pads_right_and_below():
    """The output at (i, j) sees rows and columns 2i..2i+2 only."""
    config = dataclasses.replace(DEBUG, downsample="conv")

    def down(x):
        layer = blocks.Downsample(config, 8, rngs=blocks.nnx.Rngs(0))
        return layer(x)

    x = jnp.zeros((1, 4, 4, 8))
    changed = down(x.at[0, 1, 1].set(1.0)) - down(x)
    touched = np.argwhere(np.abs(changed[0]).sum(-1) > 0)
    np.testing.assert_array_equal(touched, [[0, 0]])


def test_decode_ids_uses_the_codes():
    params = vqgan.init_params(DEBUG, 0)
    ids = np.arange(32).reshape(2, 16)
    latents = params["codebook"][ids].reshape(2, 4, 4, 4)
    np.testing.assert_array_equal(
        vqgan.decode_ids(DEBUG, params, ids), vqgan.decode_latents(DEBUG, params, latents)
    )


def test_lookup_finds_a_code_from_its_own_vector():
    params = vqgan.init_params(DEBUG, 0)
    ids = np.arange(32).reshape(2, 16)
    np.testing.assert_array_equal(vqgan.lookup(DEBUG, params, vqgan.embed(DEBUG, params, ids)), ids)


def test_no_pixel_depends_on_another_image():
    params = vqgan.init_params(DEBUG, 0)
    together = vqgan.encode(DEBUG, params, IMAGES)
    changed = vqgan.encode(DEBUG, params, np.stack([IMAGES[0], 1 - IMAGES[1]]))
    np.testing.assert_array_equal(together[0], changed[0])


def test_a_convolution_of_doubled_pixels_is_the_plain_one():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 5, 3, 4), np.float32)
    kernel = rng.standard_normal((3, 3, 4, 6), np.float32)
    plain = jax.lax.conv_general_dilated(
        x.repeat(2, axis=1).repeat(2, axis=2),
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(blocks.double_conv(x, kernel), plain, atol=1e-5)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_upsampling_is_the_same_on_every_platform(platform, monkeypatch):
    config = dataclasses.replace(DEBUG, upsample="nearest_conv")
    layer = blocks.Upsample(config, 8, rngs=blocks.nnx.Rngs(0))
    layer.conv.bias[...] = jnp.arange(8.0)
    x = np.random.default_rng(0).standard_normal((1, 3, 3, 8), np.float32)
    expected = layer.conv(x.repeat(2, axis=1).repeat(2, axis=2))
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_group_norm_is_accurate_far_from_zero():
    """Against float64; a one-pass variance, or a float32 sum in one chain, would miss this."""
    rng = np.random.default_rng(0)
    x = (300.0 + rng.standard_normal((2, 64, 64, 8))).astype(np.float32)
    layer = blocks.GroupNorm(8, 4)
    layer.scale[...], layer.bias[...] = jnp.arange(1.0, 9.0), jnp.arange(8.0)
    groups = x.astype(np.float64).reshape(2, -1, 4, 2)
    mean, variance = (f(groups, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
    normal = ((groups - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)
    # One unit in the last place of 300 is 3e-5 of a deviation, times the scale.
    np.testing.assert_allclose(layer(x), normal * np.arange(1.0, 9.0) + np.arange(8.0), atol=5e-4)


def test_group_norm_computes_in_float32_and_keeps_the_dtype():
    x = (50.0 + np.random.default_rng(0).standard_normal((1, 8, 8, 8))).astype(jnp.bfloat16)
    layer = blocks.GroupNorm(8, 2)
    wide = layer(x.astype(np.float32))
    layer.scale, layer.bias = (
        blocks.nnx.Param(value[...].astype(jnp.bfloat16)) for value in (layer.scale, layer.bias)
    )
    narrow = layer(jnp.asarray(x))
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(np.float32), wide, atol=0.02)
