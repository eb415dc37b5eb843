"""Held-out images through a tokenizer in training: numbers, and a picture of some of them."""

import functools
import pathlib
from collections.abc import Iterator

import jax
import numpy as np

from lvm_jax import draws, images, partition, sheets
from lvm_jax.measures import codes, perceptual
from lvm_jax.training.training import Evaluator
from lvm_jax.training.vqgan import adversarial_step
from lvm_jax.training.vqgan.corpus_images import CorpusImages

FOLDER = "reconstructions"
_COLUMNS, _PAIRS_OF_ROWS = 8, 2


def make_evaluator(
    setup: adversarial_step.Setup,
    source: CorpusImages,
    *,
    num_images: int,
    batch_size: int,
    workdir: pathlib.Path,
    perceptual_params: perceptual.Params | None = None,
) -> Evaluator:
    """An evaluator of averaged weights; it also writes workdir/reconstructions/step_N.png.

    Args:
        setup: see `adversarial.Setup`.
        source: held-out images.
        num_images: how many of them at most; always the same ones.
        batch_size: as in training, so that it divides over the mesh.
        workdir: the run's directory.
        perceptual_params: of the perceptual network, if there is one.

    Returns:
        An evaluator that yields psnr (dB), ssim, perceptual (if configured), codebook_usage and
        codebook_perplexity over all of the images.
    """
    evaluate_batch = adversarial_step.make_eval(setup, perceptual_params)
    sharding = partition.batch_sharding(setup.mesh)
    # The first ones of the shuffled first epoch.
    count = min(num_images, len(source))
    chosen = draws.permute(np.arange(count), len(source), setup.seed, 0)

    @functools.cache
    def batches() -> tuple[tuple[np.ndarray, int], ...]:
        held_out = np.stack([source.load(int(index)) for index in chosen])
        pieces = [held_out[start : start + batch_size] for start in range(0, count, batch_size)]
        # The last batch is filled with repeats, whose numbers are dropped again.
        return tuple(
            (np.resize(piece, (batch_size, *piece.shape[1:])), len(piece)) for piece in pieces
        )

    def evaluate(state: adversarial_step.State) -> Iterator[tuple[str, float]]:
        found: dict[str, list[np.ndarray]] = {}
        for images_BHWC, size in batches():
            # Every process has all of them and gives its devices theirs.
            placed = jax.make_array_from_callback(
                images_BHWC.shape, sharding, images_BHWC.__getitem__
            )
            for name, values in evaluate_batch(state["ema"], placed).items():
                found.setdefault(name, []).append(np.asarray(values)[:size])
        merged = {name: np.concatenate(values) for name, values in found.items()}
        decoded_BHWC, ids_BL = merged.pop("decoded"), merged.pop("ids")
        if jax.process_index() == 0:
            originals = np.concatenate([batch[:size] for batch, size in batches()])
            path = pathlib.Path(workdir) / FOLDER / f"step_{int(state['step']):08d}.png"
            images.write_image(path, picture(originals, images.to_uint8(decoded_BHWC)))
        for name, values in merged.items():
            yield name, float(values.mean())
        counts_K = codes.histogram(ids_BL, setup.model.num_codes)
        yield "codebook_usage", float(codes.usage(counts_K))
        yield "codebook_perplexity", float(codes.perplexity(counts_K))

    return evaluate


def picture(originals_BHWC: np.ndarray, decoded_BHWC: np.ndarray) -> np.ndarray:
    """The first images, each row of originals above the row of what became of them; uint8."""
    rows: list[list[np.ndarray]] = []
    for pair in range(_PAIRS_OF_ROWS):
        part = slice(pair * _COLUMNS, (pair + 1) * _COLUMNS)
        rows += [list(images) for images in (originals_BHWC[part], decoded_BHWC[part])]
    return sheets.grid([row for row in rows if row])
