"""The fields in which each VQGAN's owner writes its geometry, and what they may hold.

A field that we do not know is refused, because it may change the network; one that is known to
change nothing is listed as ignored. Fields left out take the owner's default.
"""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
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


DDCONFIG = Schema(
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

SCHEMAS = {
    "openmuse": Schema(
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
    "taming": Schema(
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
    "llamagen": Schema(
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
    "maskgit": Schema(
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
    "lvm_xh": Schema(
        fields={
            "filters": 128,
            "ch_mult": [1, 1, 2, 2, 4],
            "embedding_dim": 32,
            "codebook_size": 8192,
        },
        fixed={"num_res_blocks": (2,), "conv_downsample": (False,), "out_channels": (3,)},
        ignored=frozenset({"beta"}),
    ),
    "diffusers": Schema(
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


def read(schema: Schema, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The fields of a schema with the owner's defaults for those that are not given.

    Args:
        schema: the fields.
        values: what is given.
        prefix: what messages put before a name.

    Raises:
        ValueError: a field that is unknown, missing, of another type, or that describes another
            network; names it.
    """
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
        name: checked(prefix + name, values.get(name, default), default)
        for name, default in schema.fields.items()
    }


def checked(name: str, value: Any, example: Any) -> Any:
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
