"""Geometry in the owners' field names: published models, round trips, and what is refused."""

import dataclasses

import pytest

from lvm_jax.tokenizer import weight_configs
from lvm_jax.tokenizer.vqgan_config import PRESETS

OPENMUSE = {
    "_class_name": "VQGANModel",
    "hidden_channels": 128,
    "channel_mult": [1, 2, 2, 4, 6],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "no_attn_mid_block": True,
    "z_channels": 64,
    "quantized_embed_dim": 64,
    "num_embeddings": 8192,
    "resample_with_conv": True,
    "commitment_cost": 0.25,
    "dropout": 0.0,
    "resolution": 256,
}
DDCONFIG = {
    "double_z": False,
    "z_channels": 256,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 1, 2, 2, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [16],
    "dropout": 0.0,
}
DIFFUSERS = {
    "block_out_channels": [128, 256, 256, 512, 768],
    "down_block_types": ["DownEncoderBlock2D"] * 5,
    "up_block_types": ["UpDecoderBlock2D"] * 5,
    "layers_per_block": 2,
    "latent_channels": 64,
    "num_vq_embeddings": 8192,
    "vq_embed_dim": 64,
    "mid_block_add_attention": False,
    "sample_size": 32,
}


@pytest.mark.parametrize(
    "format, values, preset",
    [
        ("openmuse", OPENMUSE, "openmuse_f16_8192"),
        ("taming", {"embed_dim": 256, "n_embed": 16384, "ddconfig": DDCONFIG}, "taming_f16_16384"),
        (
            "taming",
            {
                "embed_dim": 256,
                "n_embed": 1024,
                "ddconfig": {**DDCONFIG, "attn_type": "vanilla"},
                "lossconfig": {"target": "torch.nn.Identity"},
                "monitor": "val/rec_loss",
                "use_ema": True,
            },
            "taming_f16_1024",
        ),
        ("llamagen", {}, "llamagen_f16_16384"),
        ("maskgit", {}, "maskgit_f16_1024"),
        ("lvm_xh", {}, "lvm_xh_f16_8192"),
        ("diffusers", DIFFUSERS, "openmuse_f16_8192"),
    ],
)
def test_published_configs_are_the_presets(format, values, preset):
    assert weight_configs.from_source(format, values) == PRESETS[preset]


def test_defaults_are_the_owners():
    """openMUSE's class describes taming's network unless told otherwise."""
    config = weight_configs.from_source("openmuse", {"pixel_range": "minus_one_one"})
    assert config == PRESETS["taming_f16_1024"]


@pytest.mark.parametrize("format", ["openmuse", "diffusers"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention_levels": (3, 4), "mid_attention": True},
        {"image_size": 512, "num_codes": 100, "pixel_range": "minus_one_one"},
        {"encoder_blocks": (3,) * 5, "decoder_blocks": (4,) * 5},
    ],
)
def test_writing_and_reading_gives_the_same_geometry(format, changes):
    config = dataclasses.replace(PRESETS["openmuse_f16_8192"], **changes)
    fields = weight_configs.to_source(format, config)
    assert weight_configs.from_source(format, fields) == config


@pytest.mark.parametrize(
    "format, changes, message",
    [
        ("openmuse", {"normalize_codes": True}, "no network with normalize_codes=True"),
        ("openmuse", {"norm_groups": 16}, "norm_groups=16"),
        ("diffusers", {"decoder_blocks": (2,) * 5}, "decoder_blocks="),
        ("diffusers", {"patch_size": 2}, "patch_size=2"),
        (
            "openmuse",
            {"downsample": "average", "upsample": "depth_to_space"},
            "downsample=average, upsa",
        ),
        ("taming", {}, "cannot write format 'taming'; use openmuse or diffusers"),
    ],
)
def test_what_a_format_cannot_say_is_named(format, changes, message):
    config = dataclasses.replace(PRESETS["openmuse_f16_8192"], **changes)
    with pytest.raises(ValueError, match=message):
        weight_configs.to_source(format, config)


def test_openmuse_writes_other_decoder_depths():
    config = dataclasses.replace(PRESETS["openmuse_f16_8192"], decoder_blocks=(5,) * 5)
    fields = weight_configs.to_source("openmuse", config)
    assert fields["decoder_res_blocks"] == 4
    assert weight_configs.from_source("openmuse", fields) == config


@pytest.mark.parametrize(
    "format, values, message",
    [
        (
            "openmuse",
            {"chanel_mult": [1]},
            r"unknown field chanel_mult=\[1\]; did you mean channel_mult",
        ),
        (
            "openmuse",
            {"resample_with_conv": False},
            "resample_with_conv=False is another network; only T",
        ),
        ("openmuse", {"channel_mult": 2}, "channel_mult=2 must be a list of int"),
        ("openmuse", {"channel_mult": [1, 1.5]}, "must be a list of int"),
        ("openmuse", {"z_channels": "64"}, "z_channels='64' must be of type int"),
        ("openmuse", {"num_res_blocks": 1}, "skips the attention of levels with a single block"),
        ("openmuse", {"decoder_channel_mult": [1, 2]}, "decoder_channel_mult"),
        ("openmuse", {"image_size": 100}, "source config: image_size=100 must be a multiple"),
        ("openmuse", {"pixel_range": "0..1"}, "source config: pixel_range='0..1' must be one of"),
        ("taming", {"n_embed": 1024}, "ddconfig, embed_dim must be given"),
        (
            "taming",
            {"embed_dim": 4, "n_embed": 8, "ddconfig": {**DDCONFIG, "double_z": True}},
            "ddconfig.double_z=True is another network",
        ),
        (
            "taming",
            {"embed_dim": 4, "n_embed": 8, "ddconfig": {**DDCONFIG, "attn_type": "linear"}},
            "ddconfig.attn_type='linear' is another network; only 'vanilla'",
        ),
        ("llamagen", {"encoder_ch_mult": [1, 2]}, r"decoder_ch_mult=\[1, 1, 2, 2, 4\] must equal"),
        ("llamagen", {"norm_type": "batch"}, "norm_type='batch' is another network; only 'group'"),
        ("maskgit", {"conv_downsample": True}, "conv_downsample=True is another network"),
        ("lvm_xh", {"num_res_blocks": 3}, "num_res_blocks=3 is another network"),
        ("diffusers", {"block_out_channels": [64, 96]}, "must be multiples of the first"),
        ("diffusers", {"down_block_types": ["DownBlock2D"]}, "must be 1 of DownEncoderBlock2D and"),
        ("diffusers", {"down_block_types": ["AttnDownEncoderBlock2D"]}, "at the same resolutions"),
        ("diffusers", {"norm_type": "spatial"}, "norm_type='spatial' is another network"),
    ],
)
def test_refusals_name_the_field(format, values, message):
    with pytest.raises(ValueError, match=message):
        weight_configs.from_source(format, values)
