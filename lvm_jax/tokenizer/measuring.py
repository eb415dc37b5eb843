"""What a tokenizer keeps of images: encoded, decoded, compared; in training and afterwards.

Legend: N images, B of a batch, n those that are shown, S pixels per side, T ids per image, K codes.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float

from lvm_jax import images
from lvm_jax.measures import codes, fidelity, perceptual
from lvm_jax.measures.perceptual import PerceptualConfig
from lvm_jax.tokenizer.codec import Tokenizer


class MeasuredBatch(NamedTuple):
    """A batch through a tokenizer.

    Attributes:
        ids: integers [B, T]. As jax arrays they are counted in float32, see `codes`.
        decoded: [B, S, S, 3], uint8 or float32 in [0, 1].
        numbers: "psnr" and what else says how close each image is; [B] each.
    """

    ids: Any
    decoded: Any
    numbers: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a tokenizer keeps of some images.

    Attributes:
        numbers: name -> value of each image, [N]: "psnr" in dB; "ssim" unless they are smaller than
            its window; "perceptual" where a network was given.
        code_counts: how often they chose each code, [K].
        originals: uint8, the first n of them.
        decoded: [n, S, S, 3], what became of those.
    """

    numbers: dict[str, np.ndarray]
    code_counts: codes.Counts
    originals: np.ndarray
    decoded: np.ndarray

    @property
    def usage(self) -> float:
        """Share of the codebook that these images use."""
        return float(codes.usage(self.code_counts))

    @property
    def perplexity(self) -> float:
        """Of the codes in use: as many equally frequent ones would say as much."""
        return float(codes.perplexity(self.code_counts))

    def summary(self) -> dict[str, float]:
        """Means over the images, codebook_usage and codebook_perplexity."""
        means = {name: float(values.mean()) for name, values in self.numbers.items()}
        return {
            **means,
            "codebook_usage": self.usage,
            "codebook_perplexity": self.perplexity,
        }


_ssim = jax.jit(fidelity.ssim)
_distance = jax.jit(perceptual.distance, static_argnums=0)


def similarities(
    images_BHWC: Float[Array | np.ndarray, "B H W 3"],
    decoded_BHWC: Float[Array | np.ndarray, "B H W 3"],
    network: PerceptualConfig | None = None,
    perceptual_params: perceptual.Params | None = None,
) -> dict[str, Float[Array, " B"]]:
    """SSIM of images that are large enough, and their perceptual distance if there is a network.

    Args:
        images_BHWC, decoded_BHWC: float32 in [0, 1].
        network, perceptual_params: what measures the distance.
    """
    numbers = {}
    if min(images_BHWC.shape[1:3]) >= fidelity.SSIM_WINDOW:
        numbers["ssim"] = _ssim(images_BHWC, decoded_BHWC)
    if network is not None and perceptual_params is not None:
        numbers["perceptual"] = _distance(network, perceptual_params, images_BHWC, decoded_BHWC)
    return numbers


def with_tokenizer(
    tokenizer: Tokenizer,
    network: PerceptualConfig | None = None,
    perceptual_params: perceptual.Params | None = None,
) -> Callable[[np.ndarray], MeasuredBatch]:
    """The function that `measure` takes, for a finished tokenizer.

    What is decoded is rounded to uint8 before it is compared, as files hold it.

    Args:
        tokenizer: under test.
        network, perceptual_params: for the perceptual distance, if any.
    """

    def measure_batch(originals_BSS3: np.ndarray) -> MeasuredBatch:
        ids_BT = tokenizer.encode(originals_BSS3)
        decoded_BSS3 = images.to_uint8(tokenizer.decode(ids_BT))
        originals, decoded = (x / np.float32(255) for x in (originals_BSS3, decoded_BSS3))
        numbers = {
            "psnr": fidelity.psnr(originals_BSS3, decoded_BSS3),
            **similarities(originals, decoded, network, perceptual_params),
        }
        return MeasuredBatch(ids=ids_BT, decoded=decoded_BSS3, numbers=numbers)

    return measure_batch


def measure(
    measure_batch: Callable[[np.ndarray], MeasuredBatch],
    batches: Iterable[np.ndarray],
    num_codes: int,
    *,
    num_shown: int = 0,
) -> Measurement:
    """Measures images batch by batch.

    Args:
        measure_batch: images of a batch -> what the tokenizer makes of them.
        batches: uint8 [B, S, S, 3], at least one; B may differ.
        num_codes: K.
        num_shown: images whose pixels are kept.
    """
    measuring = Measuring(num_codes, num_shown=num_shown)
    for originals_BSS3 in batches:
        measuring.add(originals_BSS3, measure_batch(originals_BSS3))
    return measuring.measurement()


class Measuring:
    """`measure`, for whoever goes through the batches."""

    def __init__(self, num_codes: int, *, num_shown: int = 0):
        """Arguments as for `measure`."""
        self._num_codes, self._num_shown = num_codes, num_shown
        self._numbers: list[dict[str, np.ndarray]] = []
        self._originals: list[np.ndarray] = []
        self._decoded: list[np.ndarray] = []
        self._counts_K: Any = 0

    def add(self, originals_BSS3: np.ndarray, batch: MeasuredBatch) -> None:
        """Takes one batch of images and what the tokenizer made of them."""
        self._counts_K = self._counts_K + codes.histogram(batch.ids, self._num_codes)
        self._numbers.append({name: np.asarray(values) for name, values in batch.numbers.items()})
        missing = max(0, self._num_shown - sum(map(len, self._originals)))
        self._originals.append(originals_BSS3[:missing])
        self._decoded.append(np.asarray(batch.decoded[:missing]))

    def measurement(self) -> Measurement:
        """Of all batches so far, of which there must be one."""
        names = self._numbers[0]
        return Measurement(
            numbers={name: np.concatenate([m[name] for m in self._numbers]) for name in names},
            code_counts=self._counts_K,
            originals=np.concatenate(self._originals),
            decoded=np.concatenate(self._decoded),
        )


def in_batches(images_NSS3: np.ndarray, size: int) -> list[np.ndarray]:
    """Images in batches of one size; the last may be smaller."""
    return [images_NSS3[start : start + size] for start in range(0, len(images_NSS3), size)]
