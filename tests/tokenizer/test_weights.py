"""Other projects' VQGANs: their ids and pixels, exact round trips, clear refusals.

goldens/make_vqgans.py made the goldens: 2 levels, 32 base channels, 64 codes.
"""

import dataclasses
import functools
import json
import os
import pathlib

import flax.serialization
import jax
import numpy as np
import pytest
import safetensors.numpy

from lvm_jax import trees
from lvm_jax.tokenizer import codec, vqgan, weight_names, weights
from lvm_jax.tokenizer.vqgan_config import PRESETS
from lvm_jax.weight_files.stored_arrays import Stored
from tests.tokenizer.goldens import draw

GOLDENS = pathlib.Path(__file__).parent / "goldens"


@functools.cache
def golden(format):
    """(source config, {name: array}, ids, images) of a format."""
    with np.load(GOLDENS / f"vqgan_{format}.npz") as file:
        source = json.loads(str(file["source"]))
        return source["config"], draw.weights(source["shapes"]), file["ids"], file["images"]


def write(path, format, arrays):
    """A weights file of the container that needs no torch to write."""
    if format == "maskgit":
        path.write_bytes(flax.serialization.msgpack_serialize({"params": trees.unflatten(arrays)}))
    else:
        safetensors.numpy.save_file(arrays, str(path))
    return path


def read_golden(tmp_path, format, **changes):
    source_config, arrays, _, _ = golden(format)
    path = write(tmp_path / "weights", format, {**arrays, **changes})
    return weights.read_weights(path, format, source_config=source_config)


@pytest.mark.parametrize("format", weights.FORMATS)
def test_ids_and_pixels_are_those_of_the_original(format, tmp_path):
    config, params = read_golden(tmp_path, format)
    _, _, ids, images = golden(format)

    @jax.jit
    def run(params, pictures, ids):
        z = vqgan.encode(config, params, pictures)
        return vqgan.lookup(config, params, z), vqgan.decode_ids(config, params, ids)

    with jax.default_matmul_precision("highest"):
        encoded, decoded = run(params, draw.images(), ids)
    np.testing.assert_array_equal(encoded, ids)
    np.testing.assert_allclose(decoded, images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("format", weights.FORMATS)
def test_names_of_published_presets_are_one_to_one(format):
    for preset in weights.FORMAT_PRESETS[format]:
        names = weight_names.source_names(format, PRESETS[preset])
        assert len(set(names.values())) == len(names)
        shapes = weight_names.source_shapes(format, PRESETS[preset])
        sizes = sum(int(np.prod(shape)) for shape in shapes.values())
        assert sizes == trees.count_parameters(vqgan.abstract_params(PRESETS[preset]))


@pytest.mark.parametrize(
    "format, names",
    [
        ("taming", {"decoder.up.4.attn.2.proj_out.weight", "encoder.mid.attn_1.q.bias"}),
        ("llamagen", {"decoder.conv_blocks.0.attn.2.norm.weight", "encoder.mid.2.conv1.weight"}),
        ("diffusers", {"decoder.up_blocks.3.upsamplers.0.conv.bias", "quantize.embedding.weight"}),
        (
            "maskgit",
            {
                "encoder/ResBlock_11/Conv_1/kernel",
                "decoder/Conv_5/bias",
                "decoder/ResBlock_8/Conv_2/kernel",
            },
        ),
        (
            "lvm_xh",
            {"encoder.blocks.11.norm2.bias", "decoder.up_convs.3.weight", "decoder.conv6.weight"},
        ),
    ],
)
def test_published_names(format, names):
    preset = PRESETS[weights.FORMAT_PRESETS[format][0]]
    assert names <= set(weight_names.source_names(format, preset).values())


@pytest.mark.parametrize("format", ["openmuse", "diffusers"])
@pytest.mark.parametrize("source", ["openmuse", "taming", "diffusers"])
def test_round_trips_are_exact(source, format, tmp_path):
    config, params = read_golden(tmp_path, source)
    if (source, format) == ("diffusers", "openmuse"):
        with pytest.raises(
            ValueError, match=r"the openmuse format has no network with .*norm_groups=8"
        ):
            weights.to_format(format, dataclasses.replace(config, attention_levels=()), params)
        return
    weights.write_weights(tmp_path / "out", format, config, params)
    # Each of the files that are written alone, as far as there are several.
    for name in weights.EXPORT_FILES[format]:
        again = weights.read_weights(tmp_path / "out", format)
        assert again[0] == config
        assert codec.fingerprint(*again) == codec.fingerprint(config, params)
        (tmp_path / "out" / name).unlink()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


@pytest.mark.parametrize("format", ["openmuse", "diffusers"])
def test_who_may_read_what_is_written_is_decided_by_the_umask(format, tmp_path):
    config, params = read_golden(tmp_path, "openmuse" if format == "openmuse" else "taming")
    before = os.umask(0o007)
    try:
        weights.write_weights(tmp_path / "theirs", format, config, params)
        codec.save_tokenizer(tmp_path / "ours", config, params)
    finally:
        os.umask(before)
    files = [*(tmp_path / "theirs").iterdir(), *(tmp_path / "ours").iterdir()]
    assert len(files) == len(weights.EXPORT_FILES[format]) + 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o660}


