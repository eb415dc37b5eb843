"""Makes vqgan_*.npz: what each published network gives for weights and images of draw.py.

  python -m tests.tokenizer.goldens.make_vqgans      # needs torch and diffusers, not lvm_jax

openMUSE, taming and LlamaGen are diffusers' VQModel under other names (LlamaGen with codes and
latents on the unit sphere); MaskGIT and LVM's xh network are written here in plain torch from
their published definitions. Each file holds the source's config and {name: shape}, the ids and the
reconstruction in [0, 1].
"""

import json
import pathlib
import re

import diffusers
import numpy as np
import torch
import torch.nn.functional as F

from tests.tokenizer.goldens import draw

HERE = pathlib.Path(__file__).parent
NUM_CODES = 64


def vq_model(**changes):
    settings = {
        "block_out_channels": (32, 64),
        "layers_per_block": 2,
        "latent_channels": 16,
        "num_vq_embeddings": NUM_CODES,
        "vq_embed_dim": 8,
        **changes,
    }
    attends = settings.pop("attends")
    settings["down_block_types"] = ("DownEncoderBlock2D", f"{attends}DownEncoderBlock2D")
    settings["up_block_types"] = (f"{attends}UpDecoderBlock2D", "UpDecoderBlock2D")
    return diffusers.VQModel(**settings).eval()


# diffusers' name -> the other's, first match wins. Two levels: up block 0 is level 1.
TAMING_NAMES = [
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d)\.attentions\.(\d)", r"down.\1.attn.\2"),
    (r"down_blocks\.(\d)\.downsamplers\.0\.conv", r"down.\1.downsample.conv"),
    (r"up_blocks\.0\.resnets\.(\d)", r"up.1.block.\1"),
    (r"up_blocks\.1\.resnets\.(\d)", r"up.0.block.\1"),
    (r"up_blocks\.0\.attentions\.(\d)", r"up.1.attn.\1"),
    (r"up_blocks\.0\.upsamplers\.0\.conv", r"up.1.upsample.conv"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
]
LLAMAGEN_NAMES = [
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"conv_blocks.\1.res.\2"),
    (r"down_blocks\.(\d)\.attentions\.(\d)", r"conv_blocks.\1.attn.\2"),
    (r"down_blocks\.(\d)\.downsamplers\.0\.conv", r"conv_blocks.\1.downsample.conv"),
    (r"up_blocks\.(\d)\.resnets\.(\d)", r"conv_blocks.\1.res.\2"),
    (r"up_blocks\.(\d)\.attentions\.(\d)", r"conv_blocks.\1.attn.\2"),
    (r"up_blocks\.(\d)\.upsamplers\.0\.conv", r"conv_blocks.\1.upsample.conv"),
    (r"mid_block\.resnets\.0", "mid.0"),
    (r"mid_block\.attentions\.0", "mid.1"),
    (r"mid_block\.resnets\.1", "mid.2"),
]
SHARED_NAMES = [
    ("conv_norm_out", "norm_out"),
    ("conv_shortcut", "nin_shortcut"),
    ("group_norm", "norm"),
    (r"to_out\.0", "proj_out"),
    (r"to_([qkv])", r"\1"),
]


