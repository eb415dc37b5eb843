"""Checkpoints as trainers wrap them: the network is found wherever its names all are."""

import argparse
import itertools
import json
import pathlib

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from lvm_jax import trees
from lvm_jax.tokenizer import codec, vqgan, weights
from lvm_jax.weight_files import entries
from tests.weight_files.goldens import fake_torch

CHECKPOINTS = pathlib.Path(__file__).parent / "goldens" / "checkpoints"
FIELDS = {
    "hidden_channels": 32,
    "channel_mult": [1],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "z_channels": 8,
    "quantized_embed_dim": 4,
    "num_embeddings": 16,
    "resolution": 8,
}
CONFIG = weights.weight_configs.from_source("openmuse", FIELDS)
PARAMS = vqgan.init_params(CONFIG, 3)
ARRAYS = weights.to_format("openmuse", CONFIG, PARAMS)[1]
OTHERS = {name: array + 1 for name, array in ARRAYS.items()}


def under(prefix, arrays=ARRAYS, spell=str):
    return {prefix + spell(name): array for name, array in arrays.items()}


def read(path, **arguments):
    config, params = weights.read_weights(path, "openmuse", source_config=FIELDS, **arguments)
    assert config == CONFIG
    return codec.fingerprint(config, params)


def whose_codes(path, **arguments):
    """1.0 more in every number tells OTHERS from ARRAYS."""
    _, params = weights.read_weights(path, "openmuse", source_config=FIELDS, **arguments)
    return "others" if params["codebook"][0, 0] > PARAMS["codebook"][0, 0] + 0.5 else "arrays"


@pytest.fixture
def said(caplog):
    with caplog.at_level("INFO"):
        yield lambda: "\n".join(caplog.messages)


