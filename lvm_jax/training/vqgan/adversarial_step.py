"""VQGAN training: one pure step.

Paper: Esser et al. 2021, section 3.1 (reconstruction, codebook, commitment and patch losses).

Parameters are made whole for the step; the batch is split over data and fsdp.

Letters: B batch, H and W pixels, N vectors of a batch, K codes, D code dimension.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from lvm_jax import partition
from lvm_jax.measures import perceptual
from lvm_jax.modules import Params
from lvm_jax.training.vqgan import codebook, discriminator_step, gradients
from lvm_jax.training.vqgan.adversarial_config import AdversarialConfig
from lvm_jax.training.vqgan.adversarial_state import Recipe, State, state_shardings


def make_step(recipe: Recipe) -> jax.stages.Wrapped:
    """The train step, jitted once, donating the state.

    Args:
        recipe: what to train and where.

    Returns:
        (state, images, perceptual params) -> (state, metrics): uint8 [B, H, W, 3], where B must be
        a multiple of the recipe's accumulation times the devices that share the batch; the weights
        of `training.perceptual`, whole on every device, or None without such a network.
    """
    whole, placed = partition.replicated(recipe.mesh), state_shardings(recipe)

    # The weights are an argument: as constants the compiler would fold 60 MB into the program.
    def train_step(state: State, images: Array, perceptual_params: perceptual.Params | None):
        return _step(recipe, state, images, perceptual_params)

    return jax.jit(
        train_step,
        in_shardings=(placed, partition.image_sharding(recipe.mesh), whole),
        out_shardings=(placed, whole),
        donate_argnums=0,
    )


def abstract_batch(recipe: Recipe, num_images: int) -> jax.ShapeDtypeStruct:
    """The shape and sharding of a batch, to compile the step without data."""
    size = recipe.model.image_size
    return jax.ShapeDtypeStruct(
        (num_images, size, size, 3), jnp.uint8, sharding=partition.image_sharding(recipe.mesh)
    )


def abstract_perceptual_params(recipe: Recipe) -> perceptual.Params | None:
    """The shapes and shardings of the perceptual network, if there is one."""
    network, whole = recipe.training.perceptual, partition.replicated(recipe.mesh)
    if network is None:
        return None
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole),
        perceptual.abstract_params(network),
    )


def _step(
    recipe: Recipe, state: State, images: Array, perceptual_params: perceptual.Params | None
) -> tuple[State, dict[str, Array]]:
    training, step = recipe.training, state["step"]
    # 1. Gradients of both networks.
    means, rows = gradients.of_batch(recipe, state, images, perceptual_params)
    metrics = means.metrics
    # 2. One update of the generator, and of the weights to keep.
    updates, opt_state = recipe.tx.update(means.generator, state["opt_state"], state["params"])
    params: Any = optax.apply_updates(state["params"], updates)
    ema = _average(training, step, state["ema"], params)
    # 3. Codes: dead ones move in both sets of weights.
    codes, codes_KD, replaced_K = codebook.update(
        training,
        state["codes"],
        params["codebook"],
        rows.z.reshape(-1, recipe.model.code_dim),
        rows.ids.reshape(-1),
        step=step,
        key=codebook.step_key(recipe.seed, step),
    )
    follow = training.codebook == "ema" or replaced_K[:, None]
    new: State = {
        "params": {**params, "codebook": codes_KD},
        "ema": {**ema, "codebook": jnp.where(follow, codes_KD, ema["codebook"])},
        "opt_state": opt_state,
        "step": step + 1,
        "codes": codes,
    }
    metrics |= {
        "grad_norm": optax.tree.norm(means.generator),
        "codes_restarted": jnp.sum(replaced_K).astype(jnp.float32),
        **codebook.batch_metrics(rows.ids, recipe.model.num_codes),
        **codebook.window_metrics(training, codes, step),
    }
    # 4. One update of the discriminator.
    if means.discriminator is not None:
        new["discriminator"] = discriminator_step.update(
            training,
            recipe.discriminator_tx,
            state["discriminator"],
            step,
            means.discriminator,
            metrics,
        )
        metrics["grad_norm_discriminator"] = optax.tree.norm(means.discriminator)
    return new, metrics


def _average(training: AdversarialConfig, step: Array, ema: Params, params: Params) -> Params:
    # The first weights are far from anything, so they should be forgotten sooner.
    decay = jnp.minimum(training.ema_decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, b: decay * a + (1.0 - decay) * b, ema, params)
