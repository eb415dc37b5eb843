"""VQGAN training: its state and one pure step.

Paper: Esser et al. 2021, section 3.1 (reconstruction, codebook, commitment and patch losses).

The step follows the gradient by hand from the image on: the gradients of the losses that compare
images and of the discriminator's judgement are taken with respect to the decoded image, weighed
against each other there, and only their sum is pulled back through decoder and encoder.

Parameters, their averages and moments are stored split over the mesh's fsdp axis and made whole for
the step; the batch is split over data and fsdp.

Letters: B batch, H and W pixels, N vectors of a batch, L ids per image.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from lvm_jax import partition
from lvm_jax.measures import fidelity, perceptual
from lvm_jax.modules import Params
from lvm_jax.tokenizer import measuring, vqgan
from lvm_jax.tokenizer.measuring import MeasuredBatch
from lvm_jax.tokenizer.vqgan_config import VQGANConfig
from lvm_jax.training import optimizer as optimizer_lib
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.vqgan import codebook, discriminator_step, generator_step
from lvm_jax.training.vqgan import discriminator as discriminator_lib
from lvm_jax.training.vqgan.adversarial_config import AdversarialConfig

State = dict[str, Any]
"""params, ema: VQGAN parameters; opt_state; step: int32, updates made; codes: see `codebook.State`;
discriminator: see `judging.State`, only when the config has one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
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


def make_init(setup: Setup) -> Callable[[], State]:
    """A jitted function of no arguments that makes the first state, sharded from birth."""
    return jax.jit(lambda: _init(setup), out_shardings=state_shardings(setup))


def _init(setup: Setup) -> State:
    params = vqgan.init_params(setup.model, setup.seed)
    state: State = {
        "params": params,
        "ema": jax.tree.map(jnp.copy, params),
        "opt_state": setup.tx.init(params),
        "step": jnp.zeros((), jnp.int32),
        "codes": codebook.init(setup.model, setup.training),
    }
    if setup.training.has_discriminator:
        state["discriminator"] = discriminator_step.init(
            setup.training, setup.discriminator_tx, setup.seed
        )
    return state


def state_shardings(setup: Setup) -> State:
    """Where a state lives: parameters, averages and moments split over fsdp, the rest whole."""
    whole = partition.replicated(setup.mesh)

    def of_network(abstract: Params, tx: optax.GradientTransformation) -> tuple[Any, Any]:
        params = partition.split_largest(setup.mesh, abstract)
        return params, optimizer_lib.state_shardings(tx, abstract, params, whole)

    placed = jax.tree.map(lambda _: whole, jax.eval_shape(lambda: _init(setup)))
    params, opt_state = of_network(vqgan.abstract_params(setup.model), setup.tx)
    placed |= {"params": params, "ema": params, "opt_state": opt_state}
    if setup.training.has_discriminator:
        abstract = discriminator_lib.abstract_params(setup.training.discriminator)
        params, opt_state = of_network(abstract, setup.discriminator_tx)
        placed["discriminator"] |= {"params": params, "opt_state": opt_state}
    return placed


def make_step(setup: Setup) -> jax.stages.Wrapped:
    """The train step, jitted once, donating the state.

    Args:
        setup: what to train and where.

    Returns:
        (state, images, perceptual params) -> (state, metrics): uint8 [B, H, W, 3], where B must be
        a multiple of the setup's accumulation times the devices that share the batch; the weights
        of `training.perceptual`, whole on every device, or None without such a network.
    """
    whole, placed = partition.replicated(setup.mesh), state_shardings(setup)
    # The weights are an argument: as constants the compiler would fold 60 MB into the program.
    return jax.jit(
        lambda state, images, perceptual_params: _step(setup, state, images, perceptual_params),
        in_shardings=(placed, partition.batch_sharding(setup.mesh), whole),
        out_shardings=(placed, whole),
        donate_argnums=0,
    )


def abstract_batch(setup: Setup, num_images: int) -> jax.ShapeDtypeStruct:
    """The shape and sharding of a batch, to compile the step without data."""
    size = setup.model.image_size
    return jax.ShapeDtypeStruct(
        (num_images, size, size, 3), jnp.uint8, sharding=partition.batch_sharding(setup.mesh)
    )


