"""The tokenizer as others use it: batch invariance, the directory, and what it refuses."""

import json
import shutil

import jax
import numpy as np
import pytest

import lvm_jax
from lvm_jax import trees
from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.tokenizer import codec, vqgan
from lvm_jax.tokenizer.vqgan_config import PRESETS

CONFIG = PRESETS["debug"]
PIXELS = np.random.default_rng(1).integers(0, 256, (17, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def params():
    params = vqgan.init_params(CONFIG, 0)
    # The initial codes are close together, so ids would hardly vary.
    z = vqgan.encode(CONFIG, params, PIXELS[:2].astype(np.float32) / 255)
    return {**params, "codebook": np.asarray(z).reshape(-1, CONFIG.code_dim)}


@pytest.fixture(scope="module")
def tokenizer(params):
    return codec.Tokenizer(CONFIG, params)


@pytest.fixture
def directory(tmp_path, params):
    codec.save_tokenizer(tmp_path / "tokenizer", CONFIG, params)
    return tmp_path / "tokenizer"


def test_ids_do_not_depend_on_the_batch(params):
    tokenizer = codec.Tokenizer(CONFIG, params, chunk_size=8)
    ids = tokenizer.encode(PIXELS)
    assert (ids.shape, ids.dtype) == ((17, 16), np.int32)
    assert len(np.unique(ids)) > 8
    for size in (1, 3):
        parts = [tokenizer.encode(PIXELS[i : i + size]) for i in range(0, 17, size)]
        np.testing.assert_array_equal(np.concatenate(parts), ids)
    images = tokenizer.decode(ids)
    np.testing.assert_array_equal(tokenizer.decode(ids[5:6])[0], images[5])


def test_ids_do_not_depend_on_the_chunk(params, tokenizer):
    other = codec.Tokenizer(CONFIG, params, chunk_size=3)
    np.testing.assert_array_equal(other.encode(PIXELS), tokenizer.encode(PIXELS))


@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 2, 2)])
def test_ids_do_not_depend_on_the_devices(params, sizes):
    alone = codec.Tokenizer(CONFIG, params, chunk_size=3)
    config = MeshConfig(**dict(zip(("data", "fsdp", "tensor"), sizes)))
    devices = jax.local_devices()[: np.prod(sizes)]
    many = codec.Tokenizer(CONFIG, params, chunk_size=3, mesh=make_mesh(config, devices))
    ids = alone.encode(PIXELS)
    # One image, a part of a round, and more than a round of all devices.
    for stop in (1, 5, len(PIXELS)):
        np.testing.assert_array_equal(many.encode(PIXELS[:stop]), ids[:stop])
    np.testing.assert_array_equal(many.decode(ids), alone.decode(ids))
    used = many._encode(many._params, PIXELS[np.zeros(3 * many.mesh.size, int)]).sharding.device_set
    assert used == set(devices) and alone.mesh.size == 1


def test_a_mesh_of_other_processes_is_refused(params, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    mesh = make_mesh(MeshConfig(), jax.devices()[:2])
    with pytest.raises(ValueError, match=r"has 2 devices of other processes; give a mesh over"):
        codec.Tokenizer(CONFIG, params, mesh=mesh)


def test_bytes_and_floats_are_the_same_image(tokenizer):
    floats = PIXELS.astype(np.float32) / 255
    np.testing.assert_array_equal(tokenizer.encode(floats), tokenizer.encode(PIXELS))


def test_an_empty_batch(tokenizer):
    assert tokenizer.encode(PIXELS[:0]).shape == (0, 16)
    assert tokenizer.decode(np.zeros((0, 16), np.int32)).shape == (0, 16, 16, 3)


def test_decoded_images_are_clipped(tokenizer):
    images = tokenizer.decode(tokenizer.encode(PIXELS))
    assert images.dtype == np.float32
    assert images.min() >= 0.0 and images.max() <= 1.0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PIXELS[0], r"images of shape \(16, 16, 3\) do not fit"),
        (PIXELS[:, :8], r"do not fit this tokenizer; give \[B, 16, 16, 3\]"),
        (PIXELS.astype(np.float32), r"float images span \[0, 255\]; give values in \[0, 1\]"),
        (np.full((1, 16, 16, 3), np.nan, np.float32), "span"),
        (PIXELS.astype(np.int64), "dtype int64 must be uint8 or floats"),
    ],
)
def test_encode_refuses(tokenizer, images, message):
    with pytest.raises(ValueError, match=message):
        tokenizer.encode(images)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.full((1, 16), 32), r"ids span \[32, 32\] but codes are 0..31"),
        (np.full((1, 16), -1), r"ids span \[-1, -1\]"),
        (np.zeros((1, 15), int), r"must be \[B, 16\]"),
        (np.zeros((1, 16)), "must be integers"),
    ],
)
def test_decode_refuses_instead_of_wrapping(tokenizer, ids, message):
    with pytest.raises(ValueError, match=message):
        tokenizer.decode(ids)


