"""Makes inception.npz: features, FID and KID as torch-fidelity and pytorch-fid compute them.

    python -m tests.measures.goldens.make_inception

Needs torch, torch-fidelity 0.4 and pytorch-fid 0.3. The weights are random, drawn by numpy in the
same way as the test draws them.
"""

import pathlib
import tempfile

import numpy as np

from lvm_jax.measures import inception

HERE = pathlib.Path(__file__).resolve().parent
NUM_CLASSES = 1008


def draw_weights() -> dict[str, np.ndarray]:
    """A state dict of FID's Inception v3, random."""
    rng = np.random.default_rng(17)
    weights = {}
    for name, (height, width, in_dim, dim) in inception.kernel_shapes().items():
        kernel = rng.standard_normal((dim, in_dim, height, width), np.float32)
        gain = np.float32((2 / (height * width * in_dim)) ** 0.5)
        weights[f"{name}.conv.weight"] = kernel * gain
        weights[f"{name}.bn.weight"] = rng.random(dim, np.float32) + np.float32(0.5)
        weights[f"{name}.bn.bias"] = np.float32(0.1) * rng.standard_normal(dim, np.float32)
        weights[f"{name}.bn.running_mean"] = np.float32(0.1) * rng.standard_normal(dim, np.float32)
        weights[f"{name}.bn.running_var"] = rng.random(dim, np.float32) + np.float32(0.5)
        weights[f"{name}.bn.num_batches_tracked"] = np.zeros((), np.int64)
    weights["fc.weight"] = np.zeros((NUM_CLASSES, 2048), np.float32)
    weights["fc.bias"] = np.zeros(NUM_CLASSES, np.float32)
    return weights


def draw_images() -> list[np.ndarray]:
    """Two uint8 pictures that are no squares, one smaller and one larger than the network sees."""
    rng = np.random.default_rng(18)
    coarse = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((10, 14), (24, 21))]
    return [picture.repeat(times, 0).repeat(times, 1) for picture, times in zip(coarse, (9, 15))]


def draw_features() -> tuple[np.ndarray, np.ndarray]:
    """float32 [40, 24] and [30, 24], correlated and not negative, as features are."""
    rng = np.random.default_rng(19)
    mixing = rng.standard_normal((24, 24), np.float32)
    draw = lambda number, shift: np.abs(
        rng.standard_normal((number, 24), np.float32) @ mixing + np.float32(shift)
    )
    return draw(40, 0.0), draw(30, 1.0)


def main() -> None:
    import pytorch_fid.inception
    import torch
    from torch_fidelity import metric_fid, metric_kid
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = {name: torch.from_numpy(array) for name, array in draw_weights().items()}
    pictures = [torch.from_numpy(image).permute(2, 0, 1)[None] for image in draw_images()]
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/weights.pth"
        torch.save(weights, file)
        extractor = FeatureExtractorInceptionV3("golden", ["2048"], file)
    tensorflow = torch.cat([extractor(picture)[0] for picture in pictures])
    # The weights of the package are not at hand; these take their place in it.
    pytorch_fid.inception.load_state_dict_from_url = lambda *_, **__: weights
    network = pytorch_fid.inception.InceptionV3().eval()
    with torch.no_grad():
        ported = torch.cat([network(picture / 255)[0] for picture in pictures])[:, :, 0, 0]
    pairs = [torch.from_numpy(array) for array in draw_features()]
    # Of float32 it takes means in float32.
    moments = [metric_fid.fid_features_to_statistics(array.double()) for array in pairs]
    fid = metric_fid.fid_statistics_to_metric(*moments, verbose=False)
    # A subset of all is the same whatever the order in which it is drawn.
    same = [array[:30] for array in pairs]
    kid = metric_kid.kid_features_to_metric(
        *same, kid_subsets=1, kid_subset_size=30, rng_seed=0, verbose=False
    )
    np.savez_compressed(
        HERE / "inception.npz",
        tensorflow=tensorflow.numpy(),
        pytorch_fid=ported.numpy(),
        fid=fid["frechet_inception_distance"],
        kid=kid["kernel_inception_distance_mean"],
    )


if __name__ == "__main__":
    main()
