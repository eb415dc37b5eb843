"""Features of pictures that FID and KID compare: Inception v3 as TensorFlow had it in 2015.

Papers: Szegedy et al. 2016 (Inception v3); Heusel et al. 2017 (FID).

Numbers are comparable with published ones only if the network is the one that they all used. It is
not torchvision's: average pools leave padding out, the last block (Mixed_7c) pools by maximum, and
there are 1,008 classes. Nor is the way into it: pictures of any shape are stretched to 299 pixels
by bilinear interpolation without antialiasing, where implementations differ:

    tensorflow    corners of pixels lie on one another, then (x - 128) / 128: the original, and
                  torch-fidelity and torchmetrics
    pytorch_fid   centers of pixels do, then x / 127.5 - 1: pytorch-fid

Letters: B images, H and W pixels, C channels, S 299 pixels, D features.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

Params = Mapping[str, Mapping[str, Any]]
"""{"Mixed_5b.branch1x1": {"kernel" [h, w, in, out], "bias" [out]}, ...}: normalisation by batches,
which is fixed, is part of both."""
Resize = Literal["tensorflow", "pytorch_fid"]

IMAGE_SIZE = 299
NUM_FEATURES = 2048


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution, normalised and rectified.

    Attributes:
        name: within its block.
        dim: channels that come out.
        kernel: its height and width.
        stride: in both directions.
        same: keeps the size by zeros around; otherwise it takes place where the kernel fits.
    """

    name: str
    dim: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True


@dataclasses.dataclass(frozen=True)
class Pool:
    """The mean or the maximum of 3x3 pixels; at stride 1 of those of them that exist."""

    kind: Literal["mean", "max"]
    stride: int = 1


Step = Conv | Pool | tuple[Conv, Conv]
"""Two convolutions of the same thing stand side by side in what comes out."""
Branch = tuple[Step, ...]


def _down(name: str, dim: int) -> Conv:
    return Conv(name, dim, (3, 3), stride=2, same=False)


def _block_a(pool_dim: int) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (
            Conv("branch3x3dbl_1", 64),
            Conv("branch3x3dbl_2", 96, (3, 3)),
            Conv("branch3x3dbl_3", 96, (3, 3)),
        ),
        (Pool("mean"), Conv("branch_pool", pool_dim)),
    )


def _block_b() -> tuple[Branch, ...]:
    return (
        (_down("branch3x3", 384),),
        (
            Conv("branch3x3dbl_1", 64),
            Conv("branch3x3dbl_2", 96, (3, 3)),
            _down("branch3x3dbl_3", 96),
        ),
        (Pool("max", stride=2),),
    )


def _block_c(dim: int) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 192),),
        (
            Conv("branch7x7_1", dim),
            Conv("branch7x7_2", dim, (1, 7)),
            Conv("branch7x7_3", 192, (7, 1)),
        ),
        (
            Conv("branch7x7dbl_1", dim),
            Conv("branch7x7dbl_2", dim, (7, 1)),
            Conv("branch7x7dbl_3", dim, (1, 7)),
            Conv("branch7x7dbl_4", dim, (7, 1)),
            Conv("branch7x7dbl_5", 192, (1, 7)),
        ),
        (Pool("mean"), Conv("branch_pool", 192)),
    )


def _block_d() -> tuple[Branch, ...]:
    return (
        (Conv("branch3x3_1", 192), _down("branch3x3_2", 320)),
        (
            Conv("branch7x7x3_1", 192),
            Conv("branch7x7x3_2", 192, (1, 7)),
            Conv("branch7x7x3_3", 192, (7, 1)),
            _down("branch7x7x3_4", 192),
        ),
        (Pool("max", stride=2),),
    )


