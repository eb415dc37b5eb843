"""The layers of a VQGAN: definitions only, no state beyond their parameters.

Letters: B batch, H and W height and width, C channels, N = H * W positions.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from lvm_jax.tokenizer.config import VQGANConfig
from lvm_jax.tokenizer.functional import Conv

NORM_EPSILON = 1e-6


def conv(
    in_dim: int, out_dim: int, kernel: int, *, rngs: nnx.Rngs, bias: bool = True, stride: int = 1
) -> nnx.Conv:
    """A square convolution; "same" padding at stride 1, right-and-below at stride 2.

    The padding is explicit: flax's "SAME" at stride 2 agrees with the published models only on
    even sizes.
    """
    side = (0, 1) if stride == 2 else (kernel // 2, kernel // 2)
    return Conv(
        in_dim,
        out_dim,
        (kernel, kernel),
        strides=(stride, stride),
        padding=(side, side),
        use_bias=bias,
        rngs=rngs,
    )


def group_norm(dim: int, groups: int, *, rngs: nnx.Rngs) -> nnx.GroupNorm:
    """GroupNorm with the two-pass variance, which stays accurate when the mean is large."""
    return nnx.GroupNorm(
        dim, num_groups=groups, epsilon=NORM_EPSILON, use_fast_variance=False, rngs=rngs
    )


class ResBlock(nnx.Module):
    """norm, swish, conv, twice; plus a shortcut, which is a 1x1 convolution if channels change."""

    def __init__(self, config: VQGANConfig, in_dim: int, out_dim: int, *, rngs: nnx.Rngs):
        bias = config.block_bias
        self.shortcut_source = config.shortcut_source
        self.changes_dim = in_dim != out_dim
        self.norm1 = group_norm(in_dim, config.norm_groups, rngs=rngs)
        self.conv1 = conv(in_dim, out_dim, 3, bias=bias, rngs=rngs)
        self.norm2 = group_norm(out_dim, config.norm_groups, rngs=rngs)
        self.conv2 = conv(out_dim, out_dim, 3, bias=bias, rngs=rngs)
        if self.changes_dim:
            source_dim = in_dim if config.shortcut_source == "input" else out_dim
            self.shortcut = conv(source_dim, out_dim, 1, bias=bias, rngs=rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        h_BHWC = self.conv1(nnx.swish(self.norm1(x_BHWC)))
        h_BHWC = self.conv2(nnx.swish(self.norm2(h_BHWC)))
        if self.changes_dim:
            x_BHWC = self.shortcut(x_BHWC if self.shortcut_source == "input" else h_BHWC)
        return x_BHWC + h_BHWC


class Attention(nnx.Module):
    """Single-head self-attention over all positions, added to its input."""

    def __init__(self, config: VQGANConfig, dim: int, *, rngs: nnx.Rngs):
        self.norm = group_norm(dim, config.norm_groups, rngs=rngs)
        self.q = conv(dim, dim, 1, rngs=rngs)
        self.k = conv(dim, dim, 1, rngs=rngs)
        self.v = conv(dim, dim, 1, rngs=rngs)
        self.proj = conv(dim, dim, 1, rngs=rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        h_BHWC = self.norm(x_BHWC)
        shape_BNC = (h_BHWC.shape[0], -1, h_BHWC.shape[-1])
        q_BNC, k_BMC, v_BMC = (
            layer(h_BHWC).reshape(shape_BNC) for layer in (self.q, self.k, self.v)
        )
        # A softmax in fp32, whatever the convolutions compute in.
        scores_BNM = jnp.einsum("BNC,BMC->BNM", q_BNC, k_BMC, preferred_element_type=jnp.float32)
        scores_BNM = scores_BNM * h_BHWC.shape[-1] ** -0.5
        h_BNC = jnp.einsum("BNM,BMC->BNC", jax.nn.softmax(scores_BNM, axis=-1), v_BMC)
        return x_BHWC + self.proj(h_BNC.reshape(x_BHWC.shape))


class Downsample(nnx.Module):
    """Halves the resolution."""

    def __init__(self, config: VQGANConfig, dim: int, *, rngs: nnx.Rngs):
        self.kind = config.downsample
        if self.kind == "conv":
            self.conv = conv(dim, dim, 3, stride=2, rngs=rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        if self.kind == "conv":
            return self.conv(x_BHWC)
        return nnx.avg_pool(x_BHWC, (2, 2), strides=(2, 2))


class Upsample(nnx.Module):
    """Doubles the resolution."""

    def __init__(self, config: VQGANConfig, dim: int, *, rngs: nnx.Rngs):
        self.kind = config.upsample
        out_dim = dim if self.kind == "nearest_conv" else 4 * dim
        self.conv = conv(dim, out_dim, 3, rngs=rngs)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        if self.kind == "nearest_conv":
            return self.conv(x_BHWC.repeat(2, axis=1).repeat(2, axis=2))
        return unfold_patches(self.conv(x_BHWC), 2)


def fold_patches(x_BHWC: jax.Array, size: int) -> jax.Array:
    """Space to depth: [B, H, W, C] -> [B, H/size, W/size, size*size*C], rows before columns."""
    if size == 1:
        return x_BHWC
    batch, height, width, dim = x_BHWC.shape
    x = x_BHWC.reshape(batch, height // size, size, width // size, size, dim)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // size, width // size, -1)


def unfold_patches(x_BHWC: jax.Array, size: int) -> jax.Array:
    """Depth to space, the inverse of `fold_patches`."""
    if size == 1:
        return x_BHWC
    batch, height, width, dim = x_BHWC.shape
    x = x_BHWC.reshape(batch, height, width, size, size, dim // size**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * size, width * size, -1)