def renamed(name, names):
    for pattern, replacement in names + SHARED_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def through_diffusers(model, names, pixel_range, normalize=False):
    """(shapes in the source's naming, ids, reconstruction)."""
    theirs = {name: renamed(name, names) if names else name for name in model.state_dict()}
    shapes = {}
    for name, tensor in model.state_dict().items():
        shape = list(tensor.shape)
        # Where diffusers has a matrix, the others have a 1x1 convolution.
        if names and len(shape) == 2 and "attentions" in name:
            shape += [1, 1]
        shapes[theirs[name]] = shape
    weights = draw.weights(shapes)
    state = {
        name: torch.from_numpy(weights[theirs[name]]).reshape(tensor.shape)
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(state, strict=True)
    z = model.encode(pixels(pixel_range)).latents
    codes = model.quantize.embedding.weight
    ids, quant = nearest(z, codes, normalize)
    if not normalize:
        assert (model.quantize(z)[2][2].reshape(ids.shape) == ids).all()
    decoded = model.decode(quant, force_not_quantize=True).sample
    return shapes, ids, to_unit(decoded, pixel_range)


def pixels(pixel_range):
    x = torch.from_numpy(draw.images()).permute(0, 3, 1, 2)
    return 2 * x - 1 if pixel_range == "minus_one_one" else x


def to_unit(x, pixel_range):
    x = (x + 1) / 2 if pixel_range == "minus_one_one" else x
    return x.permute(0, 2, 3, 1)


def nearest(z, codes, normalize=False):
    """Ids [B, L] and codes [B, D, h, w] by squared distance; insists on clear winners."""
    if normalize:
        z, codes = F.normalize(z, dim=1), F.normalize(codes, dim=1)
    flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
    distances = ((flat[:, None] - codes[None]) ** 2).sum(-1)
    best = distances.sort(dim=1).values
    margin = (best[:, 1] - best[:, 0]).min().item()
    ids = distances.argmin(1)
    print(f"  {len(ids.unique())} codes in use, smallest margin {margin:.2g}")
    assert margin > 1e-4 and len(ids.unique()) > 5
    quant = codes[ids].reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
    return ids.reshape(z.shape[0], -1), quant


def block_shapes(prefix, in_dim, out_dim, kind):
    """The parameters of one residual block of MaskGIT (flax) or xh (torch)."""
    if kind == "maskgit":
        shapes = {
            f"{prefix}/GroupNorm_{n}/{p}": [d]
            for n, d in ((0, in_dim), (1, out_dim))
            for p in ("scale", "bias")
        }
        shapes[f"{prefix}/Conv_0/kernel"] = [3, 3, in_dim, out_dim]
        shapes[f"{prefix}/Conv_1/kernel"] = [3, 3, out_dim, out_dim]
        if in_dim != out_dim:
            shapes[f"{prefix}/Conv_2/kernel"] = [1, 1, out_dim, out_dim]
        return shapes
    shapes = {
        f"{prefix}.norm{n}.{p}": [d]
        for n, d in ((1, in_dim), (2, out_dim))
        for p in ("weight", "bias")
    }
    shapes[f"{prefix}.conv1.weight"] = [out_dim, in_dim, 3, 3]
    shapes[f"{prefix}.conv2.weight"] = [out_dim, out_dim, 3, 3]
    if in_dim != out_dim:
        shapes[f"{prefix}.conv_out.weight"] = [out_dim, in_dim, 1, 1]
    return shapes


class Plain:
    """Layers by name over arrays; flax kernels become torch's."""

    def __init__(self, weights):
        self.weights = {name: torch.from_numpy(array) for name, array in weights.items()}

    def conv(self, name, x):
        if f"{name}/kernel" in self.weights:
            kernel = self.weights[f"{name}/kernel"].permute(3, 2, 0, 1)
            bias = self.weights.get(f"{name}/bias")
        else:
            kernel, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        return F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)

    def norm_swish(self, name, x):
        scale = self.weights.get(f"{name}/scale", self.weights.get(f"{name}.weight"))
        bias = self.weights.get(f"{name}/bias", self.weights.get(f"{name}.bias"))
        return F.silu(F.group_norm(x, 32, scale, bias, eps=1e-6))

    def maskgit_block(self, name, x):
        h = self.conv(f"{name}/Conv_0", self.norm_swish(f"{name}/GroupNorm_0", x))
        h = self.conv(f"{name}/Conv_1", self.norm_swish(f"{name}/GroupNorm_1", h))
        if f"{name}/Conv_2/kernel" in self.weights:
            x = self.conv(f"{name}/Conv_2", h)
        return x + h

    def xh_block(self, name, x):
        h = self.conv(f"{name}.conv1", self.norm_swish(f"{name}.norm1", x))
        h = self.conv(f"{name}.conv2", self.norm_swish(f"{name}.norm2", h))
        if f"{name}.conv_out.weight" in self.weights:
            x = self.conv(f"{name}.conv_out", x)
        return x + h


# (channels in, channels out) of the residual blocks of levels 0, 0, 1, 1 and the middle's two.
ENCODER_BLOCKS = [(32, 32), (32, 32), (32, 64), (64, 64), (64, 64), (64, 64)]
# The middle's two, then levels 1, 1, 0, 0.
DECODER_BLOCKS = [(64, 64), (64, 64), (64, 64), (64, 64), (64, 32), (32, 32)]


def maskgit():
    shapes = {"encoder/Conv_0/kernel": [3, 3, 3, 32], "encoder/Conv_1/kernel": [1, 1, 64, 8]}
    shapes |= {"encoder/Conv_1/bias": [8], "quantizer/codebook": [NUM_CODES, 8]}
    for half, dim in (("encoder", 64), ("decoder", 32)):
        shapes |= {f"{half}/GroupNorm_0/scale": [dim], f"{half}/GroupNorm_0/bias": [dim]}
    for n, (i, o) in enumerate([(8, 64), (64, 64), (32, 3)]):
        shapes |= {f"decoder/Conv_{n}/kernel": [3, 3, i, o], f"decoder/Conv_{n}/bias": [o]}
    for half, blocks in (("encoder", ENCODER_BLOCKS), ("decoder", DECODER_BLOCKS)):
        for n, dims in enumerate(blocks):
            shapes |= block_shapes(f"{half}/ResBlock_{n}", *dims, "maskgit")
    net = Plain(draw.weights(shapes))
    h = net.conv("encoder/Conv_0", pixels("zero_one"))
    for n in range(6):
        h = net.maskgit_block(f"encoder/ResBlock_{n}", h)
        if n == 1:
            h = F.avg_pool2d(h, 2)
    z = net.conv("encoder/Conv_1", net.norm_swish("encoder/GroupNorm_0", h))
    ids, quant = nearest(z, net.weights["quantizer/codebook"])
    h = net.conv("decoder/Conv_0", quant)
    for n in range(6):
        h = net.maskgit_block(f"decoder/ResBlock_{n}", h)
        if n == 3:
            h = net.conv("decoder/Conv_1", F.interpolate(h, scale_factor=2, mode="nearest"))
    decoded = net.conv("decoder/Conv_2", net.norm_swish("decoder/GroupNorm_0", h))
    return shapes, ids, to_unit(decoded, "zero_one")


