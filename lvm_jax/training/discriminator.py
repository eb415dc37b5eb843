"""A patch discriminator: scores how real each part of an image looks.

Paper: Isola et al. 2017 (PatchGAN), as VQGANs use it (Esser et al. 2021, section 3.1). Without
BatchNorm: the score of an image does not depend on the others in its batch.

Letters: B batch, H and W pixels, C channels, h and w the grid of patches.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lvm_jax.tokenizer.blocks import group_norm
from lvm_jax.tokenizer.functional import Functional, Params, draw_params

_KERNEL = 4
_MAX_MULTIPLIER = 8
_LEAK = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Geometry of a discriminator.

    Attributes:
        base_dim: channels of the first convolution; they double with each halving, up to 8 times.
        num_layers: halvings of the resolution.
        norm_groups: groups of the GroupNorm after each convolution but the first and the last; 0
            for no normalization.
    """

    base_dim: int = 64
    num_layers: int = 3
    norm_groups: int = 8

    def __post_init__(self):
        for name in ("base_dim", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"discriminator.{name}={getattr(self, name)} must be positive")
        if self.norm_groups < 0 or (self.norm_groups and self.base_dim % self.norm_groups):
            raise ValueError(
                f"discriminator.norm_groups={self.norm_groups} must divide "
                f"discriminator.base_dim={self.base_dim}, or be 0 for no normalization"
            )


class Discriminator(nnx.Module):
    def __init__(self, config: DiscriminatorConfig, *, rngs: nnx.Rngs):
        self.num_layers, self.has_norm = config.num_layers, config.norm_groups > 0
        in_dim = 3
        # Halvings, then one convolution at the last resolution.
        for index in range(config.num_layers + 1):
            dim = config.base_dim * min(2**index, _MAX_MULTIPLIER)
            stride = 2 if index < config.num_layers else 1
            setattr(self, f"conv_{index}", _conv(in_dim, dim, stride, rngs))
            if self.has_norm and index > 0:
                setattr(self, f"norm_{index}", group_norm(dim, config.norm_groups, rngs=rngs))
            in_dim = dim
        self.conv_out = _conv(in_dim, 1, 1, rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        for index in range(self.num_layers + 1):
            x_BHWC = getattr(self, f"conv_{index}")(x_BHWC)
            if self.has_norm and index > 0:
                x_BHWC = getattr(self, f"norm_{index}")(x_BHWC)
            x_BHWC = nnx.leaky_relu(x_BHWC, _LEAK)
        return self.conv_out(x_BHWC)[..., 0]


def _conv(in_dim: int, out_dim: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        in_dim,
        out_dim,
        (_KERNEL, _KERNEL),
        strides=(stride, stride),
        padding=((1, 1), (1, 1)),
        rngs=rngs,
    )


@functools.cache
def _functional(config: DiscriminatorConfig) -> Functional:
    return Functional(lambda rngs: Discriminator(config, rngs=rngs))


def min_image_size(config: DiscriminatorConfig) -> int:
    """The smallest image that leaves a patch: after the halvings two convolutions eat one each."""
    return 3 * 2**config.num_layers


def init_params(config: DiscriminatorConfig, seed: int) -> Params:
    """A plain nested dict of float32 arrays, a pure function of its arguments."""
    return draw_params(_functional(config).abstract, seed)


def scores(
    config: DiscriminatorConfig, params: Params, images_BHWC: Float[Array, "B H W 3"]
) -> Float[Array, "B h w"]:
    """Scores of overlapping patches, higher for what looks real.

    Args:
        config: the geometry.
        params: as `init_params` gives them.
        images_BHWC: float32, [0, 1] for real images.
    """
    return _functional(config).bind(params)(2.0 * images_BHWC - 1.0)


def hinge_loss(real_Bhw: Float[Array, "B h w"], fake_Bhw: Float[Array, "B h w"]) -> Array:
    """What the discriminator minimises: real scores above 1, fake ones below -1; 2 at chance."""
    return jnp.mean(nnx.relu(1.0 - real_Bhw)) + jnp.mean(nnx.relu(1.0 + fake_Bhw))


def generator_loss(fake_Bhw: Float[Array, "B h w"]) -> Array:
    """What the generator minimises: the negative mean score of its images."""
    return -jnp.mean(fake_Bhw)
