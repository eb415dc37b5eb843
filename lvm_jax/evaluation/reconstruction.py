"""What a tokenizer keeps of images: encode, decode, compare.

Legend: B images of a batch, S pixels per side, T ids per image.
"""

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from lvm_jax import image_record, images, sheets
from lvm_jax.measures import codes, fidelity, image_metrics
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.tokenizer.codec import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstructions:
    """How near the decoded images of some files are to them.

    Attributes:
        paths: the files.
        psnr: dB of each; infinite where nothing is lost.
        ssim: of each; empty if the images are smaller than its window.
        usage: share of the codebook that these images use.
        perplexity: of the codes in use: as many equally frequent ones would say as much.
        shown: uint8 [S, S, 3] originals and decodes of the first files.
    """

    paths: tuple[str, ...]
    psnr: np.ndarray
    ssim: np.ndarray
    usage: float
    perplexity: float
    shown: tuple[tuple[np.ndarray, np.ndarray], ...]

    def report(self) -> dict[str, Any]:
        """Everything but the pixels, for JSON; an infinite PSNR is None."""
        means = {"psnr": float(np.mean(self.psnr))}
        if len(self.ssim):
            means["ssim"] = float(np.mean(self.ssim))
        rows = [{"path": path, "psnr": float(db)} for path, db in zip(self.paths, self.psnr)]
        for row, similarity in zip(rows, self.ssim):
            row["ssim"] = float(similarity)
        for row in (means, *rows):
            row["psnr"] = row["psnr"] if math.isfinite(row["psnr"]) else None
        return {
            "num_images": len(self.paths),
            "mean": means,
            "codebook": {"usage": self.usage, "perplexity": self.perplexity},
            "images": rows,
        }

    def picture(self, columns: int, scale: int | None = None) -> np.ndarray:
        """Originals and their decodes, with names and numbers: uint8 [H, W, 3].

        Args:
            columns: pairs in a row.
            scale: how many times their size images are drawn; None makes them readable.
        """
        scale = scale or sheets.readable_scale(len(self.shown[0][0]))
        pairs = [self._pair(number, scale) for number in range(len(self.shown))]
        rows = [pairs[i : i + columns] for i in range(0, len(pairs), columns)]
        lines = [sheets.beside(row, sheets.GROUP_GAP) for row in rows]
        return sheets.page(sheets.above(lines, sheets.GROUP_GAP))

    def _pair(self, number: int, scale: int) -> np.ndarray:
        """An original and its decode, the file's name above and the numbers below."""
        sides = [sheets.enlarge(side, scale) for side in self.shown[number]]
        names = ("original", "reconstruction")
        pair = sheets.beside(
            [sheets.captioned(side, name) for side, name in zip(sides, names)], sheets.GAP
        )
        numbers = f"PSNR {self.psnr[number]:.1f} dB"
        if len(self.ssim):
            numbers += f", SSIM {self.ssim[number]:.2f}"
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
    psnr, ssim, shown = [], [], []
    counts = np.zeros(tokenizer.num_codes, np.int64)
    loader = SquareLoader(config, tokenizer.image_size)
    for originals in _batches(loader, paths, batch_size, num_threads):
        ids_BT = tokenizer.encode(originals)
        decoded = images.to_uint8(tokenizer.decode(ids_BT))
        counts += np.bincount(ids_BT.reshape(-1), minlength=tokenizer.num_codes)
        psnr.append(image_metrics.psnr(image_metrics.mse(decoded, originals)))
        if tokenizer.image_size >= fidelity.SSIM_WINDOW:
            ssim.append(image_metrics.ssim(decoded, originals))
        shown += zip(originals, decoded) if len(shown) < num_shown else ()
        progress(len(originals))
    return Reconstructions(
        paths=tuple(os.fspath(path) for path in paths),
        psnr=np.concatenate(psnr),
        ssim=np.concatenate(ssim) if ssim else np.empty(0),
        usage=float(np.mean(counts > 0)),
        perplexity=float(np.exp(codes.code_entropy(counts))),
        shown=tuple(shown[:num_shown]),
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
