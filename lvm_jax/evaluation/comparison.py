"""Several tokenizers on the same images, side by side.

Legend: N images, S pixels per side.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lvm_jax import sheets
from lvm_jax.measures import perceptual
from lvm_jax.measures.perceptual import PerceptualConfig
from lvm_jax.tokenizer import measuring
from lvm_jax.tokenizer.codec import Tokenizer
from lvm_jax.tokenizer.measuring import Measurement

_BATCH = 32


def measure(
    tokenizer: Tokenizer,
    originals_NSS3: np.ndarray,
    network: PerceptualConfig | None = None,
    perceptual_params: perceptual.Params | None = None,
) -> Measurement:
    """What a tokenizer keeps of images, all of which are kept to be shown.

    Args:
        tokenizer: under test.
        originals_NSS3: uint8, of its size.
        network, perceptual_params: for the perceptual distance, if any.
    """
    return measuring.measure(
        measuring.with_tokenizer(tokenizer, network, perceptual_params),
        measuring.in_batches(originals_NSS3, _BATCH),
        tokenizer.num_codes,
        num_shown=len(originals_NSS3),
    )


def label(name: str, measurement: Measurement) -> str:
    """A tokenizer and its numbers on one line."""
    numbers = ", ".join(f"{key} {value:.3f}" for key, value in measurement.summary().items())
    return f"{name}: {numbers}"


def picture(measurements: Mapping[str, Measurement], num_shown: int, scale: int = 1) -> np.ndarray:
    """Some of the originals, and what every tokenizer makes of them: uint8 [H, W, 3].

    Args:
        measurements: by the tokenizers' names, of the same images.
        num_shown: how many of them at most, spread evenly.
        scale: side of a pixel.
    """
    first = next(iter(measurements.values()))
    last, number = len(first.originals) - 1, min(num_shown, len(first.originals))
    shown = np.linspace(0, last, number).round().astype(int)
    strips = _strip("originals", first.originals[shown], scale)
    for name, measurement in measurements.items():
        strips += _strip(label(name, measurement), measurement.decoded[shown], scale)
    return sheets.above(strips)


def _strip(text: str, row_NSS3: np.ndarray, scale: int) -> list[np.ndarray]:
    """A row of images under its label."""
    strip = sheets.grid([list(row_NSS3.repeat(scale, axis=1).repeat(scale, axis=2))])
    return [sheets.text_line(text, strip.shape[1]), strip]


def report(
    measurements: Mapping[str, Measurement],
    facts: Mapping[str, Mapping[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    """The numbers of all tokenizers with what they were measured on, for JSON.

    Args:
        measurements: by the tokenizers' names.
        facts: what else is known of them, by their names.
        **more: what they were measured on.
    """
    numbers = {name: {**m.summary(), **facts[name]} for name, m in measurements.items()}
    return {**more, "tokenizers": numbers}
