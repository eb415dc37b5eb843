"""LPIPS against torch's, the edge detector's features against plain numpy, and files of weights."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest

from lvm_jax import trees
from lvm_jax.measures import perceptual, perceptual_weights
from lvm_jax.measures.perceptual import PerceptualConfig
from tests import toys

GOLDENS = pathlib.Path(__file__).parent / "goldens"
LPIPS = PerceptualConfig(network="lpips_vgg16")
HED = PerceptualConfig(network="vgg16_hed", stages=2)


def load_maker():
    """make_lpips.py draws weights and images without torch; only its `main` needs it."""
    spec = importlib.util.spec_from_file_location("make_lpips", GOLDENS / "make_lpips.py")
    source = pathlib.Path(spec.origin).read_text().replace("import torch\n", "")
    source = source.replace("from torch.nn import functional\n", "")
    source = source.split("def unit(")[0]
    names = {"__file__": spec.origin}
    exec(compile(source, spec.origin, "exec"), names)
    return names


@pytest.fixture(scope="module")
def lpips_files(tmp_path_factory):
    """Two files, as torchvision and the lpips package ship them."""
    folder = tmp_path_factory.mktemp("weights")
    weights = load_maker()["draw_weights"]()
    parts = {"vgg16.npz": "features", "vgg.safetensors": "lin"}
    for name, start in parts.items():
        arrays = {key: array for key, array in weights.items() if key.startswith(start)}
        arrays |= {"classifier.0.weight": np.zeros(3, np.float32)} if start == "features" else {}
        if name.endswith(".npz"):
            np.savez(folder / name, **arrays)
        else:
            trees.save_safetensors(folder / name, arrays)
    return [str(folder / name) for name in parts]


def test_lpips_is_that_of_torch_gradient_included(lpips_files):
    params = perceptual_weights.load(LPIPS, lpips_files)
    images = load_maker()["draw_images"]()
    golden = np.load(GOLDENS / "lpips.npz")

    def distances(others, params):
        values = perceptual.distance(LPIPS, params, images[:, 0], others)
        return values[0], values

    (_, values), grads = jax.jit(jax.value_and_grad(distances, has_aux=True))(images[:, 1], params)
    np.testing.assert_allclose(values, golden["distances"], rtol=1e-4)
    size = np.abs(golden["gradient"]).max()
    np.testing.assert_allclose(grads[0], golden["gradient"], atol=1e-3 * size)


@pytest.mark.parametrize("prefix", ["loss.perceptual_loss.", "module._orig_mod."])
def test_lpips_is_found_under_a_prefix(prefix, lpips_files, tmp_path):
    weights = load_maker()["draw_weights"]()
    whole = {"encoder.conv_in.weight": np.zeros(3, np.float32)}
    for name, array in weights.items():
        # As the lpips package calls the whole: torchvision's layers in five slices.
        whole[prefix + name.replace("features.", "net.slice1.")] = array
    trees.save_safetensors(tmp_path / "whole.safetensors", whole)
    expected = perceptual_weights.load(LPIPS, lpips_files)
    params = perceptual_weights.load(LPIPS, [str(tmp_path / "whole.safetensors")])
    assert trees.fingerprint(params) == trees.fingerprint(expected)


def hed_params():
    rng = np.random.default_rng(3)
    draw = lambda leaf: (0.05 * rng.standard_normal(leaf.shape)).astype(np.float32)
    return jax.tree.map(draw, perceptual.abstract_params(HED))


def test_hed_features_are_those_of_plain_numpy():
    params = hed_params()
    image = np.random.default_rng(4).random((5, 6, 3), np.float32)

    def convolve(x, layer):
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
        return np.maximum(np.einsum("hwiyx,yxio->hwo", patches, layer["kernel"]) + layer["bias"], 0)

    x = np.float64(255) * image[..., ::-1] - [104.00699, 116.66877, 122.67892]
    x = convolve(convolve(x, params["conv1_1"]), params["conv1_2"])
    pooled = np.stack([x[i:4:2, j::2] for i in (0, 1) for j in (0, 1)]).max(0)
    y = convolve(convolve(pooled, params["conv2_1"]), params["conv2_2"])
    features = perceptual.features(HED, params, image[None])
    for expected, stage in zip((x, y), features, strict=True):
        np.testing.assert_allclose(stage[0], expected, rtol=1e-4, atol=1e-3)


def test_a_distance_is_zero_for_equal_images_and_has_a_finite_gradient_for_black_ones():
    config = PerceptualConfig(network="vgg16_hed", stages=1)
    params = jax.tree.map(np.abs, hed_params())
    # Every feature of a black image is rectified away.
    params = {name: {**layer, "bias": 0 * layer["bias"]} for name, layer in params.items()}
    black, gray = np.zeros((1, 4, 4, 3), np.float32), np.full((1, 4, 4, 3), 0.9, np.float32)
    distance = jax.jit(lambda a, b: perceptual.distance(config, params, a, b)[0])
    assert distance(gray, gray) < 1e-12 and distance(black, black) == 0.0
    np.testing.assert_allclose(distance(gray, black), distance(black, gray))
    assert 0.0 < distance(gray, black) <= 2.0
    assert np.isfinite(jax.grad(distance)(black, gray)).all()


def test_the_converted_detector_is_read_and_its_stages_may_be_cut(tmp_path):
    source, target = tmp_path / "hed.h5", tmp_path / "hed.safetensors"
    toys.write_hed(source)
    for bad, reason in ((tmp_path / "none.h5", "no such file"), (tmp_path / "text.h5", "file sig")):
        with pytest.raises(ValueError, match=rf"cannot read .*: {reason}.*; give hed_bsds500"):
            (tmp_path / "text.h5").write_text("text")
            perceptual_weights.convert_hed(bad, target)
    with pytest.raises(ValueError, match=r"cannot write .*text.h5/x: .*; free space"):
        perceptual_weights.convert_hed(source, tmp_path / "text.h5" / "x")
    perceptual_weights.convert_hed(source, target)
    params = perceptual_weights.load(HED, [str(target)])
    assert sorted(params) == ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]
    assert (params["conv2_1"]["kernel"] == np.float32(2.1)).all()


def test_files_that_do_not_make_up_the_network_are_refused(lpips_files, tmp_path):
    load = perceptual_weights.load
    with pytest.raises(ValueError, match=r"^perceptual_weights is empty.* needs torchvision"):
        load(LPIPS, [])
    with pytest.raises(ValueError, match=r"linear1/kernel is missing.*and 3 more"):
        load(LPIPS, lpips_files[:1])
    with pytest.raises(ValueError, match=r"cannot use .*no file .*none.npz"):
        load(LPIPS, [str(tmp_path / "none.npz")])
    np.savez(tmp_path / "whole.npz", a=np.arange(999))
    cut = tmp_path / "cut.npz"
    cut.write_bytes((tmp_path / "whole.npz").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cannot use .*cut.npz is damaged"):
        load(LPIPS, [str(cut)])
    (tmp_path / "broken.safetensors").write_bytes(b"12345678")
    with pytest.raises(ValueError, match=r"cannot use .*broken.safetensors is of no kind"):
        load(LPIPS, [str(tmp_path / "broken.safetensors")])
    params = hed_params()
    params["conv1_1"]["kernel"] = params["conv1_1"]["kernel"][..., :7]
    trees.save_safetensors(tmp_path / "small.safetensors", params)
    with pytest.raises(ValueError, match=r"conv1_1/kernel has shape \(3, 3, 3, 7\)"):
        load(HED, [str(tmp_path / "small.safetensors")])
    params = hed_params()
    params["conv2_1"]["bias"][3] = np.nan
    trees.save_safetensors(tmp_path / "nan.safetensors", params)
    with pytest.raises(ValueError, match="conv2_1/bias holds values that are not finite"):
        load(HED, [str(tmp_path / "nan.safetensors")])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": "vgg16_hed", "stages": 6}, "^stages=6 must lie in 1..5"),
        ({"network": "lpips_vgg16", "stages": 3}, "LPIPS is the sum over all stages"),
        ({"network": "vgg16_hed", "weight": -1.0}, "^weight=-1.0 must not be negative"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        PerceptualConfig(**values)
