"""The VQGAN: images -> latents -> codes -> images, as functions of (config, params, arrays).

Modules are definitions only: they are split once, per config, into a graph and a plain nested
dict of parameters with readable names ("encoder/down_0/res_0/conv1/kernel"); convolution kernels
are [height, width, in, out].

Letters: B batch, H and W pixels, C channels, h and w the latent grid, L = h * w ids per image in
row-major order, D code dimension, K codes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from lvm_jax.modules import Definition, Params, draw_params
from lvm_jax.tokenizer import quantizer
from lvm_jax.tokenizer.blocks import (
    Attention,
    Downsample,
    GroupNorm,
    ResBlock,
    Upsample,
    conv,
    fold_patches,
    unfold_patches,
)
from lvm_jax.tokenizer.vqgan_config import VQGANConfig

IMAGE_CHANNELS = 3


class Level(nnx.Module):
    """The residual blocks (and attention) of one resolution, then the change to the next."""

    def __init__(self, config: VQGANConfig, level: int, in_dim: int, half: str, *, rngs: nnx.Rngs):
        dim = config.level_dim(level)
        is_encoder = half == "encoder"
        self.num_blocks = (config.encoder_blocks if is_encoder else config.decoder_blocks)[level]
        self.attends = level in config.attention_levels
        for index in range(self.num_blocks):
            block = ResBlock(config, in_dim if index == 0 else dim, dim, rngs=rngs)
            setattr(self, f"res_{index}", block)
            if self.attends:
                setattr(self, f"attn_{index}", Attention(config, dim, rngs=rngs))
        self.resample = None
        if is_encoder and level < config.num_levels - 1:
            self.resample, self.downsample = "downsample", Downsample(config, dim, rngs=rngs)
        if not is_encoder and level > 0:
            self.resample, self.upsample = "upsample", Upsample(config, dim, rngs=rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        for index in range(self.num_blocks):
            x_BHWC = getattr(self, f"res_{index}")(x_BHWC)
            if self.attends:
                x_BHWC = getattr(self, f"attn_{index}")(x_BHWC)
        return getattr(self, self.resample)(x_BHWC) if self.resample else x_BHWC


class Mid(nnx.Module):
    """The blocks at latent resolution: res_0, attn, res_1, ..."""

    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        dim = config.level_dim(-1)
        self.num_blocks = config.num_mid_blocks
        self.attends = config.mid_attention
        for index in range(self.num_blocks):
            setattr(self, f"res_{index}", ResBlock(config, dim, dim, rngs=rngs))
        if self.attends:
            self.attn = Attention(config, dim, rngs=rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        for index in range(self.num_blocks):
            x_BHWC = getattr(self, f"res_{index}")(x_BHWC)
            if index == 0 and self.attends:
                x_BHWC = self.attn(x_BHWC)
        return x_BHWC


class Encoder(nnx.Module):
    """Folded pixels [B, H, W, 3 * patch_size^2] -> [B, h, w, latent_dim], finest level first."""

    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        self.num_levels = config.num_levels
        in_dim = IMAGE_CHANNELS * config.patch_size**2
        self.conv_in = conv(in_dim, config.base_dim, 3, bias=config.conv_in_bias, rngs=rngs)
        dim = config.base_dim
        for level in range(config.num_levels):
            setattr(self, f"down_{level}", Level(config, level, dim, "encoder", rngs=rngs))
            dim = config.level_dim(level)
        self.mid = Mid(config, rngs=rngs)
        self.norm_out = GroupNorm(dim, config.norm_groups)
        self.conv_out = conv(dim, config.latent_dim, config.encoder_out_kernel, rngs=rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        h_BHWC = self.conv_in(x_BHWC)
        for level in range(self.num_levels):
            h_BHWC = getattr(self, f"down_{level}")(h_BHWC)
        return self.conv_out(nnx.swish(self.norm_out(self.mid(h_BHWC))))


class Decoder(nnx.Module):
    """[B, h, w, latent_dim] -> features [B, H, W, C], of which `conv_out` makes folded pixels."""

    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        self.num_levels = config.num_levels
        dim = config.level_dim(-1)
        self.conv_in = conv(config.latent_dim, dim, 3, rngs=rngs)
        self.mid = Mid(config, rngs=rngs)
        for level in reversed(range(config.num_levels)):
            setattr(self, f"up_{level}", Level(config, level, dim, "decoder", rngs=rngs))
            dim = config.level_dim(level)
        self.norm_out = GroupNorm(dim, config.norm_groups)
        self.conv_out = conv(dim, IMAGE_CHANNELS * config.patch_size**2, 3, rngs=rngs)

    def features(self, z_BhwC: jax.Array) -> jax.Array:
        """Everything before the last convolution."""
        h_BHWC = self.mid(self.conv_in(z_BhwC))
        for level in reversed(range(self.num_levels)):
            h_BHWC = getattr(self, f"up_{level}")(h_BHWC)
        return nnx.swish(self.norm_out(h_BHWC))


class VQGAN(nnx.Module):
    """Both halves, the convolutions around the codes (if any), and float32 codes [K, D]."""

    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)
        if config.quant_convs:
            self.quant_conv = conv(config.latent_dim, config.code_dim, 1, rngs=rngs)
            self.post_quant_conv = conv(config.code_dim, config.latent_dim, 1, rngs=rngs)
        self.codebook = nnx.Param(jnp.zeros((config.num_codes, config.code_dim)))


@functools.cache
def _definition(config: VQGANConfig) -> Definition[VQGAN]:
    return Definition(lambda rngs: VQGAN(config, rngs=rngs))


def abstract_params(config: VQGANConfig) -> Params:
    """The parameter tree with `jax.ShapeDtypeStruct` leaves; allocates nothing."""
    return _definition(config).abstract


def init_params(config: VQGANConfig, seed: int) -> Params:
    """A plain nested dict of float32 arrays, a pure function of its arguments.

    Codes lie close to the origin, or on the unit sphere if the config says so; training moves them
    onto encoder outputs (`training.vqgan.codebook`).
    """
    return jax.jit(_draw_params, static_argnums=0)(config, seed)


def _draw_params(config: VQGANConfig, seed: jax.Array) -> Params:
    params = draw_params(abstract_params(config), seed)
    key = jax.random.fold_in(jax.random.key(seed), 1)
    codes_KD = jax.random.normal(key, params["codebook"].shape) / config.num_codes
    return {
        **params,
        "codebook": quantizer.normalize(codes_KD) if config.normalize_codes else codes_KD,
    }


def encode(
    config: VQGANConfig, params: Params, images_BHWC: Float[Array | np.ndarray, "B H W 3"]
) -> Float[Array, "B h w D"]:
    """Images -> latents, before quantization.

    Args:
        config: the geometry.
        params: as `init_params` gives them.
        images_BHWC: float32 [0, 1].
    """
    model = _definition(config).bind(params)
    x_BHWC = jnp.asarray(images_BHWC)
    if config.pixel_range == "minus_one_one":
        x_BHWC = 2.0 * x_BHWC - 1.0
    z_BhwC = model.encoder(fold_patches(x_BHWC, config.patch_size))
    z_BhwD = model.quant_conv(z_BhwC) if config.quant_convs else z_BhwC
    return quantizer.normalize(z_BhwD) if config.normalize_codes else z_BhwD


def codebook(config: VQGANConfig, params: Params) -> Float[Array, "K D"]:
    """The codes as they are compared and decoded: on the unit sphere if the config says so."""
    codes_KD = jnp.asarray(params["codebook"])
    return quantizer.normalize(codes_KD) if config.normalize_codes else codes_KD


def lookup(
    config: VQGANConfig, params: Params, z_BhwD: Float[Array, "B h w D"]
) -> Int[Array, "B L"]:
    """Latents -> int32 ids of the nearest codes, row by row."""
    z_ND = z_BhwD.reshape(-1, config.code_dim)
    return quantizer.nearest(codebook(config, params), z_ND).reshape(z_BhwD.shape[0], -1)


def embed(
    config: VQGANConfig, params: Params, ids_BL: Int[Array | np.ndarray, "B L"]
) -> Float[Array, "B h w D"]:
    """Ids -> codes on the square latent grid."""
    codes_BLD = codebook(config, params)[ids_BL]
    side = round(ids_BL.shape[1] ** 0.5)
    assert side * side == ids_BL.shape[1], ids_BL.shape
    return codes_BLD.reshape(ids_BL.shape[0], side, side, config.code_dim)


def decode_features(
    config: VQGANConfig, params: Params, z_BhwD: Float[Array, "B h w D"]
) -> Float[Array, "B H W C"]:
    """Codes or latents -> what the decoder's last convolution sees."""
    model = _definition(config).bind(params)
    return model.decoder.features(model.post_quant_conv(z_BhwD) if config.quant_convs else z_BhwD)


def decode_pixels(
    config: VQGANConfig, params: Params, features_BHWC: Float[Array, "B h w C"]
) -> Float[Array, "B H W 3"]:
    """The decoder's last convolution: features -> images in [0, 1], not clipped."""
    model = _definition(config).bind(params)
    x_BHWC = unfold_patches(model.decoder.conv_out(features_BHWC), config.patch_size)
    return 0.5 * (x_BHWC + 1.0) if config.pixel_range == "minus_one_one" else x_BHWC


def decode_latents(
    config: VQGANConfig, params: Params, z_BhwD: Float[Array, "B h w D"]
) -> Float[Array, "B H W 3"]:
    """Codes or latents -> images in [0, 1], not clipped."""
    return decode_pixels(config, params, decode_features(config, params, z_BhwD))


def decode_ids(
    config: VQGANConfig, params: Params, ids_BL: Int[Array | np.ndarray, "B L"]
) -> Float[Array, "B H W 3"]:
    """Ids -> images in [0, 1], not clipped. Ids must be in [0, num_codes): the codec checks."""
    return decode_latents(config, params, embed(config, params, ids_BL))
