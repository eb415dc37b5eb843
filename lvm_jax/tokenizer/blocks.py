"""The layers of a VQGAN: definitions only, no state beyond their parameters.

Letters: B batch, H and W height and width, C channels, N = H * W positions.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from lvm_jax.modules import Conv
from lvm_jax.tokenizer.vqgan_config import VQGANConfig

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


class GroupNorm(nnx.Module):
    """Each image's groups of channels to mean 0 and variance 1, then a scale and a bias.

    The variance takes a second pass, which stays accurate when the mean is large. Sums run over
    columns, rows and then the channels of a group: short chains round less, and on a CPU this order
    is up to 2.5 times as fast as flax's GroupNorm.
    """

    def __init__(self, dim: int, groups: int):
        self.groups = groups
        self.scale = nnx.Param(jnp.ones(dim))
        self.bias = nnx.Param(jnp.zeros(dim))

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        scale_111C, bias_111C = (p[...][None, None, None] for p in (self.scale, self.bias))
        centred_BHWC = x_BHWC.astype(jnp.float32)
        centred_BHWC = centred_BHWC - self._means(centred_BHWC)
        variance_B11C = self._means(jnp.square(centred_BHWC))
        gain_B11C = jax.lax.rsqrt(variance_B11C + NORM_EPSILON) * scale_111C
        return (centred_BHWC * gain_B11C + bias_111C).astype(jnp.result_type(x_BHWC, scale_111C))

    def _means(self, x_BHWC: jax.Array) -> jax.Array:
        """The mean of each channel's group: [B, 1, 1, C]."""
        batch, dim = x_BHWC.shape[0], x_BHWC.shape[-1]
        means_BG1 = x_BHWC.mean(2).mean(1).reshape(batch, self.groups, -1).mean(-1, keepdims=True)
        spread_BGC = jnp.broadcast_to(means_BG1, (batch, self.groups, dim // self.groups))
        return spread_BGC.reshape(batch, 1, 1, dim)


class ResBlock(nnx.Module):
    """norm, swish, conv, twice; plus a shortcut, which is a 1x1 convolution if channels change."""

    def __init__(self, config: VQGANConfig, in_dim: int, out_dim: int, *, rngs: nnx.Rngs):
        bias = config.block_bias
        self.shortcut_source = config.shortcut_source
        self.changes_dim = in_dim != out_dim
        self.norm1 = GroupNorm(in_dim, config.norm_groups)
        self.conv1 = conv(in_dim, out_dim, 3, bias=bias, rngs=rngs)
        self.norm2 = GroupNorm(out_dim, config.norm_groups)
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
        self.norm = GroupNorm(dim, config.norm_groups)
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
        if self.kind == "depth_to_space":
            return unfold_patches(self.conv(x_BHWC), 2)
        if jax.default_backend() == "cpu":
            assert self.conv.bias is not None
            return self.conv.bias[...][None, None, None] + double_conv(
                x_BHWC, self.conv.kernel[...]
            )
        return self.conv(x_BHWC.repeat(2, axis=1).repeat(2, axis=2))


def double_conv(x_BHWC: jax.Array, kernel_33CD: jax.Array) -> jax.Array:
    """A 3x3 convolution of the image with every pixel doubled: [B, 2H, 2W, D].

    Of the nine products of an output pixel, those that meet copies of one pixel are joined by
    adding their kernels first: four 2x2 convolutions of the small image, 2.25 times less work. The
    same up to rounding; accelerators have better kernels for the plain 3x3.
    """
    # Rows and columns alike: an even output sees pixels -1 and 0, an odd one 0 and 1.
    dtype = jnp.result_type(x_BHWC, kernel_33CD)
    x_BHWC, kernel_33CD = x_BHWC.astype(dtype), kernel_33CD.astype(dtype)
    before, here, after = kernel_33CD
    halves = [
        _join_columns(jnp.stack(rows)) for rows in ((before, here + after), (before + here, after))
    ]
    quarters = [
        jax.lax.conv_general_dilated(
            x_BHWC,
            kernel_22CD,
            (1, 1),
            ((1 - row, row), (1 - column, column)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for row, half in enumerate(halves)
        for column, kernel_22CD in enumerate(half)
    ]
    return unfold_patches(jnp.concatenate(quarters, axis=-1), 2)


def _join_columns(kernel_23CD: jax.Array) -> tuple[jax.Array, jax.Array]:
    before, here, after = kernel_23CD[:, 0], kernel_23CD[:, 1], kernel_23CD[:, 2]
    return jnp.stack((before, here + after), axis=1), jnp.stack((before + here, after), axis=1)


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
