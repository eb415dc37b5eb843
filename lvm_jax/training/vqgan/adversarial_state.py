"""What a VQGAN's training is made from, and its first state.

Parameters, their averages and moments are stored split over the mesh's fsdp axis.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from lvm_jax import partition
from lvm_jax.modules import Params
from lvm_jax.tokenizer import vqgan
from lvm_jax.tokenizer.vqgan_config import VQGANConfig
from lvm_jax.training import optimizer as optimizer_lib
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.vqgan import codebook, discriminator, discriminator_step
from lvm_jax.training.vqgan.adversarial_config import AdversarialConfig

State = dict[str, Any]
"""params, ema: VQGAN parameters; opt_state; step: int32, updates made; codes: see `codebook.State`;
discriminator: see `discriminator_step.State`, only when the config has one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a VQGAN's state and step are made from.

    Attributes:
        model: the network.
        training: its losses.
        optimizer, discriminator_optimizer: with durations in steps.
        mesh: where state and batches live.
        seed: of the initialisation and the restarts of codes.
        accumulation: micro-batches per update; more need less memory. The update is that of the
            whole batch at once, except where a loss is no mean over images: the entropy loss and
            the adaptive weight are those of micro-batches, averaged.

    Raises:
        ValueError: the images are too small for the discriminator or the perceptual network.
    """

    model: VQGANConfig
    training: AdversarialConfig
    optimizer: OptimizerConfig
    discriminator_optimizer: OptimizerConfig
    mesh: Mesh
    seed: int = 0
    accumulation: int = 1

    def __post_init__(self):
        self.training.check_images(self.model)

    @property
    def tx(self) -> optax.GradientTransformation:
        """The update of the VQGAN."""
        return optimizer_lib.make(self.optimizer)

    @property
    def discriminator_tx(self) -> optax.GradientTransformation:
        """The discriminator's; its schedule counts its own updates."""
        return optimizer_lib.make(self.discriminator_optimizer)


def make_init(recipe: Recipe) -> Callable[[], State]:
    """A jitted function of no arguments that makes the first state, sharded from birth."""
    return jax.jit(lambda: _init(recipe), out_shardings=state_shardings(recipe))


def _init(recipe: Recipe) -> State:
    params = vqgan.init_params(recipe.model, recipe.seed)
    state: State = {
        "params": params,
        "ema": jax.tree.map(jnp.copy, params),
        "opt_state": recipe.tx.init(params),
        "step": jnp.zeros((), jnp.int32),
        "codes": codebook.init(recipe.model, recipe.training),
    }
    if recipe.training.has_discriminator:
        state["discriminator"] = discriminator_step.init(
            recipe.training, recipe.discriminator_tx, recipe.seed
        )
    return state


def state_shardings(recipe: Recipe) -> State:
    """Where a state lives: parameters, averages and moments split over fsdp, the rest whole."""
    whole = partition.replicated(recipe.mesh)

    def of_network(abstract: Params, tx: optax.GradientTransformation) -> tuple[Any, Any]:
        params = partition.split_largest(recipe.mesh, abstract)
        return params, optimizer_lib.state_shardings(tx, abstract, params, whole)

    placed = jax.tree.map(lambda _: whole, jax.eval_shape(lambda: _init(recipe)))
    params, opt_state = of_network(vqgan.abstract_params(recipe.model), recipe.tx)
    placed |= {"params": params, "ema": params, "opt_state": opt_state}
    if recipe.training.has_discriminator:
        abstract = discriminator.abstract_params(recipe.training.discriminator)
        params, opt_state = of_network(abstract, recipe.discriminator_tx)
        placed["discriminator"] |= {"params": params, "opt_state": opt_state}
    return placed
