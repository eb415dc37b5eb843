"""Geometry in the field names of each VQGAN's owner <-> `VQGANConfig`.

Two fields of ours are understood in every format, for what most formats leave to the code around
them: `pixel_range` and `image_size`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lvm_jax import configs
from lvm_jax.tokenizer import weight_fields
from lvm_jax.tokenizer.vqgan_config import VQGANConfig


def from_source(format: str, values: Mapping[str, Any]) -> VQGANConfig:
    """Reads a geometry in a format's own field names.

    Args:
        format: one of `weight_names.FORMATS`.
        values: the fields, as the owner's JSON or YAML holds them.

    Raises:
        ValueError: a field that is unknown, missing, of another type, or that describes a network
            which `VQGANConfig` cannot; names it.
    """
    schema = weight_fields.SCHEMAS[format]
    values = dict(values)
    pixel_range = values.pop("pixel_range", schema.pixel_range)
    image_size = values.pop("image_size", None)
    if image_size is not None:
        image_size = weight_fields.checked("image_size", image_size, 256)
    fields = weight_fields.read(schema, values, "")
    build = {
        "openmuse": _from_openmuse,
        "taming": _from_taming,
        "llamagen": _from_llamagen,
        "maskgit": _from_maskgit,
        "lvm_xh": _from_lvm_xh,
        "diffusers": _from_diffusers,
    }[format]
    changes = build(fields)
    if image_size is not None:
        changes["image_size"] = image_size
    try:
        return VQGANConfig(pixel_range=pixel_range, **changes)
    except configs.ConfigError as error:
        # It names fields of ours, which are spelled otherwise in the source.
        raise ValueError(f"source config: {error}") from error


def to_source(format: str, config: VQGANConfig) -> dict[str, Any]:
    """Writes a geometry in the field names of openMUSE or diffusers.

    Raises:
        ValueError: the format has no such network; names the settings of ours that it lacks.
    """
    if format == "openmuse":
        values = {
            "_class_name": "VQGANModel",
            "resolution": config.image_size,
            "num_channels": 3,
            "hidden_channels": config.base_dim,
            "channel_mult": list(config.dim_multipliers),
            "num_res_blocks": config.encoder_blocks[0],
            "attn_resolutions": [config.image_size >> level for level in config.attention_levels],
            "no_attn_mid_block": not config.mid_attention,
            "z_channels": config.latent_dim,
            "num_embeddings": config.num_codes,
            "quantized_embed_dim": config.code_dim,
            "dropout": 0.0,
            "resample_with_conv": True,
            "commitment_cost": 0.25,
        }
        if config.decoder_blocks[0] != config.encoder_blocks[0] + 1:
            values["decoder_res_blocks"] = config.decoder_blocks[0] - 1
    elif format == "diffusers":
        kinds = ["Attn" * (n in config.attention_levels) for n in range(config.num_levels)]
        values = {
            "_class_name": "VQModel",
            "act_fn": "silu",
            "block_out_channels": [config.level_dim(n) for n in range(config.num_levels)],
            "down_block_types": [f"{kind}DownEncoderBlock2D" for kind in kinds],
            "in_channels": 3,
            "latent_channels": config.latent_dim,
            "layers_per_block": config.encoder_blocks[0],
            "mid_block_add_attention": config.mid_attention,
            "norm_num_groups": config.norm_groups,
            "num_vq_embeddings": config.num_codes,
            "out_channels": 3,
            "sample_size": config.image_size,
            "up_block_types": [f"{kind}UpDecoderBlock2D" for kind in reversed(kinds)],
            "vq_embed_dim": config.code_dim,
        }
    else:
        raise ValueError(f"cannot write format {format!r}; use openmuse or diffusers")
    if config.pixel_range != weight_fields.SCHEMAS[format].pixel_range:
        values["pixel_range"] = config.pixel_range
    if format == "diffusers" and config.image_size != VQGANConfig.image_size:
        values["image_size"] = config.image_size
    kept = from_source(format, values)
    lost = [
        f"{field.name}={getattr(config, field.name)}"
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(kept, field.name)
    ]
    if lost:
        raise ValueError(f"the {format} format has no network with {', '.join(lost)}")
    return values


def _levels(resolution: int, num_levels: int, attn_resolutions: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in range(num_levels) if resolution >> n in attn_resolutions)


def _taming_like(num_levels: int, num_blocks: int) -> dict[str, Any]:
    """What openMUSE, taming, LlamaGen and diffusers share."""
    return {
        "encoder_blocks": (num_blocks,) * num_levels,
        "decoder_blocks": (num_blocks + 1,) * num_levels,
        "downsample": "conv",
        "block_bias": True,
        "conv_in_bias": True,
        "shortcut_source": "input",
        "encoder_out_kernel": 3,
        "quant_convs": True,
    }


def _from_openmuse(fields: dict[str, Any]) -> dict[str, Any]:
    multipliers, num_blocks = fields["channel_mult"], fields["num_res_blocks"]
    changes = _taming_like(len(multipliers), num_blocks)
    if fields["decoder_res_blocks"] is not None:
        changes["decoder_blocks"] = (fields["decoder_res_blocks"] + 1,) * len(multipliers)
    levels = _levels(fields["resolution"], len(multipliers), fields["attn_resolutions"])
    # open-muse stores the attention of a level with one block but does not apply it.
    if levels and min(*changes["encoder_blocks"], *changes["decoder_blocks"]) < 2:
        raise ValueError(
            f"source config: attn_resolutions={list(fields['attn_resolutions'])} with "
            f"num_res_blocks={num_blocks} cannot be converted: openMUSE skips the attention of "
            "levels with a single block"
        )
    return {
        **changes,
        "image_size": fields["resolution"],
        "base_dim": fields["hidden_channels"],
        "dim_multipliers": multipliers,
        "attention_levels": levels,
        "mid_attention": not fields["no_attn_mid_block"],
        "latent_dim": fields["z_channels"],
        "code_dim": fields["quantized_embed_dim"],
        "num_codes": fields["num_embeddings"],
    }


def _from_taming(fields: dict[str, Any]) -> dict[str, Any]:
    inner = weight_fields.read(weight_fields.DDCONFIG, fields["ddconfig"], "ddconfig.")
    multipliers = inner["ch_mult"]
    return {
        **_taming_like(len(multipliers), inner["num_res_blocks"]),
        "image_size": inner["resolution"],
        "base_dim": inner["ch"],
        "dim_multipliers": multipliers,
        "attention_levels": _levels(
            inner["resolution"], len(multipliers), inner["attn_resolutions"]
        ),
        "mid_attention": True,
        "latent_dim": inner["z_channels"],
        "code_dim": fields["embed_dim"],
        "num_codes": fields["n_embed"],
    }


def _from_llamagen(fields: dict[str, Any]) -> dict[str, Any]:
    multipliers = fields["encoder_ch_mult"]
    if fields["decoder_ch_mult"] != multipliers:
        raise ValueError(
            f"source config: decoder_ch_mult={list(fields['decoder_ch_mult'])} must equal "
            f"encoder_ch_mult={list(multipliers)} to be converted"
        )
    return {
        **_taming_like(len(multipliers), fields["num_res_blocks"]),
        "base_dim": fields["ch"],
        "dim_multipliers": multipliers,
        "attention_levels": (len(multipliers) - 1,),
        "mid_attention": True,
        "latent_dim": fields["z_channels"],
        "code_dim": fields["codebook_embed_dim"],
        "num_codes": fields["codebook_size"],
        "normalize_codes": fields["codebook_l2_norm"],
    }


def _from_maskgit(fields: dict[str, Any]) -> dict[str, Any]:
    multipliers, num_blocks = fields["channel_multipliers"], fields["num_res_blocks"]
    return {
        "base_dim": fields["filters"],
        "dim_multipliers": multipliers,
        "encoder_blocks": (num_blocks,) * len(multipliers),
        "decoder_blocks": (num_blocks,) * len(multipliers),
        "num_mid_blocks": num_blocks,
        "latent_dim": fields["embedding_dim"],
        "code_dim": fields["embedding_dim"],
        "num_codes": fields["codebook_size"],
    }


def _from_lvm_xh(fields: dict[str, Any]) -> dict[str, Any]:
    changes = _from_maskgit(
        {**fields, "channel_multipliers": fields["ch_mult"], "num_res_blocks": 2}
    )
    return {**changes, "upsample": "depth_to_space", "shortcut_source": "input"}


def _from_diffusers(fields: dict[str, Any]) -> dict[str, Any]:
    channels = fields["block_out_channels"]
    if not channels or any(dim < 1 or dim % channels[0] for dim in channels):
        raise ValueError(
            f"source config: block_out_channels={list(channels)} must be multiples of the first"
        )
    attends = {}
    for name, kinds in (
        ("down_block_types", ("DownEncoderBlock2D", "AttnDownEncoderBlock2D")),
        ("up_block_types", ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")),
    ):
        types = fields[name]
        if len(types) != len(channels) or not set(types) <= set(kinds):
            raise ValueError(
                f"source config: {name}={list(types)} must be {len(channels)} of "
                f"{' and '.join(kinds)} to be converted"
            )
        attends[name] = tuple(kinds.index(kind) for kind in types)
    if attends["down_block_types"] != attends["up_block_types"][::-1]:
        raise ValueError(
            "source config: down_block_types and up_block_types must have attention at the same "
            "resolutions to be converted"
        )
    levels = tuple(n for n, attention in enumerate(attends["down_block_types"]) if attention)
    code_dim = fields["vq_embed_dim"]
    return {
        **_taming_like(len(channels), fields["layers_per_block"]),
        "base_dim": channels[0],
        "dim_multipliers": tuple(dim // channels[0] for dim in channels),
        "attention_levels": levels,
        "mid_attention": fields["mid_block_add_attention"],
        "latent_dim": fields["latent_channels"],
        "code_dim": fields["latent_channels"] if code_dim is None else code_dim,
        "num_codes": fields["num_vq_embeddings"],
        "norm_groups": fields["norm_num_groups"],
    }
