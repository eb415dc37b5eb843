"""Inception's features against torch-fidelity's and pytorch-fid's, and its files of weights."""

import pathlib

import jax
import numpy as np
import pytest

from lvm_jax import trees
from lvm_jax.configs import ConfigError
from lvm_jax.measures import inception, inception_weights
from lvm_jax.weight_files import torch_files
from tests.measures.goldens import make_inception

GOLDENS = pathlib.Path(__file__).parent / "goldens"


@pytest.fixture(scope="module")
def weights():
    return make_inception.draw_weights()


def test_features_are_those_of_torch(inception_file):
    golden = np.load(GOLDENS / "inception.npz")
    params, _ = inception_weights.load(inception_file)
    run = jax.jit(inception.features)
    for resize in ("tensorflow", "pytorch_fid"):
        prepared = [inception.prepare(image, resize) for image in make_inception.draw_images()]
        features = np.asarray(run(params, np.stack(prepared)))
        # Float32 through 20 layers, in other orders of adding; the two ways differ by 0.7.
        np.testing.assert_allclose(features, golden[resize], atol=1e-3)
        assert np.abs(golden[resize]).max() > 10


def test_other_containers_and_wrappers_give_the_same(weights, inception_file, tmp_path):
    _, fingerprint = inception_weights.load(inception_file)
    torch_files.write_zip(
        tmp_path / "weights.pth", {f"state_dict.module.{k}": v for k, v in weights.items()}
    )
    params, same = inception_weights.load(tmp_path / "weights.pth")
    assert same == fingerprint
    assert params.keys() == inception.kernel_shapes().keys()


def test_weights_of_another_network_are_refused(weights, tmp_path):
    def refused(message, **changes):
        changed = {**weights, **{name.replace("__", "."): new for name, new in changes.items()}}
        kept = {name: array for name, array in changed.items() if array is not None}
        trees.save_safetensors(tmp_path / "weights.safetensors", kept)
        with pytest.raises(ConfigError, match=message) as raised:
            inception_weights.load(tmp_path / "weights.safetensors")
        assert "weights.safetensors" in str(raised.value)
        assert "\n" not in str(raised.value)

    refused(r"1000 classes: another Inception v3, such as", fc__weight=np.zeros((1000, 2048), "f"))
    refused(
        r"there is no Mixed_6e.branch_pool.bn.bias in it; it needs FID's",
        Mixed_6e__branch_pool__bn__bias=None,
    )
    refused(
        r"Conv2d_2a_3x3.bn.bias has shape \(5,\), not \(32,\)",
        Conv2d_2a_3x3__bn__bias=np.zeros(5, np.float32),
    )
    broken = np.full(32, np.nan, np.float32)
    refused("bn.bias holds values that are not finite", Conv2d_2a_3x3__bn__bias=broken)
    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(ConfigError, match="a web page"):
        inception_weights.load(tmp_path / "page.html")


def test_a_picture_of_299_pixels_is_not_stretched():
    image = np.random.default_rng(0).integers(0, 256, (299, 299, 3), np.uint8)
    np.testing.assert_array_equal(
        inception.prepare(image, "tensorflow"), (image.astype(np.float32) - 128) / 128
    )
    # Their centers are found by a multiplication and a division.
    np.testing.assert_allclose(
        inception.prepare(image, "pytorch_fid"), image / 127.5 - 1, atol=1e-4
    )
    single = np.full((1, 1, 3), 7, np.uint8)
    assert inception.prepare(single, "pytorch_fid").shape == (299, 299, 3)
