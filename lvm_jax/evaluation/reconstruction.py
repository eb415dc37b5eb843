"""What a tokenizer keeps of images: encode, decode, compare.

Legend: B images of a batch, S pixels per side, T ids per image.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from lvm_jax import image_record, images, sheets
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.tokenizer import measuring
from lvm_jax.tokenizer.codec import Tokenizer
from lvm_jax.tokenizer.measuring import MeasuredBatch, Measurement


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstructions:
    """How near the decoded images of some files are to them.

    Attributes:
        paths: the files.
        measured: their images, of which the first are kept to be shown.
    """

    paths: tuple[str, ...]
    measured: Measurement

    def report(self) -> dict[str, Any]:
        """Everything but the pixels, for JSON."""
        numbers = self.measured.numbers
        rows = [
            {"path": path, **{name: float(values[i]) for name, values in numbers.items()}}
            for i, path in enumerate(self.paths)
        ]
        return {
            "num_images": len(self.paths),
            "mean": {name: float(np.mean(values)) for name, values in numbers.items()},
            "codebook": {"usage": self.measured.usage, "perplexity": self.measured.perplexity},
            "images": rows,
        }

    def picture(self, columns: int, scale: int | None = None) -> np.ndarray:
        """Originals and their decodes, with names and numbers: uint8 [H, W, 3].

        Args:
            columns: pairs in a row.
            scale: how many times their size images are drawn; None makes them readable.
        """
        scale = scale or sheets.readable_scale(self.measured.originals.shape[1])
        pairs = [self._pair(number, scale) for number in range(len(self.measured.originals))]
        rows = [pairs[i : i + columns] for i in range(0, len(pairs), columns)]
        lines = [sheets.beside(row, sheets.GROUP_GAP) for row in rows]
        return sheets.page(sheets.above(lines, sheets.GROUP_GAP))

    def _pair(self, number: int, scale: int) -> np.ndarray:
        """An original and its decode, the file's name above and the numbers below."""
        measured = self.measured
        pixels = (measured.originals[number], measured.decoded[number])
        sides = [sheets.enlarge(side, scale) for side in pixels]
        names = ("original", "reconstruction")
        pair = sheets.beside(
            [sheets.captioned(side, name) for side, name in zip(sides, names)], sheets.GAP
        )
        numbers = f"PSNR {measured.numbers['psnr'][number]:.1f} dB"
        if "ssim" in measured.numbers:
            numbers += f", SSIM {measured.numbers['ssim'][number]:.2f}"
        pair = sheets.above([pair, sheets.text_line(numbers, size=12)])
        file = os.path.basename(self.paths[number])
        return sheets.above([sheets.text_line(file, pair.shape[1], size=12, color="navy"), pair])


def reconstruct(
    tokenizer: Tokenizer,
    paths: Sequence[str | os.PathLike],
    config: images.ImageConfig | None = None,
    *,
    num_shown: int = 16,
    batch_size: int = 32,
    num_threads: int = 4,
    progress: Callable[[int], None] = lambda num_images: None,
) -> Reconstructions:
    """Encodes and decodes image files; threads read the next ones meanwhile.

    Args:
        tokenizer: under test.
        paths: of at least one image file.
        config: how files become squares; by default as those that the tokenizer was trained on.
        num_shown: files whose pixels are kept.
        batch_size: images per call of the tokenizer, at least.
        num_threads: threads that read images.
        progress: called with the images of each batch.

    Raises:
        ValueError: no paths, or a file that is no image.
    """
    if not paths:
        raise ValueError("nothing to reconstruct: there is no image")
    config = config or image_record.config_for(tokenizer.images, "the tokenizer")
    batch_size = -(-batch_size // tokenizer.images_per_call) * tokenizer.images_per_call
    measure_batch = measuring.with_tokenizer(tokenizer)

    def measure_and_tell(originals_BSS3: np.ndarray) -> MeasuredBatch:
        batch = measure_batch(originals_BSS3)
        progress(len(originals_BSS3))
        return batch

    loader = SquareLoader(config, tokenizer.image_size)
    batches = _batches(loader, paths, batch_size, num_threads)
    return Reconstructions(
        paths=tuple(os.fspath(path) for path in paths),
        measured=measuring.measure(
            measure_and_tell, batches, tokenizer.num_codes, num_shown=num_shown
        ),
    )


def _batches(
    loader: SquareLoader, paths: Sequence[str | os.PathLike], batch_size: int, num_threads: int
) -> Iterator[np.ndarray]:
    """uint8 [B, S, S, 3], one batch read ahead."""
    parts = [paths[i : i + batch_size] for i in range(0, len(paths), batch_size)]
    with futures.ThreadPoolExecutor(num_threads) as pool:
        start = lambda part: [pool.submit(loader.load_file, path) for path in part]
        try:
            reading = start(parts[0])
            for part in itertools.chain(parts[1:], [()]):
                following = start(part)
                yield np.stack([square.result() for square in reading])
                reading = following
        finally:
            pool.shutdown(cancel_futures=True)
