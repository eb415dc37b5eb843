"""What each published VQGAN calls our parameters, and how it lays them out.

Ours is "encoder/down_0/res_1/conv1/kernel", with convolution kernels [height, width, in, out];
torch keeps them as [out, in, height, width], and diffusers keeps attention's as matrices [out, in].
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from lvm_jax import trees
from lvm_jax.tokenizer import vqgan
from lvm_jax.tokenizer.vqgan_config import VQGANConfig

FORMATS = ("openmuse", "taming", "llamagen", "maskgit", "lvm_xh", "diffusers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Names:
    """Templates of module names.

    They may use {half} (encoder or decoder), {level} (0 at full resolution), {turn} (0 at the
    deepest level), {block} (residual block within its level), {place} (its position among the
    middle's modules, attention included), {number} (residual block counted through the half).
    """

    codebook: str = "quantize.embedding.weight"
    conv_in: str = "{half}.conv_in"
    norm_out: str = "{half}.norm_out"
    encoder_out: str = "encoder.conv_out"
    decoder_out: str = "decoder.conv_out"
    encoder_res: str
    decoder_res: str
    mid_res: str
    encoder_attn: str = ""
    decoder_attn: str = ""
    mid_attn: str = ""
    downsample: str = ""
    upsample: str
    layers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    attention_layers: Mapping[str, str] = dataclasses.field(default_factory=dict)


_TAMING = _Names(
    encoder_res="encoder.down.{level}.block.{block}",
    decoder_res="decoder.up.{level}.block.{block}",
    mid_res="{half}.mid.block_{block_from_one}",
    encoder_attn="encoder.down.{level}.attn.{block}",
    decoder_attn="decoder.up.{level}.attn.{block}",
    mid_attn="{half}.mid.attn_1",
    downsample="encoder.down.{level}.downsample.conv",
    upsample="decoder.up.{level}.upsample.conv",
    layers={"shortcut": "nin_shortcut"},
    attention_layers={"proj": "proj_out"},
)

_NAMES = {
    "openmuse": _TAMING,
    "taming": _TAMING,
    "llamagen": dataclasses.replace(
        _TAMING,
        encoder_res="encoder.conv_blocks.{level}.res.{block}",
        decoder_res="decoder.conv_blocks.{turn}.res.{block}",
        mid_res="{half}.mid.{place}",
        encoder_attn="encoder.conv_blocks.{level}.attn.{block}",
        decoder_attn="decoder.conv_blocks.{turn}.attn.{block}",
        mid_attn="{half}.mid.1",
        downsample="encoder.conv_blocks.{level}.downsample.conv",
        upsample="decoder.conv_blocks.{turn}.upsample.conv",
    ),
    "diffusers": _Names(
        norm_out="{half}.conv_norm_out",
        encoder_res="encoder.down_blocks.{level}.resnets.{block}",
        decoder_res="decoder.up_blocks.{turn}.resnets.{block}",
        mid_res="{half}.mid_block.resnets.{block}",
        encoder_attn="encoder.down_blocks.{level}.attentions.{block}",
        decoder_attn="decoder.up_blocks.{turn}.attentions.{block}",
        mid_attn="{half}.mid_block.attentions.0",
        downsample="encoder.down_blocks.{level}.downsamplers.0.conv",
        upsample="decoder.up_blocks.{turn}.upsamplers.0.conv",
        layers={"shortcut": "conv_shortcut"},
        attention_layers={
            "norm": "group_norm",
            "q": "to_q",
            "k": "to_k",
            "v": "to_v",
            "proj": "to_out.0",
        },
    ),
    "maskgit": _Names(
        codebook="quantizer/codebook",
        conv_in="{half}/Conv_0",
        norm_out="{half}/GroupNorm_0",
        encoder_out="encoder/Conv_1",
        decoder_out="decoder/Conv_{num_levels}",
        encoder_res="encoder/ResBlock_{number}",
        decoder_res="decoder/ResBlock_{number}",
        mid_res="{half}/ResBlock_{number}",
        upsample="decoder/Conv_{turn_from_one}",
        layers={
            "norm1": "GroupNorm_0",
            "conv1": "Conv_0",
            "norm2": "GroupNorm_1",
            "conv2": "Conv_1",
            "shortcut": "Conv_2",
        },
    ),
    "lvm_xh": _Names(
        codebook="quantizer.embedding.weight",
        conv_in="{half}.conv1",
        norm_out="{half}.norm1",
        encoder_out="encoder.conv2",
        decoder_out="decoder.conv6",
        encoder_res="encoder.blocks.{number}",
        decoder_res="decoder.blocks.{number}",
        mid_res="{half}.blocks.{number}",
        upsample="decoder.up_convs.{turn}",
        layers={"shortcut": "conv_out"},
    ),
}

# Before its attention had one class for all networks.
_OLDER_NAMES = {
    "diffusers": dataclasses.replace(
        _NAMES["diffusers"],
        attention_layers={
            "norm": "group_norm",
            "q": "query",
            "k": "key",
            "v": "value",
            "proj": "proj_attn",
        },
    )
}


def source_names(format: str, config: VQGANConfig) -> dict[str, str]:
    """Our flat parameter name -> the format's.

    Args:
        format: one of `FORMATS`.
        config: a geometry that the format can express.
    """
    names = trees.flatten(vqgan.abstract_params(config))
    return {name: _source_name(format, _NAMES[format], config, name) for name in names}


def older_names(format: str, config: VQGANConfig) -> dict[str, str]:
    """The format's flat parameter name -> how older files spell it, where that differs."""
    if format not in _OLDER_NAMES:
        return {}
    names = source_names(format, config)
    older = {name: _source_name(format, _OLDER_NAMES[format], config, name) for name in names}
    return {names[name]: older[name] for name in names if older[name] != names[name]}


def codebook_name(format: str) -> str:
    """What the format calls our "codebook"."""
    return _NAMES[format].codebook


def source_shapes(format: str, config: VQGANConfig) -> dict[str, tuple[int, ...]]:
    """The format's flat parameter name -> its shape there."""
    abstract = trees.flatten(vqgan.abstract_params(config))
    names = source_names(format, config)
    return {names[name]: _source_shape(format, name, leaf.shape) for name, leaf in abstract.items()}


def to_ours(format: str, name: str, array: np.ndarray) -> np.ndarray:
    """An array of the format in our layout; `name` is our name for it."""
    if _has_our_layout(format, name):
        return array
    if array.ndim == 2:
        array = array[:, :, None, None]
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0))