def abstract_perceptual_params(setup: Setup) -> perceptual.Params | None:
    """The shapes and shardings of the perceptual network, if there is one."""
    network, whole = setup.training.perceptual, partition.replicated(setup.mesh)
    if network is None:
        return None
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole),
        perceptual.abstract_params(network),
    )


def _step(
    setup: Setup, state: State, images: Array, perceptual_params: perceptual.Params | None
) -> tuple[State, dict[str, Array]]:
    training, step = setup.training, state["step"]
    # 1. Gradients of both networks, whole batch or piece by piece.
    found = _gradients(setup, state, images, perceptual_params)
    grads, metrics = found["grads"], found["metrics"]
    # 2. One update of the generator, and of the weights to keep.
    updates, opt_state = setup.tx.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    ema = _average(training, step, state["ema"], params)
    # 3. Codes: dead ones move in both sets of weights.
    z_ND, ids_N = found["z"].reshape(-1, setup.model.code_dim), found["ids"].reshape(-1)
    codes, codes_KD, replaced_K = codebook.update(
        training,
        state["codes"],
        params["codebook"],
        z_ND,
        ids_N,
        step=step,
        key=codebook.step_key(setup.seed, step),
    )
    follow = training.codebook == "ema" or replaced_K[:, None]
    params = {**params, "codebook": codes_KD}
    ema = {**ema, "codebook": jnp.where(follow, codes_KD, ema["codebook"])}

    new: State = {"params": params, "ema": ema, "opt_state": opt_state, "step": step + 1}
    new["codes"] = codes
    metrics |= {
        "grad_norm": optax.global_norm(grads),
        "codes_restarted": jnp.sum(replaced_K).astype(jnp.float32),
        **codebook.batch_metrics(found["ids"], setup.model.num_codes),
        **codebook.window_metrics(training, codes, step),
    }
    # 4. One update of the discriminator.
    if training.has_discriminator:
        new["discriminator"] = discriminator_step.update(
            training,
            setup.discriminator_tx,
            state["discriminator"],
            step,
            found["discriminator_grads"],
            metrics,
        )
        norm = optax.global_norm(found["discriminator_grads"])
        metrics["grad_norm_discriminator"] = norm
    return new, metrics


def _gradients(
    setup: Setup, state: State, images: Array, perceptual_params: perceptual.Params | None
) -> dict[str, Any]:
    """What `_micro_batch` finds, for the whole batch: means of sums, rows of rows."""
    whole = partition.replicated(setup.mesh)
    # Made whole once for all micro-batches.
    gather = lambda params: jax.lax.with_sharding_constraint(params, whole)
    params = gather(state["params"])
    judge = None
    if setup.training.has_discriminator:
        judge = {**state["discriminator"], "params": gather(state["discriminator"]["params"])}
        del judge["opt_state"]
    micro_batch = lambda images: _micro_batch(
        setup, params, judge, state["step"], images, perceptual_params
    )
    count = setup.accumulation
    if count == 1:
        return micro_batch(images)
    rows = partition.batch_sharding(setup.mesh)
    # Every count-th row, so that no row moves between devices.
    cut = jnp.swapaxes(images.reshape(-1, count, *images.shape[1:]), 0, 1)
    per_row = ("z", "ids")

    def add(total, images):
        found = micro_batch(jax.lax.with_sharding_constraint(images, rows))
        pieces = {name: found.pop(name) for name in per_row}
        return jax.tree.map(jnp.add, total, found), pieces

    shapes = jax.eval_shape(micro_batch, cut[0])
    zeros = {
        name: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape)
        for name, shape in shapes.items()
        if name not in per_row
    }
    # Loops are as slow on a CPU as conditionals are, see `branches`.
    total, pieces = jax.lax.scan(add, zeros, cut, unroll=jax.default_backend() == "cpu")
    found = jax.tree.map(lambda leaf: leaf / count, total)
    for name, piece in pieces.items():
        found[name] = jnp.swapaxes(piece, 0, 1).reshape(-1, *piece.shape[2:])
    return found


