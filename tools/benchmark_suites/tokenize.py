"""The tokenizer's speed: images to ids and back through the public Tokenizer."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmark_suites import timing
from lvm_jax.tokenizer import codec, vqgan
from lvm_jax.tokenizer.vqgan_config import PRESETS


def run(
    *,
    preset: str = "quickstart",
    num_images: int = 16,
    warmup: int = 1,
    repeats: int = 5,
    against: str | None = None,
) -> list[dict[str, Any]]:
    """Measures encode and decode with random weights.

    Args:
        preset: name in `tokenizer.config.PRESETS`.
        num_images: per call.
        warmup: calls before the measurement.
        repeats: calls measured.
        against: "torch" adds diffusers' VQModel with the same weights, images and ids.

    Returns:
        A row each for encode and decode (and the rival's), see `timing.rows`, with
        images_per_second and compile_seconds (first call less a later one). Beside a rival,
        agreement is the share of equal ids, difference the largest one between pixels.

    Raises:
        ValueError: an unknown preset, or one that the rival does not have.
    """
    if preset not in PRESETS:
        raise ValueError(f"--tokenizer={preset} is unknown; use one of {', '.join(PRESETS)}")
    config = PRESETS[preset]
    rng = np.random.default_rng(0)
    params = vqgan.init_params(config, 0)
    # Codes as spread out as the latents: initial ones are too close together to tell apart.
    codes = rng.standard_normal(params["codebook"].shape, np.float32)
    params = {**params, "codebook": codes}
    tokenizer = codec.Tokenizer(config, params)
    rival = _rival(against, config, params)
    shape = (num_images, config.image_size, config.image_size, 3)
    pictures = rng.integers(0, 256, shape, dtype=np.uint8)
    ids = rng.integers(0, config.num_codes, (num_images, config.tokens_per_image), dtype=np.int32)
    rows = []
    for name, inputs in (("encode", pictures), ("decode", ids)):
        cases = {name: _call(tokenizer, name, inputs)}
        if rival is not None:
            cases[f"{name} {against}"] = _call(rival, name, inputs)
        begun = time.perf_counter()
        outputs = [cases[name]()]
        first = time.perf_counter() - begun
        times = timing.interleave(cases, warmup=max(warmup - 1, 0), repeats=repeats)
        reference = f"{name} {against}" if rival is not None else None
        measured = timing.rows(times, num_images * config.tokens_per_image, reference)
        for row in measured:
            row["images_per_second"] = num_images / row["seconds"]
        measured[0]["compile_seconds"] = max(first - measured[0]["seconds"], 0.0)
        if rival is not None:
            outputs.append(cases[f"{name} {against}"]())
            if name == "encode":
                measured[0]["agreement"] = float(np.mean(outputs[0] == outputs[1]))
            else:
                measured[0]["difference"] = float(np.abs(outputs[0] - outputs[1]).max())
        rows += measured
    return rows


def _rival(against: str | None, config: Any, params: vqgan.Params) -> Any:
    if against is None:
        return None
    from benchmark_suites import torch_vqgan

    return torch_vqgan.Rival(config, params)


def _call(tokenizer: Any, name: str, inputs: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: getattr(tokenizer, name)(inputs)
