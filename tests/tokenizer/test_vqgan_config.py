"""Presets match the published models; a geometry that cannot work is refused by name."""

import dataclasses

import pytest

from lvm_jax import configs, trees
from lvm_jax.tokenizer import vqgan
from lvm_jax.tokenizer.vqgan_config import PRESETS, VQGANConfig

# Millions of parameters as published; openMUSE's exactly (584.98 MB of float32).
PUBLISHED = {
    "taming_f16_1024": 72.1,
    "taming_f16_16384": 76.1,
    "llamagen_f16_16384": 71.9,
    "maskgit_f16_1024": 54.5,
    "lvm_xh_f16_8192": 64.3,
}


def test_openmuse_has_its_exact_parameter_count():
    params = vqgan.abstract_params(PRESETS["openmuse_f16_8192"])
    assert trees.count_parameters(params) == 146_244_675


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name):
    count = trees.count_parameters(vqgan.abstract_params(PRESETS[name]))
    assert round(count / 1e6, 1) == PUBLISHED[name]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_the_round_trip_through_json_types(name):
    config = PRESETS[name]
    assert configs.build(VQGANConfig, configs.to_dict(config), "tokenizer") == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 18}, "image_size=18 must be a multiple of the downsampling 4"),
        ({"encoder_blocks": (1,)}, r"encoder_blocks=\(1,\) must give at least 1 block"),
        ({"norm_groups": 3}, "norm_groups=3 must divide"),
        ({"attention_levels": (2,)}, "attention_levels"),
        ({"quant_convs": False}, "latent_dim=16 must equal code_dim=4"),
        ({"num_codes": 2**16}, "num_codes=65536 must be in"),
        ({"num_mid_blocks": 0, "mid_attention": True}, "num_mid_blocks=0"),
        ({"upsample": "bilinear"}, "upsample='bilinear' must be one of"),
        ({"patch_size": 0}, "patch_size=0 must be at least 1"),
        ({"norm_groups": 0}, "norm_groups=0 must be at least 1"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        dataclasses.replace(PRESETS["debug"], **changes)
    assert "\n" not in str(error.value)
