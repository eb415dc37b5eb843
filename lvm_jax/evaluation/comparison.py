"""Several tokenizers on the same images, side by side.

Legend: B images, S pixels per side.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lvm_jax import images, sheets
from lvm_jax.measures import codes, image_metrics, perceptual
from lvm_jax.measures.perceptual import PerceptualConfig
from lvm_jax.tokenizer.codec import Tokenizer

_BATCH = 32


def measure(
    tokenizer: Tokenizer,
    originals_BSS3: np.ndarray,
    network: PerceptualConfig | None = None,
    perceptual_params: perceptual.Params | None = None,
) -> tuple[dict[str, float], np.ndarray]:
    """What a tokenizer keeps of images.

    Args:
        tokenizer: under test.
        originals_BSS3: uint8, of its size.
        network, perceptual_params: for the perceptual distance, if any.

    Returns:
        ({psnr in dB, ssim, perceptual, codebook_usage, codebook_perplexity}, means over images of
        the first three; decoded images, uint8 [B, S, S, 3]).
    """
    ids, decoded = [], []
    for start in range(0, len(originals_BSS3), _BATCH):
        ids.append(tokenizer.encode(originals_BSS3[start : start + _BATCH]))
        decoded.append(images.to_uint8(tokenizer.decode(ids[-1])))
    decoded_BSS3 = np.concatenate(decoded)
    error = image_metrics.mse(decoded_BSS3, originals_BSS3)
    found = {
        "psnr": float(image_metrics.psnr(error).mean()),
        "ssim": float(image_metrics.ssim(decoded_BSS3, originals_BSS3).mean()),
    }
    if network is not None:
        distance = jax.jit(lambda *arrays: perceptual.distance(network, *arrays))
        pieces = [
            distance(
                perceptual_params,
                originals_BSS3[start : start + _BATCH] / np.float32(255),
                decoded_BSS3[start : start + _BATCH] / np.float32(255),
            )
            for start in range(0, len(originals_BSS3), _BATCH)
        ]
        found["perceptual"] = float(np.concatenate(pieces).mean())
    counts_K = codes.histogram(np.concatenate(ids), tokenizer.num_codes)
    found["codebook_usage"] = float(codes.usage(counts_K))
    found["codebook_perplexity"] = float(codes.perplexity(counts_K))
    return found, decoded_BSS3


def picture(rows: Mapping[str, np.ndarray], scale: int = 1) -> np.ndarray:
    """Rows of images under their labels: uint8 [H, W, 3].

    Args:
        rows: label -> uint8 [B, S, S, 3].
        scale: side of a pixel.
    """
    strips = []
    for label, row_BSS3 in rows.items():
        strip = sheets.grid([list(row_BSS3.repeat(scale, axis=1).repeat(scale, axis=2))])
        strips += [sheets.text_line(label, strip.shape[1]), strip]
    return sheets.above(strips)


def report(results: Mapping[str, Mapping[str, float]], **more: Any) -> dict[str, Any]:
    """The numbers of all tokenizers with what they were measured on, for JSON."""
    return {**more, "tokenizers": {name: dict(values) for name, values in results.items()}}