def test_a_saved_tokenizer_comes_back_whole(directory, tokenizer):
    loaded = lvm_jax.load_tokenizer(str(directory))
    assert loaded.config == CONFIG
    assert loaded.fingerprint == tokenizer.fingerprint
    assert trees.fingerprint(loaded.params) == trees.fingerprint(tokenizer.params)
    assert (loaded.image_size, loaded.tokens_per_image, loaded.num_codes) == (16, 16, 32)
    np.testing.assert_array_equal(loaded.encode(PIXELS), tokenizer.encode(PIXELS))


def test_half_of_the_space_is_another_tokenizer_once(params, tokenizer, directory, tmp_path):
    codec.save_tokenizer(tmp_path / "half", CONFIG, params, dtype="bfloat16")
    half = codec.load_tokenizer(tmp_path / "half")
    assert half.fingerprint != tokenizer.fingerprint
    size = lambda folder: (folder / codec.WEIGHTS_FILE).stat().st_size
    assert size(tmp_path / "half") < 0.6 * size(directory)
    for leaf, wanted in zip(jax.tree.leaves(half.params), jax.tree.leaves(params), strict=True):
        assert leaf.dtype == np.float32
        np.testing.assert_allclose(leaf, wanted, rtol=2**-8)  # of eight bits, half the last
    # What was rounded before stays what it is, however it is stored.
    for dtype in ("bfloat16", "float32"):
        codec.save_tokenizer(tmp_path / dtype, CONFIG, half.params, dtype=dtype)
        assert codec.load_tokenizer(tmp_path / dtype).fingerprint == half.fingerprint


def test_the_fingerprint_sees_weights_and_settings(params, tokenizer):
    bias = params["encoder"]["conv_out"]["bias"]
    changed = {**params, "encoder": {**params["encoder"]}}
    changed["encoder"]["conv_out"] = {**params["encoder"]["conv_out"], "bias": bias + 1e-6}
    assert codec.fingerprint(CONFIG, changed) != tokenizer.fingerprint
    other = codec.dataclasses.replace(CONFIG, pixel_range="zero_one")
    assert codec.fingerprint(other, params) != tokenizer.fingerprint


def test_missing_files_are_named(directory):
    with pytest.raises(ValueError, match=r"no tokenizer in .*config.json is missing"):
        codec.load_tokenizer(directory.parent)
    (directory / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match=r"cannot read weights .*weights.safetensors"):
        codec.load_tokenizer(directory)


def test_a_file_cut_short_is_named(directory):
    weights = directory / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"weights.safetensors"):
        codec.load_tokenizer(directory)


def test_altered_weights_are_refused(directory, params):
    other = {**params, "codebook": np.asarray(params["codebook"])[::-1].copy()}
    trees.save_safetensors(directory / "weights.safetensors", other)
    with pytest.raises(ValueError, match="was altered: its fingerprint is"):
        codec.load_tokenizer(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format_version=99), "has format version 99; this program reads 1"),
        (lambda c: c["tokenizer"].update(num_code=1), "unknown key .*num_code=1"),
        (lambda c: c["tokenizer"].update(code_dim=8), "do not fit the configuration: codebook"),
        (lambda c: c.pop("fingerprint"), "is not a tokenizer's configuration"),
    ],
)
def test_an_altered_configuration_is_refused(directory, change, message):
    file = directory / "config.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        codec.load_tokenizer(directory)


@pytest.mark.parametrize("files", [{"config.json": '{"kind": "tokenizer"}'}, {}])
def test_the_folder_around_a_tokenizer_names_it(directory, tmp_path, files):
    (tmp_path / "run").mkdir()
    for name, text in files.items():
        (tmp_path / "run" / name).write_text(text)
    with pytest.raises(ValueError, match="missing; give a directory written by train_tokenizer"):
        codec.load_tokenizer(tmp_path / "run")
    shutil.copytree(directory, tmp_path / "run" / "tokenizer")
    with pytest.raises(ValueError, match=r"the tokenizer of this training is in .*run/tokenizer$"):
        codec.load_tokenizer(tmp_path / "run")


def test_weights_that_are_not_finite_are_refused(tmp_path, params):
    bad = {**params, "codebook": np.full((32, 4), np.nan, np.float32)}
    with pytest.raises(ValueError, match="not finite, first in codebook"):
        codec.save_tokenizer(tmp_path, CONFIG, bad)


def test_stored_weights_that_are_not_finite_are_refused(directory, params):
    bad = {**params, "codebook": np.full((32, 4), np.inf, np.float32)}
    trees.save_safetensors(directory / "weights.safetensors", bad)
    with pytest.raises(ValueError, match=r"weights\.safetensors hold .* not finite, .* codebook"):
        codec.load_tokenizer(directory)


def test_a_place_that_cannot_be_written_is_named(tmp_path, params):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write tokenizer .*file"):
        codec.save_tokenizer(tmp_path / "file" / "tokenizer", CONFIG, params)