def to_source(format: str, name: str, array: np.ndarray) -> np.ndarray:
    """The inverse of `to_ours`."""
    if _has_our_layout(format, name):
        return array
    shape = _source_shape(format, name, array.shape)
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1)).reshape(shape)


def _has_our_layout(format: str, name: str) -> bool:
    return format == "maskgit" or not name.endswith("/kernel")


def _source_shape(format: str, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if _has_our_layout(format, name):
        return tuple(shape)
    height, width, in_dim, out_dim = shape
    is_matrix = format == "diffusers" and _is_attention(name)
    return (out_dim, in_dim) if is_matrix else (out_dim, in_dim, height, width)


def _is_attention(name: str) -> bool:
    return any(part.startswith("attn") for part in name.split(trees.SEPARATOR))


def _source_name(format: str, names: _Names, config: VQGANConfig, name: str) -> str:
    if name == "codebook":
        return names.codebook
    *path, leaf = name.split(trees.SEPARATOR)
    module = _module(names, config, path)
    if format == "maskgit":
        return f"{module}/{leaf}"
    return f"{module}.{'bias' if leaf == 'bias' else 'weight'}"


def _module(names: _Names, config: VQGANConfig, path: list[str]) -> str:
    match path:
        case [("quant_conv" | "post_quant_conv") as layer]:
            return layer
        case [half, ("conv_in" | "norm_out") as layer]:
            return getattr(names, layer).format(half=half)
        case [half, "conv_out"]:
            return getattr(names, f"{half}_out").format(num_levels=config.num_levels)
        case [half, "mid", "attn", layer]:
            module = names.mid_attn.format(half=half)
            return f"{module}.{names.attention_layers.get(layer, layer)}"
    half, level_name, block_name, layer = path
    separator = "/" if "/" in names.codebook else "."
    block = int(block_name.split("_")[1]) if "_" in block_name else 0
    if level_name == "mid":
        module = names.mid_res.format(
            half=half,
            block=block,
            block_from_one=block + 1,
            place=block + (config.mid_attention and block > 0),
            number=block + (sum(config.encoder_blocks) if half == "encoder" else 0),
        )
        return module + separator + names.layers.get(layer, layer)
    level = int(level_name.split("_")[1])
    turn = config.num_levels - 1 - level
    before = (
        sum(config.encoder_blocks[:level])
        if half == "encoder"
        else config.num_mid_blocks + sum(config.decoder_blocks[level + 1 :])
    )
    values = {
        "level": level,
        "turn": turn,
        "turn_from_one": turn + 1,
        "block": block,
        "number": before + block,
    }
    if block_name in ("downsample", "upsample"):
        return getattr(names, block_name).format(**values)
    kind, layers = (
        ("attn", names.attention_layers) if block_name.startswith("attn") else ("res", names.layers)
    )
    module = getattr(names, f"{half}_{kind}").format(**values)
    return module + separator + layers.get(layer, layer)