def _block_e(pool: Literal["mean", "max"]) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 320),),
        (
            Conv("branch3x3_1", 384),
            (Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
        ),
        (
            Conv("branch3x3dbl_1", 448),
            Conv("branch3x3dbl_2", 384, (3, 3)),
            (Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (Pool(pool), Conv("branch_pool", 192)),
    )


STEM: Branch = (
    _down("Conv2d_1a_3x3", 32),
    Conv("Conv2d_2a_3x3", 32, (3, 3), same=False),
    Conv("Conv2d_2b_3x3", 64, (3, 3)),
    Pool("max", stride=2),
    Conv("Conv2d_3b_1x1", 80),
    Conv("Conv2d_4a_3x3", 192, (3, 3), same=False),
    Pool("max", stride=2),
)
BLOCKS: Mapping[str, tuple[Branch, ...]] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _block_b(),
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _block_d(),
    "Mixed_7b": _block_e("mean"),
    "Mixed_7c": _block_e("max"),
}


def kernel_shapes() -> dict[str, tuple[int, int, int, int]]:
    """Name of each convolution -> [height, width, in, out] of its kernel, in order."""
    shapes: dict[str, tuple[int, int, int, int]] = {}

    def follow(branch: Branch, prefix: str, dim: int) -> int:
        for step in branch:
            convs = step if isinstance(step, tuple) else (step,)
            convs = [conv for conv in convs if isinstance(conv, Conv)]
            for conv in convs:
                shapes[prefix + conv.name] = (*conv.kernel, dim, conv.dim)
            dim = sum(conv.dim for conv in convs) or dim
        return dim

    dim = follow(STEM, "", 3)
    for name, branches in BLOCKS.items():
        dim = sum(follow(branch, f"{name}.", dim) for branch in branches)
    assert dim == NUM_FEATURES
    return shapes


def features(params: Params, x_BSS3: Float[Array, "B H W 3"]) -> Float[Array, "B D"]:
    """The means over all places of what leaves the last block.

    Args:
        params: see `inception_weights.load`.
        x_BSS3: pixels as `prepare` gives them; other sizes of at least 75 pixels work too.
    """
    x_BHWC = _apply(params, "", STEM, x_BSS3)
    for name, branches in BLOCKS.items():
        parts = [_apply(params, f"{name}.", branch, x_BHWC) for branch in branches]
        x_BHWC = jnp.concatenate(parts, axis=-1)
    return jnp.mean(x_BHWC, axis=(1, 2))


def _apply(params: Params, prefix: str, branch: Branch, x_BHWC: Array) -> Array:
    for step in branch:
        if isinstance(step, Pool):
            x_BHWC = _pool(step, x_BHWC)
        else:
            convs = step if isinstance(step, tuple) else (step,)
            parts = [_convolve(conv, params[prefix + conv.name], x_BHWC) for conv in convs]
            x_BHWC = jnp.concatenate(parts, axis=-1)
    return x_BHWC


def _convolve(conv: Conv, layer: Mapping[str, Any], x_BHWC: Array) -> Array:
    x_BHWC = jax.lax.conv_general_dilated(
        x_BHWC,
        layer["kernel"],
        window_strides=(conv.stride, conv.stride),
        padding="SAME" if conv.same else "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        # Accelerators would multiply in bfloat16, and distances of features are small numbers.
        precision=jax.lax.Precision.HIGHEST,
    )
    return jax.nn.relu(x_BHWC + layer["bias"][None, None, None])


def _pool(pool: Pool, x_BHWC: Array) -> Array:
    window, strides = (1, 3, 3, 1), (1, pool.stride, pool.stride, 1)
    padding = "SAME" if pool.stride == 1 else "VALID"
    if pool.kind == "max":
        return jax.lax.reduce_window(x_BHWC, -jnp.inf, jax.lax.max, window, strides, padding)
    total = jax.lax.reduce_window(x_BHWC, 0.0, jax.lax.add, window, strides, padding)
    ones = jnp.ones((1, *x_BHWC.shape[1:3], 1), x_BHWC.dtype)
    count = jax.lax.reduce_window(ones, 0.0, jax.lax.add, window, strides, padding)
    return total / count


def prepare(image: np.ndarray, resize: Resize) -> np.ndarray:
    """A picture as the network sees it.

    Args:
        image: uint8 [H, W, 3].
        resize: which implementation's way, see the module.

    Returns:
        float32 [S, S, 3] in about [-1, 1].
    """
    x_HWC = _stretch(image.astype(np.float32), axis=1, resize=resize)
    x_HWC = _stretch(x_HWC, axis=0, resize=resize)
    if resize == "tensorflow":
        return (x_HWC - np.float32(128)) / np.float32(128)
    return x_HWC / np.float32(127.5) - np.float32(1)


def _stretch(x_HWC: np.ndarray, axis: int, resize: Resize) -> np.ndarray:
    """Two neighbours of each place, weighted: without antialiasing, as the network's owners did."""
    size = x_HWC.shape[axis]
    places = np.arange(IMAGE_SIZE, dtype=np.float32)
    scale = np.float32(size / IMAGE_SIZE)
    if resize == "tensorflow":
        places = places * scale
    else:
        places = np.maximum((places + np.float32(0.5)) * scale - np.float32(0.5), np.float32(0))
    low = np.minimum(places.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    share = (places - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1)).astype(np.float32)
    below, above = x_HWC.take(low, axis), x_HWC.take(high, axis)
    return below + (above - below) * share
