"""Perceptual distance: how different two images look to the convolutions of a VGG16.

Papers: Simonyan & Zisserman 2015 (VGG16); Zhang et al. 2018 (LPIPS).

`LPIPS` is what the paper calls so: torchvision's VGG16 and the learned weights of its features.
"vgg16_hed" is no LPIPS: it takes the convolutions of an edge detector (HED, Xie & Tu 2015), which
began as a VGG16 trained on ImageNet, and weighs all its features alike. Its weights come with a
package, so it needs nothing that cannot be installed.

Letters: B images, H and W pixels, C channels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from lvm_jax.configs import ConfigError, Field, require_at_least

Params = dict[str, Any]
"""{"conv1_1": {"kernel" [3, 3, in, out], "bias" [out]}, ..., "linear1": {"kernel" [C]}, ...}; the
linear ones only for LPIPS."""

# Channels of each stage and its convolutions; a stage begins with half the resolution of the last.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))

# LPIPS sees pixels in [-1, 1], shifted and scaled per channel.
_LPIPS_SHIFT = np.array([[[[-0.030, -0.088, -0.188]]]], np.float32)
_LPIPS_SCALE = np.array([[[[0.458, 0.448, 0.450]]]], np.float32)
# HED sees blue, green, red in [0, 255] less their means.
HED_MEAN_BGR = np.array([[[[104.00699, 116.66877, 122.67892]]]], np.float32)
_NORM_EPSILON = 1e-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerceptualConfig:
    """Which network compares original and reconstruction.

    Its files are named by `TokenizerExperiment.perceptual_weights`.

    Attributes:
        network: "lpips_vgg16", or "vgg16_hed", see the module.
        stages: how many of VGG16's five stages are compared, the first ones; fewer are faster.
        weight: of the distance in the loss; 0 only reports it for held-out images.
        start: step from which it counts.
    """

    network: Literal["lpips_vgg16", "vgg16_hed"]
    stages: int = len(STAGES)
    weight: float = 1.0
    start: int = 0

    def __post_init__(self):
        if not 1 <= self.stages <= len(STAGES):
            raise ConfigError(Field("stages"), f"={self.stages} must lie in 1..{len(STAGES)}")
        if self.network == "lpips_vgg16" and self.stages < len(STAGES):
            raise ConfigError(
                Field("stages"),
                f"={self.stages} must be {len(STAGES)} with ",
                Field("network"),
                "='lpips_vgg16': LPIPS is the sum over all stages",
            )
        require_at_least(self, 0, "weight", "start")

    @property
    def min_image_size(self) -> int:
        """The smallest image that leaves a pixel for the last stage."""
        return 2 ** (self.stages - 1)


def abstract_params(config: PerceptualConfig) -> Params:
    """The parameters that the network needs, as `jax.ShapeDtypeStruct`s."""
    leaf = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    params: Params = {}
    in_dim = 3
    for stage, (dim, num_convs) in enumerate(STAGES[: config.stages], start=1):
        for index in range(1, num_convs + 1):
            params[f"conv{stage}_{index}"] = {"kernel": leaf(3, 3, in_dim, dim), "bias": leaf(dim)}
            in_dim = dim
        if config.network == "lpips_vgg16":
            params[f"linear{stage}"] = {"kernel": leaf(dim)}
    return params


def distance(
    config: PerceptualConfig,
    params: Params,
    images_BHWC: Float[Array | np.ndarray, "B H W 3"],
    others_BHWC: Float[Array | np.ndarray, "B H W 3"],
) -> Float[Array, " B"]:
    """The distance of each pair of images: 0 for equal ones.

    Both networks compare the features of each pixel after each stage as unit vectors. LPIPS sums
    its weighted squared differences over the stages; "vgg16_hed" takes plain squared differences
    and their mean over the stages, so that it lies in [0, 2].

    Args:
        config: the network.
        params: its weights (`perceptual_weights.load`).
        images_BHWC, others_BHWC: float32 [0, 1], not clipped.
    """
    pairs = zip(
        features(config, params, images_BHWC),
        features(config, params, others_BHWC),
        strict=True,
    )
    total_B = jnp.zeros(images_BHWC.shape[0])
    for stage, (x_BHWC, y_BHWC) in enumerate(pairs, start=1):
        squared_BHWC = jnp.square(_unit(x_BHWC) - _unit(y_BHWC))
        if config.network == "lpips_vgg16":
            kernel_C = params[f"linear{stage}"]["kernel"]
            squared_BHWC = squared_BHWC * kernel_C[None, None, None]
        total_B += jnp.mean(jnp.sum(squared_BHWC, axis=-1), axis=(1, 2))
    return total_B if config.network == "lpips_vgg16" else total_B / config.stages


def features(
    config: PerceptualConfig, params: Params, images_BHWC: Float[Array | np.ndarray, "B H W 3"]
) -> Sequence[Float[Array, "B h w C"]]:
    """What leaves the last convolution of each stage, rectified; [0, 1] images in."""
    return convolved(params, _prepare(config, jnp.asarray(images_BHWC)), config.stages)


def convolved(
    params: Params, x_BHWC: Float[Array, "B H W 3"], num_stages: int
) -> list[Float[Array, "B h w C"]]:
    """What leaves the last convolution of each of the first stages, rectified.

    Args:
        params: with the stages' convolutions.
        x_BHWC: pixels as the network sees them.
        num_stages: how many, at most five.
    """
    of_stages = []
    for stage, (_, num_convs) in enumerate(STAGES[:num_stages], start=1):
        if stage > 1:
            x_BHWC = _max_pool(x_BHWC)
        for index in range(1, num_convs + 1):
            layer = params[f"conv{stage}_{index}"]
            x_BHWC = jax.lax.conv_general_dilated(
                x_BHWC,
                layer["kernel"],
                window_strides=(1, 1),
                padding=((1, 1), (1, 1)),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            x_BHWC = jax.nn.relu(x_BHWC + layer["bias"][None, None, None])
        of_stages.append(x_BHWC)
    return of_stages


def _prepare(config: PerceptualConfig, images_BHWC: Array) -> Array:
    if config.network == "lpips_vgg16":
        return (2.0 * images_BHWC - 1.0 - _LPIPS_SHIFT) / _LPIPS_SCALE
    return 255.0 * images_BHWC[..., ::-1] - HED_MEAN_BGR


def _max_pool(x_BHWC: Array) -> Array:
    """The greatest of each 2x2; an odd last row or column is dropped."""
    batch, height, width, dim = x_BHWC.shape
    cut = x_BHWC[:, : height // 2 * 2, : width // 2 * 2]
    return cut.reshape(batch, height // 2, 2, width // 2, 2, dim).max((2, 4))


def _unit(x_BHWC: Array) -> Array:
    """Unit vectors along the channels; zeros stay zeros, and so does their gradient."""
    squared = jnp.sum(jnp.square(x_BHWC), axis=-1, keepdims=True)
    # The root's slope at zero is infinite; flat black regions do get there.
    length = jnp.sqrt(jnp.where(squared > 0.0, squared, 1.0))
    return x_BHWC / (length + _NORM_EPSILON)
