"""Losses by kind of sentence and by place of the image: sums and counts, never means of means.

Shapes: B rows of the batch, L positions, K kinds, I images of a row, G groups of either.
"""

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.training.transformer.batch import Batch

BY_KIND, BY_IMAGE = "loss_by_kind", "loss_by_image"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Which losses are told apart; none where nothing is known of the data.

    An image is counted from where positions begin: that of its sentence, or in "stream" packing the
    place in the row in units of images. BOS and EOS are of a kind but of no image.

    Attributes:
        kinds: names of the kinds, as the batches number them.
        tokens_per_image: ids per image; 0 tells no images apart.
        num_images: I, how many a row may hold, a cut one included.
        num_codes: ids below it are an image's.
    """

    kinds: tuple[str, ...] = ()
    tokens_per_image: int = 0
    num_images: int = 0
    num_codes: int = 0

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The names of the groups of each array that `sums` returns."""
        labels = {BY_KIND: self.kinds, BY_IMAGE: tuple(map(str, range(self.num_images)))}
        return {name: groups for name, groups in labels.items() if groups}

    def sums(self, losses_BL: Float[Array, "B L"], batch: Batch) -> dict[str, Array]:
        """float32 [2, G] for each of `labels`: weighted losses in nats, and weights.

        Args:
            losses_BL: nats of each target.
            batch: targets, weights, kinds and positions [B, L] of the same targets.
        """
        weights_BL, sums = batch["weights"], {}
        if self.kinds:
            sums[BY_KIND] = _by_group(batch["kinds"], len(self.kinds), losses_BL, weights_BL)
        if self.num_images:
            weights_BL = jnp.where(batch["targets"] < self.num_codes, weights_BL, 0.0)
            images_BL = batch["positions"] // self.tokens_per_image
            sums[BY_IMAGE] = _by_group(images_BL, self.num_images, losses_BL, weights_BL)
        return sums


NOTHING_APART = Breakdown()


def of_data(source: Pipeline) -> Breakdown:
    """What can be told apart in the rows of a data set."""
    tokens = source.tokens_per_image
    return Breakdown(
        kinds=source.kinds,
        tokens_per_image=tokens,
        num_images=-(-source.config.context // tokens),
        num_codes=source.vocabulary.num_codes,
    )


def _by_group(
    groups_BL: Int[Array, "B L"],
    num_groups: int,
    losses_BL: Float[Array, "B L"],
    weights_BL: Float[Array, "B L"],
) -> Float[Array, "2 G"]:
    # Reductions rather than a scatter: they stay local when rows are split over devices.
    numbers_11G = jnp.arange(num_groups, dtype=groups_BL.dtype)[None, None]
    is_in_BLG = groups_BL[..., None] == numbers_11G
    add_up = lambda x_BL: jnp.sum(jnp.where(is_in_BLG, x_BL[..., None], 0.0), axis=(0, 1))
    return jnp.stack([add_up(losses_BL * weights_BL), add_up(weights_BL)])