def lvm_xh():
    shapes = {"encoder.conv1.weight": [32, 3, 3, 3], "encoder.conv2.weight": [8, 64, 1, 1]}
    shapes |= {"encoder.conv2.bias": [8], "quantizer.embedding.weight": [NUM_CODES, 8]}
    for half, dim in (("encoder", 64), ("decoder", 32)):
        shapes |= {f"{half}.norm1.weight": [dim], f"{half}.norm1.bias": [dim]}
    for name, i, o in (("conv1", 8, 64), ("up_convs.0", 64, 256), ("conv6", 32, 3)):
        shapes |= {f"decoder.{name}.weight": [o, i, 3, 3], f"decoder.{name}.bias": [o]}
    for half, blocks in (("encoder", ENCODER_BLOCKS), ("decoder", DECODER_BLOCKS)):
        for n, dims in enumerate(blocks):
            shapes |= block_shapes(f"{half}.blocks.{n}", *dims, "xh")
    net = Plain(draw.weights(shapes))
    h = net.conv("encoder.conv1", pixels("zero_one"))
    for n in range(6):
        h = net.xh_block(f"encoder.blocks.{n}", h)
        if n == 1:
            h = F.avg_pool2d(h, 2)
    z = net.conv("encoder.conv2", net.norm_swish("encoder.norm1", h))
    ids, quant = nearest(z, net.weights["quantizer.embedding.weight"])
    h = net.conv("decoder.conv1", quant)
    for n in range(6):
        h = net.xh_block(f"decoder.blocks.{n}", h)
        if n == 3:
            # Channels (row in 2, column in 2, c) become pixels.
            wide = net.conv("decoder.up_convs.0", h)
            b, c, rows, columns = wide.shape
            wide = wide.reshape(b, 2, 2, c // 4, rows, columns).permute(0, 3, 4, 1, 5, 2)
            h = wide.reshape(b, c // 4, 2 * rows, 2 * columns)
    decoded = net.conv("decoder.conv6", net.norm_swish("decoder.norm1", h))
    return shapes, ids, to_unit(decoded, "zero_one")


def cases():
    yield (
        "openmuse",
        {
            "hidden_channels": 32,
            "channel_mult": [1, 2],
            "num_res_blocks": 2,
            "attn_resolutions": [],
            "no_attn_mid_block": True,
            "z_channels": 16,
            "quantized_embed_dim": 8,
            "num_embeddings": NUM_CODES,
            "resolution": 16,
        },
        through_diffusers(
            vq_model(attends="", mid_block_add_attention=False), TAMING_NAMES, "zero_one"
        ),
    )
    yield (
        "taming",
        {
            "embed_dim": 8,
            "n_embed": NUM_CODES,
            "ddconfig": {
                "double_z": False,
                "z_channels": 16,
                "resolution": 16,
                "in_channels": 3,
                "out_ch": 3,
                "ch": 32,
                "ch_mult": [1, 2],
                "num_res_blocks": 2,
                "attn_resolutions": [8],
                "dropout": 0.0,
            },
        },
        through_diffusers(vq_model(attends="Attn"), TAMING_NAMES, "minus_one_one"),
    )
    yield (
        "llamagen",
        {
            "ch": 32,
            "encoder_ch_mult": [1, 2],
            "decoder_ch_mult": [1, 2],
            "z_channels": 16,
            "codebook_embed_dim": 8,
            "codebook_size": NUM_CODES,
            "image_size": 16,
        },
        through_diffusers(vq_model(attends="Attn"), LLAMAGEN_NAMES, "minus_one_one", True),
    )
    model = vq_model(attends="Attn", norm_num_groups=8, layers_per_block=1)
    config = {key: value for key, value in model.config.items() if not key.startswith("_")}
    yield "diffusers", {**config, "image_size": 16}, through_diffusers(model, None, "zero_one")
    yield (
        "maskgit",
        {
            "filters": 32,
            "num_res_blocks": 2,
            "channel_multipliers": [1, 2],
            "embedding_dim": 8,
            "codebook_size": NUM_CODES,
            "image_size": 16,
        },
        maskgit(),
    )
    yield (
        "lvm_xh",
        {
            "filters": 32,
            "ch_mult": [1, 2],
            "embedding_dim": 8,
            "codebook_size": NUM_CODES,
            "image_size": 16,
        },
        lvm_xh(),
    )


def main():
    torch.set_grad_enabled(False)
    for format, config, (shapes, ids, images) in cases():
        print(format, len(shapes), "parameters")
        np.savez_compressed(
            HERE / f"vqgan_{format}.npz",
            source=json.dumps({"config": config, "shapes": shapes}),
            ids=ids.numpy().astype(np.int32),
            images=images.numpy().astype(np.float32),
        )


if __name__ == "__main__":
    main()
