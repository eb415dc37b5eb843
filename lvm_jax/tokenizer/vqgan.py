"""The VQGAN: images -> latents -> codes -> images, as functions of (config, params, arrays).

Modules are definitions only: they are split once, per config, into a graph and a plain nested
dict of parameters with readable names ("encoder/down_0/res_0/conv1/kernel"); convolution kernels
are [height, width, in, out].

Letters: B batch, H and W pixels, C channels, h and w the latent grid, L = h * w ids per image in
row-major order, D code dimension, K codes.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from lvm_jax import trees
from lvm_jax.tokenizer import quantizer
from lvm_jax.tokenizer.blocks import (
    Attention,
    Downsample,
    ResBlock,
    Upsample,
    conv,
    fold_patches,
    group_norm,
    unfold_patches,
)
from lvm_jax.tokenizer.config import VQGANConfig

Params = dict[str, Any]

IMAGE_CHANNELS = 3

# Standard deviation of a normal truncated at two of its own.
_TRUNCATED_NORMAL_STD = 0.87962566103423978


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
    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        self.num_levels = config.num_levels
        in_dim = IMAGE_CHANNELS * config.patch_size**2
        self.conv_in = conv(in_dim, config.base_dim, 3, bias=config.conv_in_bias, rngs=rngs)
        dim = config.base_dim
        for level in range(config.num_levels):
            setattr(self, f"down_{level}", Level(config, level, dim, "encoder", rngs=rngs))
            dim = config.level_dim(level)
        self.mid = Mid(config, rngs=rngs)
        self.norm_out = group_norm(dim, config.norm_groups, rngs=rngs)
        self.conv_out = conv(dim, config.latent_dim, config.encoder_out_kernel, rngs=rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        h_BHWC = self.conv_in(x_BHWC)
        for level in range(self.num_levels):
            h_BHWC = getattr(self, f"down_{level}")(h_BHWC)
        return self.conv_out(nnx.swish(self.norm_out(self.mid(h_BHWC))))


class Decoder(nnx.Module):
    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        self.num_levels = config.num_levels
        dim = config.level_dim(-1)
        self.conv_in = conv(config.latent_dim, dim, 3, rngs=rngs)
        self.mid = Mid(config, rngs=rngs)
        for level in reversed(range(config.num_levels)):
            setattr(self, f"up_{level}", Level(config, level, dim, "decoder", rngs=rngs))
            dim = config.level_dim(level)
        self.norm_out = group_norm(dim, config.norm_groups, rngs=rngs)
        self.conv_out = conv(dim, IMAGE_CHANNELS * config.patch_size**2, 3, rngs=rngs)

    def features(self, z_BhwC: jax.Array) -> jax.Array:
        """Everything before the last convolution."""
        h_BHWC = self.mid(self.conv_in(z_BhwC))
        for level in reversed(range(self.num_levels)):
            h_BHWC = getattr(self, f"up_{level}")(h_BHWC)
        return nnx.swish(self.norm_out(h_BHWC))


class VQGAN(nnx.Module):
    def __init__(self, config: VQGANConfig, *, rngs: nnx.Rngs):
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)
        if config.quant_convs:
            self.quant_conv = conv(config.latent_dim, config.code_dim, 1, rngs=rngs)
            self.post_quant_conv = conv(config.code_dim, config.latent_dim, 1, rngs=rngs)
        self.codebook = nnx.Param(jnp.zeros((config.num_codes, config.code_dim)))


@functools.cache
def _definition(config: VQGANConfig) -> tuple[nnx.GraphDef, nnx.State]:
    """The module's graph and its state with shapes instead of arrays."""
    model = nnx.eval_shape(lambda: VQGAN(config, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(model)
    # `_bind` matches leaves by order, which holds because both trees sort their (string) keys.
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(_plain(state))]
    assert names == sorted(names, key=lambda name: name.split("']['")), names
    return graph, state


def _plain(state: nnx.State) -> Params:
    return nnx.to_pure_dict(state)


def _bind(config: VQGANConfig, params: Params) -> VQGAN:
    graph, state = _definition(config)
    leaves = jax.tree.leaves(params)
    return nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), leaves))


def abstract_params(config: VQGANConfig) -> Params:
    """The parameter tree with `jax.ShapeDtypeStruct` leaves; allocates nothing."""
    return _plain(_definition(config)[1])