def _micro_batch(
    setup: Setup,
    params: Params,
    judge: discriminator_step.State | None,
    step: Array,
    images: Array,
    perceptual_params: perceptual.Params | None,
) -> dict[str, Any]:
    """grads, discriminator_grads and metrics, all means over the images; z and ids of each."""
    model, training = setup.model, setup.training
    images_BHWC = images.astype(jnp.float32) / 255.0

    # 1. Forward, keeping the way back from images and latent losses to parameters.
    def forward(params: Params):
        computed = generator_step.for_compute(training, params)
        return generator_step.forward(model, training, computed, images_BHWC, step)

    (decoded_BHWC, latent_loss), pullback, aux = jax.vjp(forward, params, has_aux=True)
    # 2. How every loss wants the image to change.
    (loss, metrics), image_grad = jax.value_and_grad(
        lambda decoded: generator_step.image_loss(
            training, perceptual_params, step, images_BHWC, decoded
        ),
        has_aux=True,
    )(decoded_BHWC)
    loss = loss + latent_loss
    metrics |= aux["metrics"]
    found = {"z": aux["z"], "ids": aux["ids"]}
    if judge is not None:
        judged_grad, found["discriminator_grads"], judged = discriminator_step.judge(
            model,
            training,
            judge,
            step,
            images_BHWC,
            decoded_BHWC,
            generator_params=params,
            features_BHWC=aux["features"],
            image_grad_BHWC=image_grad,
        )
        image_grad = image_grad + judged_grad
        loss = loss + judged["generator_weight"] * judged["loss_generator"]
        metrics |= judged
    # 3. One way back for all of them.
    (found["grads"],) = pullback((image_grad, jnp.ones_like(latent_loss)))
    seen_BHWC = jnp.clip(decoded_BHWC, 0.0, 1.0)
    found["metrics"] = metrics | {
        "loss": loss,
        "psnr": jnp.mean(fidelity.psnr(images_BHWC, seen_BHWC)),
        "ssim": jnp.mean(fidelity.ssim(images_BHWC, seen_BHWC)),
    }
    return found


def _average(training: AdversarialConfig, step: Array, ema: Params, params: Params) -> Params:
    # The first weights are far from anything, so they should be forgotten sooner.
    decay = jnp.minimum(training.ema_decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, b: decay * a + (1.0 - decay) * b, ema, params)


def make_eval(
    setup: Setup, perceptual_params: perceptual.Params | None = None
) -> Callable[[Params, Array], MeasuredBatch]:
    """A jitted function: (params, uint8 images) -> what the tokenizer makes of them.

    Args:
        setup: the network and where its parameters live.
        perceptual_params: of `training.perceptual`, if there is one.

    Returns:
        What it makes of each image, whole on every device; decoded is float32.
    """
    model, network = setup.model, setup.training.perceptual

    def evaluate(params: Params, images: Array, perceptual_params: Any) -> MeasuredBatch:
        params = jax.lax.with_sharding_constraint(params, partition.replicated(setup.mesh))
        images_BHWC = images.astype(jnp.float32) / 255.0
        ids_BL = vqgan.lookup(model, params, vqgan.encode(model, params, images_BHWC))
        decoded_BHWC = jnp.clip(vqgan.decode_ids(model, params, ids_BL), 0.0, 1.0)
        numbers = {"psnr": fidelity.psnr(images_BHWC, decoded_BHWC)}
        numbers |= measuring.similarities(images_BHWC, decoded_BHWC, network, perceptual_params)
        return MeasuredBatch(ids=ids_BL, decoded=decoded_BHWC, numbers=numbers)

    whole = partition.replicated(setup.mesh)
    jitted = jax.jit(
        evaluate,
        in_shardings=(
            partition.split_largest(setup.mesh, vqgan.abstract_params(model)),
            partition.batch_sharding(setup.mesh),
            whole,
        ),
        out_shardings=whole,
    )
    constants = jax.device_put(perceptual_params, whole)
    return lambda params, images: jitted(params, images, constants)
