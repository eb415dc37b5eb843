"""The gradients of both networks at one step.

They are followed by hand from the image on: the gradients of the losses that compare images and of
the discriminator's judgement are taken with respect to the decoded image, weighed against each
other there, and only their sum is pulled back through decoder and encoder.

Letters: B batch, H and W pixels, C channels, D code dimension, h and w the latent grid, L ids per
image.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lvm_jax import partition
from lvm_jax.measures import fidelity, perceptual
from lvm_jax.modules import Params
from lvm_jax.training.vqgan import discriminator_step, generator_step
from lvm_jax.training.vqgan.adversarial_state import Recipe, State


class Means(NamedTuple):
    """Means over the images of a batch.

    Attributes:
        generator: gradient of its losses with respect to its parameters.
        discriminator: the same of the discriminator's; None without one.
        metrics: every loss by its name, and psnr and ssim.
    """

    generator: Params
    discriminator: Params | None
    metrics: dict[str, Array]


class Rows(NamedTuple):
    """What the encoder makes of each image: its outputs [B, h, w, D] and their codes [B, L]."""

    z: Array
    ids: Array


def of_batch(
    recipe: Recipe, state: State, images: Array, perceptual_params: perceptual.Params | None
) -> tuple[Means, Rows]:
    """The gradients of a whole batch, made piece by piece where the recipe says so.

    Args:
        recipe: what to train and where.
        state: at the step's beginning.
        images: uint8 [B, H, W, 3].
        perceptual_params: of the perceptual network, if there is one.
    """
    whole = partition.replicated(recipe.mesh)
    # Made whole once for all micro-batches.
    gather = lambda params: jax.lax.with_sharding_constraint(params, whole)
    params = gather(state["params"])
    discriminator = None
    if recipe.training.has_discriminator:
        kept = {name: leaf for name, leaf in state["discriminator"].items() if name != "opt_state"}
        discriminator = {**kept, "params": gather(kept["params"])}
    micro_batch = lambda images: _micro_batch(
        recipe, params, discriminator, state["step"], images, perceptual_params
    )
    count = recipe.accumulation
    if count == 1:
        return micro_batch(images)
    placed = partition.image_sharding(recipe.mesh)
    # Every count-th row, so that no row moves between devices.
    cut = jnp.swapaxes(images.reshape(-1, count, *images.shape[1:]), 0, 1)

    def add(total: Means, images: Array) -> tuple[Means, Rows]:
        means, rows = micro_batch(jax.lax.with_sharding_constraint(images, placed))
        return jax.tree.map(jnp.add, total, means), rows

    abstract, _ = jax.eval_shape(micro_batch, cut[0])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract)
    # Loops are as slow on a CPU as conditionals are, see `conditional`.
    total, pieces = jax.lax.scan(add, zeros, cut, unroll=jax.default_backend() == "cpu")
    back = lambda leaf: jnp.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:])
    return jax.tree.map(lambda leaf: leaf / count, total), jax.tree.map(back, pieces)


def _micro_batch(
    recipe: Recipe,
    params: Params,
    discriminator: discriminator_step.State | None,
    step: Array,
    images: Array,
    perceptual_params: perceptual.Params | None,
) -> tuple[Means, Rows]:
    model, training = recipe.model, recipe.training
    images_BHWC = images.astype(jnp.float32) / 255.0

    # 1. Forward, keeping the way back from images and latent losses to parameters.
    def forward(params: Params) -> Any:
        computed = generator_step.for_compute(training, params)
        return generator_step.forward(model, training, computed, images_BHWC, step)

    (decoded_BHWC, latent_loss), pullback, aux = jax.vjp(forward, params, has_aux=True)
    # 2. How every loss wants the image to change.
    (loss, metrics), image_grad_BHWC = jax.value_and_grad(
        lambda decoded: generator_step.image_loss(
            training, perceptual_params, step, images_BHWC, decoded
        ),
        has_aux=True,
    )(decoded_BHWC)
    loss = loss + latent_loss
    metrics |= aux["metrics"]
    discriminator_grads = None
    if discriminator is not None:
        compared_grad_BHWC = image_grad_BHWC
        weigh = lambda judged_grad_BHWC: generator_step.judgement_weight(
            model, training, params, aux["features"], compared_grad_BHWC, judged_grad_BHWC
        )
        judgement = discriminator_step.judge(
            training, discriminator, step, images_BHWC, decoded_BHWC, weigh
        )
        discriminator_grads, judged = judgement.grads, judgement.metrics
        image_grad_BHWC = image_grad_BHWC + judgement.image_grad
        loss = loss + judged["generator_weight"] * judged["loss_generator"]
        metrics |= judged
    # 3. One way back for all of them.
    (grads,) = pullback((image_grad_BHWC, jnp.ones_like(latent_loss)))
    seen_BHWC = jnp.clip(decoded_BHWC, 0.0, 1.0)
    metrics |= {
        "loss": loss,
        "psnr": jnp.mean(fidelity.psnr(images_BHWC, seen_BHWC)),
        "ssim": jnp.mean(fidelity.ssim(images_BHWC, seen_BHWC)),
    }
    return Means(grads, discriminator_grads, metrics), Rows(aux["z"], aux["ids"])