OPTIMIZER = {
    "state": {0: {"step": 1, "exp_avg": np.ones((32,), np.float32)}},
    "param_groups": [{"lr": 1e-4, "params": [0, 1, 2]}],
}
LIGHTNING = {
    "epoch": 3,
    "global_step": 12,
    "callbacks": {fake_torch.Odd: fake_torch.Odd(best=np.ones(1, np.float32))},
    "hyper_parameters": fake_torch.Odd(lr=1e-4, names=["a", "b"], inner=argparse.Namespace(x=1)),
    "optimizer_states": [OPTIMIZER],
    "loops": {"fit": {"state": {}}},
}
LATENT_DIFFUSION = {
    "betas": np.ones(10, np.float32),
    "model.diffusion_model.conv_in.weight": np.ones((4, 3), np.float32),
    "model_ema.diffusion_modelconv_inweight": np.ones((4, 3), np.float32),
    "model_ema.num_updates": np.ones((), np.int64),
    "cond_stage_model.encoder.conv_in.weight": np.ones((4, 3), np.float32),
    "first_stage_model.loss.discriminator.main.0.weight": np.ones((4, 3), np.float32),
}
WRAPPED = {
    "one process among several": (under("module."), "module."),
    "compiled": ({"model": under("_orig_mod."), "optimizer": OPTIMIZER}, "model/_orig_mod."),
    "both": (under("module._orig_mod."), "module._orig_mod."),
    "compiled in part": (
        {"net": under("", spell=lambda name: name.replace("coder.", "coder._orig_mod."))},
        "net/",
    ),
    "a name nobody knows": (under("generator.vq_0."), "generator.vq_0."),
    "model_state_dict": (
        {"model_state_dict": ARRAYS, "optimizer_state_dict": OPTIMIZER},
        "model_state_dict/",
    ),
    "deep": ({"params": {"state_dict": under("model.")}}, "params/state_dict/model."),
    "lightning": ({"state_dict": under("model."), **LIGHTNING}, "state_dict/model."),
    "latent diffusion": (
        {"state_dict": {**under("first_stage_model."), **LATENT_DIFFUSION}, **LIGHTNING},
        "state_dict/first_stage_model.",
    ),
    "an entry for each part": (
        {
            top: {
                name.removeprefix(top + "."): array
                for name, array in ARRAYS.items()
                if name.startswith(top + ".")
            }
            for top in ("encoder", "decoder", "quantize", "quant_conv", "post_quant_conv")
        },
        "",
    ),
    "the whole model": ({"model": fake_torch.module(ARRAYS)}, "model/"),
    "a list": ([1, {"weights": ARRAYS}], "1/weights/"),
    "quantizer's records": (
        {
            **ARRAYS,
            "quantize.embedding.cluster_size": np.ones(16, np.float32),
            "quantize.embedding.embed_avg": np.ones((16, 4), np.float32),
            "quantize.codebook_used": np.ones(9, np.float32),
        },
        "",
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_the_network_is_found_wherever_it_is(name, tmp_path, said):
    tree, prefix = WRAPPED[name]
    path = fake_torch.save(tmp_path / "last.ckpt", tree)
    assert read(path) == codec.fingerprint(CONFIG, PARAMS)
    (line,) = [line for line in said().splitlines() if "holds the given geometry" in line]
    assert (f"under {prefix!r}" in line) == bool(prefix)


def test_what_is_left_out_is_said_in_one_line(tmp_path, said):
    tree = {"state_dict": {**under("module."), "module.loss.a": ARRAYS["quant_conv.bias"]}}
    tree["optimizer"] = OPTIMIZER
    read(fake_torch.save(tmp_path / "last.ckpt", tree))
    line = said().splitlines()[-1]
    assert "under 'state_dict/module.'; 2 arrays are not used: " in line
    assert line.endswith("state_dict/module.loss.a, optimizer/state/0/exp_avg")


@pytest.mark.parametrize(
    "tree, entry",
    [
        ({"model": ARRAYS, "ema": OTHERS}, "model"),
        ({"a": ARRAYS, "params_ema": OTHERS}, "a"),
        ({**under("net."), **under("net_ema.module.", OTHERS)}, "net"),
        (
            {
                **ARRAYS,
                **under("model_ema.", OTHERS, lambda name: name.replace(".", "")),
                "model_ema.decay": np.ones((), np.float32),
            },
            "",
        ),
        ({"callbacks": {"EMA": {"state_dict": OTHERS}}, "state_dict": ARRAYS}, "state_dict"),
    ],
)
def test_averages_are_preferred_and_the_other_can_be_chosen(tree, entry, tmp_path, said):
    path = fake_torch.save(tmp_path / "last.ckpt", tree)
    assert whose_codes(path) == "others"
    assert f"choose with entry={entry or '/'}" in said()
    assert whose_codes(path, entry=entry or "/") == "arrays"
    with pytest.raises(ValueError, match=r"has no name .* under entry=nothing; it holds "):
        whose_codes(path, entry="nothing")


def test_what_is_nearest_to_the_top_comes_next_and_moments_never(tmp_path):
    path = fake_torch.save(tmp_path / "a", {"b": {"c": OTHERS}, "model": ARRAYS})
    assert whose_codes(path) == "arrays"
    # What flax keeps of an optimizer has the names and shapes of the weights.
    path = fake_torch.save(tmp_path / "a", {"opt_state": {"0": {"mu": OTHERS}}, "q": {"p": ARRAYS}})
    assert whose_codes(path) == "arrays"
    path = fake_torch.save(tmp_path / "a", {"opt_state": {"0": {"mu": OTHERS}}})
    with pytest.raises(ValueError, match=r"has no name of format=openmuse; it holds opt_state/"):
        whose_codes(path)


@pytest.mark.parametrize(
    "container, dtype",
    [
        *itertools.product(("torch", "safetensors"), (np.float16, ml_dtypes.bfloat16, np.float64)),
        ("npz", np.float16),
    ],
)
def test_other_precisions(container, dtype, tmp_path, said):
    arrays = {name: array.astype(dtype) for name, array in under("module.").items()}
    expected = trees.fingerprint(
        weights.read_weights(
            fake_torch.save(
                tmp_path / "a", {name: array.astype(np.float32) for name, array in arrays.items()}
            ),
            "openmuse",
            source_config=FIELDS,
        )[1]
    )
    path = tmp_path / "weights.npz"
    if container == "torch":
        fake_torch.save(path, {"state_dict": arrays})
    elif container == "safetensors":
        safetensors.numpy.save_file(arrays, str(path))
    else:
        np.savez(path, **arrays)
    params = weights.read_weights(path, "openmuse", source_config=FIELDS)[1]
    assert trees.fingerprint(params) == expected
    assert f"{np.dtype(dtype)} becomes float32" in said()


def test_distributed_and_plain_are_equal():
    fingerprints = {
        codec.fingerprint(
            *weights.read_weights(
                CHECKPOINTS / name,
                "taming",
                source_config=json.loads((CHECKPOINTS / "taming.json").read_text()),
            )
        )
        for name in ("plain.pt", "ddp.pt")
    }
    assert len(fingerprints) == 1


def test_old_and_new_names_of_diffusers_are_equal():
    (config, old), (_, new) = (
        weights.read_weights(CHECKPOINTS / name, "diffusers")
        for name in ("diffusers_old", "diffusers_new")
    )
    assert codec.fingerprint(config, old) == codec.fingerprint(config, new)
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    ids = [codec.Tokenizer(config, params).encode(images) for params in (old, new)]
    np.testing.assert_array_equal(*ids)


def test_attention_may_be_matrices_or_kernels_of_one_pixel(tmp_path):
    for form in (lambda a: a[:, :, 0, 0], lambda a: a[..., 0], lambda a: a):
        arrays = {n: form(a) if ".attn_1." in n and a.ndim == 4 else a for n, a in ARRAYS.items()}
        assert read(fake_torch.save(tmp_path / "a", arrays)) == codec.fingerprint(CONFIG, PARAMS)


def test_another_network_is_refused_with_what_is_there(tmp_path):
    missing = under("module.")
    del missing["module.quant_conv.bias"]
    path = fake_torch.save(tmp_path / "a", {"state_dict": missing, "optimizer": OPTIMIZER})
    with pytest.raises(ValueError) as error:
        read(path)
    message = str(error.value)
    assert "under 'state_dict/module.': quant_conv.bias is missing" in message
    assert "it holds state_dict/" in message and "optimizer/" in message and "\n" not in message
    # One more block, under whatever spelling, is another network.
    more = np.ones((32,), np.float32)
    for tree in (
        {**under("module."), "module.encoder.down.0.block.1.norm1.bias": more},
        {
            **under("m.", spell=lambda name: name.replace(".", "")),
            "m.encoderdown0block1norm1bias": more,
        },
    ):
        with pytest.raises(ValueError, match=r"encoder.?down.?0.?block.?1.?norm1.?bias is unexp"):
            read(fake_torch.save(tmp_path / "a", tree))
    path = fake_torch.save(tmp_path / "a", {"model": {"fc.weight": more}, "x": {"fc.bias": more}})
    with pytest.raises(ValueError, match=r"no name of format=openmuse; it holds .*model/.*x/"):
        read(path)


def test_outline():
    names = ["s/m.a.b", "s/m.a.c", "s/m.d", "o/0/x", "o/1/y"]
    assert entries.outline(names, most=2) == "s/m. (3), o/ (2)"
    assert entries.outline(names, most=3) == "s/m.a. (2), s/m.d, o/ (2)"
    assert entries.outline(names[:1]) == "s/m.a.b"
    assert entries.outline(["ab", "ac"]) == "ab, ac"
    assert entries.outline([f"a.{n}" for n in range(6)], most=2) == "a. (6)"