@pytest.mark.parametrize("format", ["openmuse", "diffusers"])
def test_what_is_written_is_what_was_read(format, tmp_path):
    """Names, layout and bytes of the owner's own file."""
    config, params = read_golden(tmp_path, format)
    fields, arrays = weights.to_format(format, config, params)
    source_config, original, _, _ = golden(format)
    assert {n: a.tobytes() for n, a in arrays.items()} == {
        n: a.tobytes() for n, a in original.items()
    }
    assert all(a.shape == original[n].shape for n, a in arrays.items())
    shared = fields.keys() & source_config.keys() - {"sample_size"}
    assert len(shared) > 8
    assert {k: fields[k] for k in shared} == {k: source_config[k] for k in shared}


def test_half_precision_is_widened(tmp_path):
    source_config, arrays, _, _ = golden("openmuse")
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    path = write(tmp_path / "half", "openmuse", halves)
    _, params = weights.read_weights(path, "openmuse", source_config=source_config)
    kernel = halves["encoder.conv_in.weight"].astype(np.float32).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(params["encoder"]["conv_in"]["kernel"], kernel)


def test_losses_and_usage_counters_are_left_out(tmp_path):
    extra = {"loss.discriminator.main.0.weight": np.ones((4, 3, 4, 4), np.float32)}
    config, _ = read_golden(tmp_path, "taming", **extra)
    assert config.code_dim == 8
    config, _ = read_golden(tmp_path, "llamagen", **{"quantize.codebook_used": np.zeros(9)})
    assert config.normalize_codes


def test_nan_is_refused_by_name(tmp_path):
    bad = {"decoder.norm_out.bias": np.full(32, np.nan, np.float32)}
    with pytest.raises(ValueError, match=r"not finite, first in decoder\.norm_out\.bias"):
        read_golden(tmp_path, "openmuse", **bad)


def test_differences_are_listed_in_the_owners_names(tmp_path):
    changes = {
        "encoder.conv_in.weight": np.zeros((32, 3, 5, 5), np.float32),
        "quantize.embedding.weight": np.zeros((63, 8), np.float32),
        "encoder.surprise": np.zeros(1, np.float32),
        "quantize.steps": np.zeros(1, np.float32),
    }
    with pytest.raises(ValueError) as error:
        read_golden(tmp_path, "openmuse", **changes)
    message = str(error.value)
    assert "encoder.conv_in.weight has shape (32, 3, 5, 5), not (32, 3, 3, 3)" in message
    assert "encoder.surprise is unexpected" in message
    assert "quantize.embedding.weight has shape (63, 8), not (64, 8); and 1 more" in message
    assert "\n" not in message


@pytest.fixture
def published(monkeypatch):
    """published(format, preset) stands in for reading a published file, without its 300 MB."""

    def stand_in(format, preset):
        shapes = weight_names.source_shapes(format, PRESETS[preset])
        stored = {name: Stored(shape, "float32", None) for name, shape in shapes.items()}
        monkeypatch.setattr(weights.reader, "read", lambda path: (stored, None))

    return stand_in


@pytest.mark.parametrize(
    "given, fits",
    [
        (("taming", "taming_f16_1024"), ("taming", "taming_f16_16384")),
        (("openmuse", None), ("taming", "taming_f16_1024")),
        (("taming", None), ("llamagen", "llamagen_f16_16384")),
        (("diffusers", None), ("openmuse", "openmuse_f16_8192")),
        (("llamagen", None), ("maskgit", "maskgit_f16_1024")),
        (("maskgit", None), ("lvm_xh", "lvm_xh_f16_8192")),
    ],
)
def test_a_misfit_names_what_would_fit(given, fits, published):
    published(*fits)
    with pytest.raises(ValueError, match=f"fits format={fits[0]} preset={fits[1]}$"):
        weights.read_weights("file", given[0], preset=given[1])


@pytest.mark.parametrize("preset", ["taming_f16_1024", "taming_f16_16384"])
def test_the_size_of_a_published_codebook_is_found(preset, published, monkeypatch):
    published("taming", preset)
    monkeypatch.setattr(weights, "_convert", lambda *_: {})
    assert weights.read_weights("file", "taming")[0] == PRESETS[preset]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"format": "muse"}, "format='muse' is unknown; use one of openmuse, taming"),
        (
            {"format": "taming", "preset": "taming"},
            "preset='taming' is unknown; use one of openmuse",
        ),
        ({"format": "taming", "preset": "debug", "source_config": {}}, "not both"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        weights.read_weights("nowhere", **arguments)
