"""Held-out images through a tokenizer in training: numbers, and a picture of some of them."""

import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lvm_jax import draws, images, partition, sheets
from lvm_jax.measures import fidelity, perceptual
from lvm_jax.modules import Params
from lvm_jax.storage import paths
from lvm_jax.tokenizer import measuring, vqgan
from lvm_jax.tokenizer.measuring import MeasuredBatch
from lvm_jax.training.training import Evaluator
from lvm_jax.training.vqgan.adversarial_state import Recipe, State
from lvm_jax.training.vqgan.corpus_images import CorpusImages

FOLDER = "reconstructions"
_COLUMNS, _PAIRS_OF_ROWS = 8, 2


def make_evaluator(
    recipe: Recipe,
    source: CorpusImages,
    *,
    num_images: int,
    batch_size: int,
    workdir: pathlib.Path,
    perceptual_params: perceptual.Params | None = None,
) -> Evaluator:
    """An evaluator of averaged weights; it also writes workdir/reconstructions/step_N.png.

    Args:
        recipe: see `Recipe`.
        source: held-out images.
        num_images: how many of them at most; always the same ones, whatever the seed.
        batch_size: as in training, so that it divides over the mesh.
        workdir: the run's directory.
        perceptual_params: of the perceptual network, if there is one.

    Returns:
        An evaluator that yields psnr (dB), ssim, perceptual (if configured), codebook_usage and
        codebook_perplexity over all of the images.
    """
    evaluate_batch = make_eval(recipe, perceptual_params)
    sharding = partition.image_sharding(recipe.mesh)
    # The first ones of the shuffled first epoch.
    count = min(num_images, len(source))
    chosen = draws.permute(np.arange(count), len(source), draws.HELD_OUT_SEED, 0)

    @functools.cache
    def batches() -> list[np.ndarray]:
        return measuring.in_batches(
            np.stack([source.load(int(index)) for index in chosen]), batch_size
        )

    def evaluate(state: State) -> Iterator[tuple[str, float] | None]:
        """None after each batch, then name and value of each measure; writes the picture."""

        def measure_batch(originals_BHWC: np.ndarray) -> MeasuredBatch:
            """Measures a batch of any size up to that of training, on all devices."""
            size = len(originals_BHWC)
            # The last batch is filled with repeats, whose numbers are dropped again.
            filled = np.resize(originals_BHWC, (batch_size, *originals_BHWC.shape[1:]))
            # Every process has all of them and gives its devices theirs.
            placed = jax.make_array_from_callback(filled.shape, sharding, filled.__getitem__)
            batch = evaluate_batch(state["ema"], placed)
            return jax.tree.map(lambda leaf: leaf.addressable_data(0)[:size], batch)

        shown = _COLUMNS * _PAIRS_OF_ROWS
        measured = measuring.Measuring(recipe.model.num_codes, num_shown=shown)
        for originals_BHWC in batches():
            measured.add(originals_BHWC, measure_batch(originals_BHWC))
            yield None
        measurement = measured.measurement()
        if jax.process_index() == 0:
            path = paths.path(workdir) / FOLDER / f"step_{int(state['step']):08d}.png"
            decoded = images.to_uint8(measurement.decoded)
            images.write_image(path, picture(measurement.originals, decoded))
        yield from measurement.summary().items()

    return evaluate


def make_eval(
    recipe: Recipe, perceptual_params: perceptual.Params | None = None
) -> Callable[[Params, Array], MeasuredBatch]:
    """A jitted function: (params, uint8 images) -> what the tokenizer makes of them.

    Args:
        recipe: the network and where its parameters live.
        perceptual_params: of `training.perceptual`, if there is one.

    Returns:
        What it makes of each image, whole on every device; decoded is float32.
    """
    model, network = recipe.model, recipe.training.perceptual

    def evaluate(params: Params, images: Array, perceptual_params: Any) -> MeasuredBatch:
        """Of images: uint8 [B, H, W, C]."""
        params = jax.lax.with_sharding_constraint(params, partition.replicated(recipe.mesh))
        images_BHWC = images.astype(jnp.float32) / 255.0
        ids_BL = vqgan.lookup(model, params, vqgan.encode(model, params, images_BHWC))
        decoded_BHWC = jnp.clip(vqgan.decode_ids(model, params, ids_BL), 0.0, 1.0)
        numbers = {"psnr": fidelity.psnr(images_BHWC, decoded_BHWC)}
        numbers |= measuring.similarities(images_BHWC, decoded_BHWC, network, perceptual_params)
        return MeasuredBatch(ids=ids_BL, decoded=decoded_BHWC, numbers=numbers)

    whole = partition.replicated(recipe.mesh)
    jitted = jax.jit(
        evaluate,
        in_shardings=(
            partition.split_largest(recipe.mesh, vqgan.abstract_params(model)),
            partition.image_sharding(recipe.mesh),
            whole,
        ),
        out_shardings=whole,
    )
    constants = jax.device_put(perceptual_params, whole)
    return lambda params, images: jitted(params, images, constants)


def picture(originals_BHWC: np.ndarray, decoded_BHWC: np.ndarray) -> np.ndarray:
    """The first images, each row of originals above the row of what became of them; uint8."""
    rows: list[list[np.ndarray]] = []
    for pair in range(_PAIRS_OF_ROWS):
        part = slice(pair * _COLUMNS, (pair + 1) * _COLUMNS)
        rows += [list(images) for images in (originals_BHWC[part], decoded_BHWC[part])]
    return sheets.grid([row for row in rows if row])
