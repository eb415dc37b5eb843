"""Geometry in the field names of each VQGAN's owner <-> `VQGANConfig`.

A field that we do not know is refused, because it may change the network; one that is known to
change nothing is listed as ignored. Fields left out take the owner's default. Two fields of ours
are understood in every format, for what most formats leave to the code around them: `pixel_range`
and `image_size`.
"""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from lvm_jax.tokenizer.vqgan_config import VQGANConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Schema:
    """The fields of a format.

    Attributes:
        fields: name -> the owner's default; its type is the type that is accepted, [0] means a list
            of integers and [""] one of strings.
        fixed: name -> the values that leave the network as we build it.
        ignored: names that do not change the network.
        required: names of `fields` that the owner gives no default.
        pixel_range: what the owner's code feeds the network.
    """

    fields: Mapping[str, Any]
    fixed: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    pixel_range: str = "zero_one"


_DDCONFIG = _Schema(
    fields={
        "ch": 128,
        "ch_mult": [1, 2, 4, 8],
        "num_res_blocks": 2,
        "attn_resolutions": [0],
        "z_channels": 256,
        "resolution": 256,
    },
    fixed={
        "in_channels": (3,),
        "out_ch": (3,),
        "double_z": (False,),
        "resamp_with_conv": (True,),
        "give_pre_end": (False,),
        "use_linear_attn": (False,),
        "attn_type": ("vanilla",),
    },
    ignored=frozenset({"dropout"}),
    required=frozenset({"ch", "num_res_blocks", "attn_resolutions", "z_channels", "resolution"}),
)

_SCHEMAS = {
    "openmuse": _Schema(
        fields={
            "hidden_channels": 128,
            "channel_mult": [1, 1, 2, 2, 4],
            "num_res_blocks": 2,
            "decoder_res_blocks": None,
            "attn_resolutions": [16],
            "no_attn_mid_block": False,
            "z_channels": 256,
            "num_embeddings": 1024,
            "quantized_embed_dim": 256,
            "resolution": 256,
        },
        fixed={
            "num_channels": (3,),
            "double_z": (False,),
            "resample_with_conv": (True,),
            "extra_mid_res_blocks": (None, 0),
            "decoder_hidden_channels": (None,),
            "decoder_channel_mult": (None,),
        },
        ignored=frozenset(
            {"commitment_cost", "dropout", "num_resolutions", "reduction_factor", "latent_size"}
        ),
    ),
    "taming": _Schema(
        fields={"embed_dim": 256, "n_embed": 1024, "ddconfig": {}},
        fixed={"remap": (None,)},
        # Latent diffusion's are the last ones.
        ignored=frozenset(
            {"lossconfig", "ckpt_path", "ignore_keys", "image_key", "monitor", "sane_index_shape"}
            | {"colorize_nlabels", "batch_resize_range", "scheduler_config"}
            | {"lr_g_factor", "use_ema"}
        ),
        required=frozenset({"embed_dim", "n_embed", "ddconfig"}),
        pixel_range="minus_one_one",
    ),
    "llamagen": _Schema(
        fields={
            "codebook_size": 16384,
            "codebook_embed_dim": 8,
            "codebook_l2_norm": True,
            "encoder_ch_mult": [1, 1, 2, 2, 4],
            "decoder_ch_mult": [1, 1, 2, 2, 4],
            "z_channels": 256,
            "ch": 128,
            "num_res_blocks": 2,
        },
        fixed={
            "in_channels": (3,),
            "out_channels": (3,),
            "norm_type": ("group",),
            "resamp_with_conv": (True,),
        },
        ignored=frozenset(
            {"codebook_show_usage", "commit_loss_beta", "entropy_loss_ratio", "dropout_p"}
        ),
        pixel_range="minus_one_one",
    ),
    "maskgit": _Schema(
        fields={
            "filters": 128,
            "num_res_blocks": 2,
            "channel_multipliers": [1, 1, 2, 2, 4],
            "embedding_dim": 256,
            "codebook_size": 1024,
        },
        fixed={
            "output_dim": (3,),
            "conv_downsample": (False,),
            "norm_type": ("GN",),
            "activation_fn": ("swish",),
            "quantizer": ("vq",),
        },
        ignored=frozenset(
            {
                "commitment_cost",
                "entropy_loss_ratio",
                "entropy_loss_type",
                "entropy_temperature",
            }
        ),
    ),
    "lvm_xh": _Schema(
        fields={
            "filters": 128,
            "ch_mult": [1, 1, 2, 2, 4],
            "embedding_dim": 32,
            "codebook_size": 8192,
        },
        fixed={"num_res_blocks": (2,), "conv_downsample": (False,), "out_channels": (3,)},
        ignored=frozenset({"beta"}),
    ),
    "diffusers": _Schema(
        fields={
            "down_block_types": ["DownEncoderBlock2D"],
            "up_block_types": ["UpDecoderBlock2D"],
            "block_out_channels": [64],
            "layers_per_block": 1,
            "latent_channels": 3,
            "num_vq_embeddings": 256,
            "norm_num_groups": 32,
            "vq_embed_dim": None,
            "mid_block_add_attention": True,
        },
        fixed={
            "in_channels": (3,),
            "out_channels": (3,),
            "act_fn": ("silu", "swish"),
            "norm_type": ("group",),
        },
        # Published models keep the default sample_size whatever they were trained on.
        ignored=frozenset(
            {"sample_size", "scaling_factor", "lookup_from_codebook", "force_upcast"}
        ),
    ),
}


