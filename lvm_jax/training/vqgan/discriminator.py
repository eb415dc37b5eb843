"""A patch discriminator: scores how real each part of an image looks.

Paper: Isola et al. 2017 (PatchGAN), as VQGANs use it (Esser et al. 2021, section 3.1). Without
BatchNorm: the score of an image does not depend on the others in its batch.

Letters: B batch, H and W pixels, C channels, h and w the grid of patches.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from lvm_jax.configs import ConfigError, Field, require_at_least
from lvm_jax.modules import Conv, Definition, Params, draw_params
from lvm_jax.tokenizer.blocks import GroupNorm

_KERNEL = 4
_MAX_MULTIPLIER = 8
_LEAK = 0.2
_BINOMIAL = np.array([1, 3, 3, 1], np.float32) / 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Geometry of a discriminator.

    Attributes:
        base_dim: channels of the first convolution; they double with each halving, up to 8 times.
        num_layers: halvings of the resolution.
        downsample: "conv" halves by a 4x4 convolution of stride 2; "blur" by a 3x3 convolution and
            a binomial blur before every second pixel is dropped, so that scores change little when
            an image moves by a pixel (Zhang 2019).
        norm_groups: groups of the GroupNorm after each convolution but the first and the last; 0
            for no normalization.
    """

    base_dim: int = 64
    num_layers: int = 3
    downsample: Literal["conv", "blur"] = "conv"
    norm_groups: int = 8

    def __post_init__(self):
        require_at_least(self, 1, "base_dim", "num_layers")
        if self.downsample not in ("conv", "blur"):
            raise ConfigError(Field("downsample"), f"={self.downsample!r} must be conv or blur")
        if self.norm_groups < 0 or (self.norm_groups and self.base_dim % self.norm_groups):
            raise ConfigError(
                Field("norm_groups"),
                f"={self.norm_groups} must divide ",
                Field("base_dim"),
                f"={self.base_dim}, or be 0 for no normalization",
            )


class Discriminator(nnx.Module):
    """Pixels [B, H, W, 3] in [-1, 1] -> scores of overlapping patches [B, h, w]."""

    def __init__(self, config: DiscriminatorConfig, *, rngs: nnx.Rngs):
        self.num_layers, self.has_norm = config.num_layers, config.norm_groups > 0
        self.blurs = config.downsample == "blur"
        in_dim = 3
        # Halvings, then one convolution at the last resolution.
        for index in range(config.num_layers + 1):
            dim = config.base_dim * min(2**index, _MAX_MULTIPLIER)
            halves = index < config.num_layers
            kernel, stride = (3, 1) if halves and self.blurs else (_KERNEL, 2 if halves else 1)
            setattr(self, f"conv_{index}", _conv(in_dim, dim, kernel, stride, rngs))
            if self.has_norm and index > 0:
                setattr(self, f"norm_{index}", GroupNorm(dim, config.norm_groups))
            in_dim = dim
        self.conv_out = _conv(in_dim, 1, _KERNEL, 1, rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        for index in range(self.num_layers + 1):
            x_BHWC = getattr(self, f"conv_{index}")(x_BHWC)
            if self.has_norm and index > 0:
                x_BHWC = getattr(self, f"norm_{index}")(x_BHWC)
            x_BHWC = nnx.leaky_relu(x_BHWC, _LEAK)
            if self.blurs and index < self.num_layers:
                x_BHWC = blur_pool(x_BHWC)
        return self.conv_out(x_BHWC)[..., 0]


def _conv(in_dim: int, out_dim: int, kernel: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    return Conv(
        in_dim,
        out_dim,
        (kernel, kernel),
        strides=(stride, stride),
        padding=((1, 1), (1, 1)),
        rngs=rngs,
    )


def blur_pool(x_BHWC: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """Halves the resolution after a binomial blur of 4x4 pixels; borders are repeated outwards.

    An odd last row or column is dropped, as by a convolution of stride 2.
    """
    for axis in (1, 2):
        length = x_BHWC.shape[axis] // 2 * 2
        pads = [(0, 0)] * 4
        pads[axis] = (1, 1)
        cut = jax.lax.slice_in_dim(x_BHWC, 0, length, axis=axis)
        padded = jnp.pad(cut, pads, mode="edge")
        taps = (
            jax.lax.slice_in_dim(padded, offset, offset + length - 1, stride=2, axis=axis)
            for offset in range(len(_BINOMIAL))
        )
        weighed = (float(weight) * tap for weight, tap in zip(_BINOMIAL, taps))
        x_BHWC = functools.reduce(jnp.add, weighed)
    return x_BHWC


@functools.cache
def _definition(config: DiscriminatorConfig) -> Definition[Discriminator]:
    return Definition(lambda rngs: Discriminator(config, rngs=rngs))


def min_image_size(config: DiscriminatorConfig) -> int:
    """The smallest image that leaves a patch: after the halvings two convolutions eat one each."""
    return 3 * 2**config.num_layers


def abstract_params(config: DiscriminatorConfig) -> Params:
    """The parameter tree with `jax.ShapeDtypeStruct` leaves; allocates nothing."""
    return _definition(config).abstract


def init_params(config: DiscriminatorConfig, seed: int) -> Params:
    """A plain nested dict of float32 arrays, a pure function of its arguments."""
    return draw_params(abstract_params(config), seed)


def scores(
    config: DiscriminatorConfig, params: Params, images_BHWC: Float[Array, "B H W 3"]
) -> Float[Array, "B h w"]:
    """Scores of overlapping patches, higher for what looks real.

    Args:
        config: the geometry.
        params: as `init_params` gives them.
        images_BHWC: float32, [0, 1] for real images.
    """
    return _definition(config).bind(params)(2.0 * images_BHWC - 1.0)
