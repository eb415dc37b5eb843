"""Makes lpips.npz: LPIPS as its paper and package define it, written down in torch.

    python -m tests.measures.goldens.make_lpips

Needs torch. The weights are random, drawn by numpy in the same way as the test draws them.
"""

import pathlib

import numpy as np
import torch
from torch.nn import functional

HERE = pathlib.Path(__file__).resolve().parent
# torchvision's vgg16: places of the convolutions in `features`, and of the max pools.
CONVOLUTIONS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)}
CONVOLUTIONS |= {12: (256, 256), 14: (256, 256), 17: (256, 512), 19: (512, 512), 21: (512, 512)}
CONVOLUTIONS |= {24: (512, 512), 26: (512, 512), 28: (512, 512)}
POOLS = (4, 9, 16, 23)
TAPS = (3, 8, 15, 22, 29)


def draw_weights() -> dict[str, np.ndarray]:
    """A torchvision vgg16's and an lpips package's state dict, random."""
    rng = np.random.default_rng(7)
    weights = {}
    for place, (in_dim, out_dim) in CONVOLUTIONS.items():
        kernel = rng.standard_normal((out_dim, in_dim, 3, 3), np.float32)
        weights[f"features.{place}.weight"] = kernel * np.float32((2 / (9 * in_dim)) ** 0.5)
        weights[f"features.{place}.bias"] = 0.1 * rng.standard_normal(out_dim, np.float32)
    for stage, dim in enumerate((64, 128, 256, 512, 512)):
        weights[f"lin{stage}.model.1.weight"] = rng.random((1, dim, 1, 1), np.float32)
    return weights


def draw_images() -> np.ndarray:
    """float32 [pair, image, 18, 16, 3] in [0, 1]; one image has a flat black half."""
    images = np.random.default_rng(8).random((2, 2, 18, 16, 3), np.float32)
    images[1, 0, :, :8] = 0.0
    return images


def unit(features: torch.Tensor) -> torch.Tensor:
    return features / (torch.sqrt(torch.sum(features**2, dim=1, keepdim=True)) + 1e-10)


def stages(weights: dict[str, torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    tapped = []
    for place in range(30):
        if place in CONVOLUTIONS:
            kernel, bias = (weights[f"features.{place}.{name}"] for name in ("weight", "bias"))
            x = functional.conv2d(x, kernel, bias, padding=1)
        elif place in POOLS:
            x = functional.max_pool2d(x, 2)
        else:
            x = functional.relu(x)
        if place in TAPS:
            tapped.append(x)
    return tapped


def main() -> None:
    weights = {name: torch.from_numpy(array) for name, array in draw_weights().items()}
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    pixels = torch.from_numpy(draw_images()).permute(0, 1, 4, 2, 3).requires_grad_()
    a, b = (stages(weights, (2 * pixels[:, side] - 1 - shift) / scale) for side in (0, 1))
    total = 0
    for stage, (x, y) in enumerate(zip(a, b)):
        squared = (unit(x) - unit(y)) ** 2
        weighted = functional.conv2d(squared, weights[f"lin{stage}.model.1.weight"])
        total = total + weighted.mean(dim=(1, 2, 3))
    total[0].backward()
    np.savez_compressed(
        HERE / "lpips.npz",
        distances=total.detach().numpy(),
        gradient=pixels.grad[0, 1].permute(1, 2, 0).numpy(),
    )


if __name__ == "__main__":
    main()