def from_source(format: str, values: Mapping[str, Any]) -> VQGANConfig:
    """Reads a geometry in a format's own field names.

    Args:
        format: one of `weight_names.FORMATS`.
        values: the fields, as the owner's JSON or YAML holds them.

    Raises:
        ValueError: a field that is unknown, missing, of another type, or that describes a network
            which `VQGANConfig` cannot; names it.
    """
    schema = _SCHEMAS[format]
    values = dict(values)
    pixel_range = values.pop("pixel_range", schema.pixel_range)
    image_size = values.pop("image_size", None)
    if image_size is not None:
        image_size = _checked("image_size", image_size, 256)
    fields = _read(schema, values, "")
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
    return VQGANConfig(pixel_range=pixel_range, **changes)


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
    if config.pixel_range != _SCHEMAS[format].pixel_range:
        values["pixel_range"] = config.pixel_range
    if format == "diffusers" and config.image_size != VQGANConfig.image_size:
        values["image_size"] = config.image_size
    found = from_source(format, values)
    lost = [
        f"{field.name}={getattr(config, field.name)}"
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(found, field.name)
    ]
    if lost:
        raise ValueError(f"the {format} format has no network with {', '.join(lost)}")
    return values


def _read(schema: _Schema, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    known = [*schema.fields, *schema.fixed, *schema.ignored]
    for name, value in values.items():
        if name in schema.fixed:
            if not any(value == v and type(value) is type(v) for v in schema.fixed[name]):
                allowed = " or ".join(map(repr, schema.fixed[name]))
                raise ValueError(
                    f"source config: {prefix}{name}={value!r} is another network; only {allowed} "
                    "can be converted"
                )
        elif name not in known and not name.startswith("_"):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"source config: unknown field {prefix}{name}={value!r}; {hint}")
    missing = [prefix + name for name in sorted(schema.required) if name not in values]
    if missing:
        raise ValueError(f"source config: {', '.join(missing)} must be given")
    return {
        name: _checked(prefix + name, values.get(name, default), default)
        for name, default in schema.fields.items()
    }


def _checked(name: str, value: Any, example: Any) -> Any:
    """The value, if it is of the example's type; lists may be tuples, and become tuples."""
    if isinstance(example, list):
        kind = type(example[0])
        if not isinstance(value, list | tuple) or any(type(item) is not kind for item in value):
            raise ValueError(f"source config: {name}={value!r} must be a list of {kind.__name__}")
        return tuple(value)
    optional = example is None
    kind = int if optional else type(example)
    if type(value) is not kind and not (optional and value is None):
        raise ValueError(f"source config: {name}={value!r} must be of type {kind.__name__}")
    return value


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
    inner = _read(_DDCONFIG, fields["ddconfig"], "ddconfig.")
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