def init_params(config: VQGANConfig, seed: int) -> Params:
    """A plain nested dict of float32 arrays, a pure function of its arguments.

    Kernels are truncated normals of variance 1 / fan-in, biases 0, norm scales 1, and the codebook
    lies close to the origin, or on the unit sphere if the config says so.
    """
    return jax.jit(_draw_params, static_argnums=0)(config, seed)


def _draw_params(config: VQGANConfig, seed: jax.Array) -> Params:
    shapes = {name: leaf.shape for name, leaf in trees.flatten(abstract_params(config)).items()}
    drawn = [name for name in shapes if name.endswith("kernel") or name == "codebook"]
    sizes = [math.prod(shapes[name]) for name in drawn]
    # One draw, cut up: a draw for each kernel takes XLA's CPU compiler about a second each.
    noise = jax.random.truncated_normal(jax.random.key(seed), -2.0, 2.0, (sum(sizes),))
    noise = noise / _TRUNCATED_NORMAL_STD
    pieces = dict(zip(drawn, jnp.split(noise, np.cumsum(sizes)[:-1])))

    def leaf(name: str, shape: tuple[int, ...]) -> jax.Array:
        if name == "codebook":
            codes_KD = pieces[name].reshape(shape) / config.num_codes
            return quantizer.normalize(codes_KD) if config.normalize_codes else codes_KD
        if name in pieces:
            return pieces[name].reshape(shape) * math.prod(shape[:-1]) ** -0.5
        return jnp.ones(shape) if name.endswith("scale") else jnp.zeros(shape)

    return trees.unflatten({name: leaf(name, shape) for name, shape in shapes.items()})


def encode(
    config: VQGANConfig, params: Params, images_BHWC: Float[Array, "B H W 3"]
) -> Float[Array, "B h w D"]:
    """Images -> latents, before quantization.

    Args:
        config: the geometry.
        params: as `init_params` gives them.
        images_BHWC: float32 [0, 1].
    """
    model = _bind(config, params)
    x_BHWC = 2.0 * images_BHWC - 1.0 if config.pixel_range == "minus_one_one" else images_BHWC
    z_BhwC = model.encoder(fold_patches(x_BHWC, config.patch_size))
    z_BhwD = model.quant_conv(z_BhwC) if config.quant_convs else z_BhwC
    return quantizer.normalize(z_BhwD) if config.normalize_codes else z_BhwD


def codebook(config: VQGANConfig, params: Params) -> Float[Array, "K D"]:
    """The codes as they are compared and decoded: on the unit sphere if the config says so."""
    codes_KD = params["codebook"]
    return quantizer.normalize(codes_KD) if config.normalize_codes else codes_KD


def lookup(
    config: VQGANConfig, params: Params, z_BhwD: Float[Array, "B h w D"]
) -> Int[Array, "B L"]:
    """Latents -> int32 ids of the nearest codes, row by row."""
    z_ND = z_BhwD.reshape(-1, config.code_dim)
    return quantizer.nearest(codebook(config, params), z_ND).reshape(z_BhwD.shape[0], -1)


def embed(
    config: VQGANConfig, params: Params, ids_BL: Int[Array, "B L"]
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
    model = _bind(config, params)
    return model.decoder.features(model.post_quant_conv(z_BhwD) if config.quant_convs else z_BhwD)


def decode_pixels(
    config: VQGANConfig, params: Params, features_BHWC: Float[Array, "B h w C"]
) -> Float[Array, "B H W 3"]:
    """The decoder's last convolution: features -> images in [0, 1], not clipped."""
    model = _bind(config, params)
    x_BHWC = unfold_patches(model.decoder.conv_out(features_BHWC), config.patch_size)
    return 0.5 * (x_BHWC + 1.0) if config.pixel_range == "minus_one_one" else x_BHWC


def decode_latents(
    config: VQGANConfig, params: Params, z_BhwD: Float[Array, "B h w D"]
) -> Float[Array, "B H W 3"]:
    """Codes or latents -> images in [0, 1], not clipped."""
    return decode_pixels(config, params, decode_features(config, params, z_BhwD))


def decode_ids(
    config: VQGANConfig, params: Params, ids_BL: Int[Array, "B L"]
) -> Float[Array, "B H W 3"]:
    """Ids -> images in [0, 1], not clipped. Ids must be in [0, num_codes): the codec checks."""
    return decode_latents(config, params, embed(config, params, ids_BL))
