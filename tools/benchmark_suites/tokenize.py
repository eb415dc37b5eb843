"""The tokenizer's speed: images to ids and back through the public Tokenizer."""

import time
from typing import Any

import numpy as np

from benchmark_suites import timing
from lvm_jax.tokenizer import codec, vqgan
from lvm_jax.tokenizer.config import PRESETS


def run(
    *, preset: str = "quickstart", num_images: int = 16, warmup: int = 1, repeats: int = 5
) -> list[dict[str, Any]]:
    """Measures encode and decode with random weights.

    Args:
        preset: name in `tokenizer.config.PRESETS`.
        num_images: per call.
        warmup: calls before the measurement.
        repeats: calls measured.

    Returns:
        A row each for encode and decode, see `timing.rows`, with images_per_second and
        compile_seconds (first call less a later one).

    Raises:
        ValueError: an unknown preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"--tokenizer={preset} is unknown; use one of {', '.join(PRESETS)}")
    config = PRESETS[preset]
    tokenizer = codec.Tokenizer(config, vqgan.init_params(config, 0))
    rng = np.random.default_rng(0)
    shape = (num_images, config.image_size, config.image_size, 3)
    pictures = rng.integers(0, 256, shape, dtype=np.uint8)
    ids = rng.integers(0, config.num_codes, (num_images, config.tokens_per_image), dtype=np.int32)
    cases = {"encode": lambda: tokenizer.encode(pictures), "decode": lambda: tokenizer.decode(ids)}
    first = {}
    for name, case in cases.items():
        begun = time.perf_counter()
        case()
        first[name] = time.perf_counter() - begun
    times = timing.interleave(cases, warmup=max(warmup - 1, 0), repeats=repeats)
    rows = timing.rows(times, num_images * config.tokens_per_image)
    for row in rows:
        row["images_per_second"] = num_images / row["seconds"]
        row["compile_seconds"] = max(first[row["name"]] - row["seconds"], 0.0)
    return rows
