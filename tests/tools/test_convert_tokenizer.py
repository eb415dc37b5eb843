"""tools/convert_tokenizer.py as a user runs it: there and back, and every refusal in one line."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from lvm_jax import trees
from lvm_jax.tokenizer import codec, vqgan, weights
from lvm_jax.weight_files import reader
from tests import toys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIELDS = {
    "hidden_channels": 32,
    "channel_mult": [1],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "no_attn_mid_block": True,
    "z_channels": 8,
    "quantized_embed_dim": 4,
    "num_embeddings": 16,
    "resolution": 8,
}
CONFIG = toys.OPENMUSE


def run(*flags):
    command = [sys.executable, "tools/convert_tokenizer.py", *map(str, flags)]
    return subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def params():
    return vqgan.init_params(CONFIG, 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory, params):
    """A folder with openmuse.safetensors, its geometry and our own directory of the same."""
    folder = tmp_path_factory.mktemp("files")
    _, arrays = weights.to_format("openmuse", CONFIG, params)
    safetensors.numpy.save_file(arrays, str(folder / "openmuse.safetensors"))
    (folder / "fields.json").write_text(json.dumps(FIELDS))
    content = (folder / "openmuse.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(content[:-100])
    bad = {**arrays, "quant_conv.bias": np.array([np.nan] * 4, np.float32)}
    safetensors.numpy.save_file(bad, str(folder / "nan.safetensors"))
    codec.save_tokenizer(folder / "ours", CONFIG, params)
    return folder


def test_there_and_back_is_exact(files, params, tmp_path):
    fingerprint = codec.fingerprint(CONFIG, params)
    read = [f"--source={files / 'openmuse.safetensors'}", "--format=openmuse"]
    read += [f"--source_config={files / 'fields.json'}", f"--out={tmp_path / 'tokenizer'}"]
    result = run(*read)
    assert result.returncode == 0, result.stderr
    assert f"fingerprint {fingerprint}" in result.stderr
    num_parameters = trees.count_parameters(params)
    assert f"64 ids of 16 codes for a 8-pixel image, {num_parameters:,} param" in result.stderr
    assert codec.load_tokenizer(tmp_path / "tokenizer").fingerprint == fingerprint

    result = run(f"--source={tmp_path / 'tokenizer'}", "--to=openmuse", f"--out={tmp_path / 'out'}")
    assert result.returncode == 0, result.stderr
    back = safetensors.numpy.load_file(str(tmp_path / "out" / "model.safetensors"))
    original = safetensors.numpy.load_file(str(files / "openmuse.safetensors"))
    assert {n: a.tobytes() for n, a in back.items()} == {
        n: a.tobytes() for n, a in original.items()
    }
    # What open-muse's from_pretrained looks for.
    stored, fields = reader.read(tmp_path / "out")
    assert fields["_class_name"] == "VQGANModel" and fields.items() >= FIELDS.items()
    (tmp_path / "out" / "model.safetensors").unlink()
    stored, _ = reader.read(tmp_path / "out" / "pytorch_model.bin")
    assert {n: array.load().tobytes() for n, array in stored.items()} == {
        n: a.tobytes() for n, a in original.items()
    }
    # The folder says its own geometry.
    result = run(f"--source={tmp_path / 'out'}", "--format=openmuse", f"--out={tmp_path / 'again'}")
    assert result.returncode == 0, result.stderr
    assert codec.load_tokenizer(tmp_path / "again").fingerprint == fingerprint

    # The same tokenizer may be written again; another one, or the other direction, may not.
    assert run(*read).returncode == 0
    other = [*read[:2], "--source_config=" + json.dumps({**FIELDS, "pixel_range": "minus_one_one"})]
    result = run(*other, read[-1])
    assert result.returncode == 2
    assert f"holds tokenizer {fingerprint[:12]} already; give another" in result.stderr
    assert codec.load_tokenizer(tmp_path / "tokenizer").fingerprint == fingerprint
    result = run(*other, read[-1], "--overwrite")
    assert result.returncode == 0, result.stderr
    assert codec.load_tokenizer(tmp_path / "tokenizer").config.pixel_range == "minus_one_one"


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--source=none.bin", "--format=openmuse"], "no file none.bin"),
        (["--source=cut.safetensors", "--format=openmuse"], "cut.safetensors is damaged: "),
        (
            ["--source=nan.safetensors", "--format=openmuse", "--source_config=fields.json"],
            "holds values that are not finite, first in quant_conv.bias",
        ),
        (
            [
                "--source=openmuse.safetensors",
                "--format=openmuse",
                '--source_config={"channel_mult": [1], "resolution": 8}',
            ],
            "does not fit --format=openmuse (the given geometry): ",
        ),
        (["--source=ours", "--format=openmuse"], "is an lvm_jax tokenizer already"),
        (["--source=openmuse.safetensors", "--to=openmuse"], "openmuse.safetensors"),
        (["--source=openmuse.safetensors"], "give either --format or --to"),
        (["--source=ours", "--to=openmuse", "--preset=debug"], "--to does not read --preset"),
        (["--source=ours", "--to=openmuse", "--entry=ema"], "--to does not read --entry"),
        (
            [
                "--source=openmuse.safetensors",
                "--format=openmuse",
                "--source_config=fields.json",
                "--entry=ema",
            ],
            "has no name of --format=openmuse under --entry=ema; it holds ",
        ),
        (
            ["--source=openmuse.safetensors", "--format=openmuse", "--source_config={"],
            "--source_config must be JSON or a file of it",
        ),
        (
            ["--source=openmuse.safetensors", "--format=openmuse", '--source_config={"ch": 3}'],
            "source config: unknown field ch=3; known: hidden_channels",
        ),
        (["--source=ours", "--format=vqvae"], "flag --format=vqvae: value should be one of"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(flags, message, files, tmp_path):
    for name in ("source", "source_config"):
        flags = [
            flag.replace(f"--{name}=", f"--{name}={files}/", 1)
            if "{" not in flag and "none" not in flag
            else flag
            for flag in flags
        ]
    result = run(*flags, f"--out={tmp_path / 'out'}")
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not (tmp_path / "out").exists()


def test_help_lists_the_formats():
    result = run("--help")
    assert result.returncode == 0
    for format in weights.FORMATS:
        assert f"\n  {format}" in result.stdout
    assert "--source_config:" in result.stdout
