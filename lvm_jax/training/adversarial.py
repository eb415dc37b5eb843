"""VQGAN training: losses, state and one pure step.

Paper: Esser et al. 2021, section 3.1 (reconstruction, codebook, commitment and patch losses).

The step follows the gradient by hand from the image on: the reconstruction's and the
discriminator's gradients are taken with respect to the decoded image, weighed against each other
there, and only their sum is pulled back through decoder and encoder.

Letters: B batch, H and W pixels, D code dimension, K codes, N vectors of a batch, h and w the
latent grid, L ids per image.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float

from lvm_jax import partition
from lvm_jax.tokenizer import quantizer, vqgan
from lvm_jax.tokenizer.config import VQGANConfig
from lvm_jax.tokenizer.functional import Params
from lvm_jax.training import discriminator as discriminator_lib
from lvm_jax.training import optimizer as optimizer_lib
from lvm_jax.training.discriminator import DiscriminatorConfig
from lvm_jax.training.optimizer import OptimizerConfig

State = dict[str, Any]
"""params, ema: VQGAN parameters; opt_state; step: int32, updates made; idle: int32 [K], steps since
each code was last chosen; moving: {"counts", "sums"} of an EMA codebook; discriminator:
{"params", "opt_state"}. The last two only when the config has them."""

# Bounds of the adaptive weight, as published.
_WEIGHT_EPSILON = 1e-4
_MAX_WEIGHT = 1e4


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """What a VQGAN is trained for.

    Attributes:
        reconstruction: "l1" or "l2", the mean over pixels in [0, 1].
        reconstruction_weight: of that loss.
        commitment_weight: beta, of the loss that moves the encoder towards its codes.
        codebook: "gradient" moves the codes by the optimizer, "ema" keeps them at the moving means
            of the vectors that chose them.
        codebook_weight: of the loss that moves the codes, with "gradient".
        codebook_decay: per step, with "ema".
        restart_after: a code that nobody chose for so many steps moves onto an encoder output of
            the batch; 0 never. All codes start that way, whatever this is.
        ema_decay: per step, of the weights that are evaluated and saved; the first steps use less.
        generator_weight: of the discriminator's judgement; 0 trains without one.
        generator_balance: "fixed" uses that weight as it is, "adaptive" scales it so that both
            losses pull equally on the decoder's last convolution.
        discriminator_start: step from which the discriminator trains and is listened to.
        discriminator: its geometry.
    """

    reconstruction: Literal["l1", "l2"] = "l1"
    reconstruction_weight: float = 1.0
    commitment_weight: float = 0.25
    codebook: Literal["gradient", "ema"] = "gradient"
    codebook_weight: float = 1.0
    codebook_decay: float = 0.99
    restart_after: int = 100
    ema_decay: float = 0.999
    generator_weight: float = 0.1
    generator_balance: Literal["fixed", "adaptive"] = "adaptive"
    discriminator_start: int = 20_000
    discriminator: DiscriminatorConfig = dataclasses.field(default_factory=DiscriminatorConfig)

    def __post_init__(self):
        for name in ("commitment_weight", "codebook_weight", "generator_weight", "restart_after"):
            if getattr(self, name) < 0:
                raise ValueError(f"training.{name}={getattr(self, name)} must not be negative")
        if self.reconstruction_weight <= 0:
            raise ValueError(
                f"training.reconstruction_weight={self.reconstruction_weight} must be positive"
            )
        for name in ("codebook_decay", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"training.{name}={getattr(self, name)} must lie in [0, 1)")

    @property
    def has_discriminator(self) -> bool:
        return self.generator_weight > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Setup:
    """What the functions below share."""

    model: VQGANConfig
    training: AdversarialConfig
    tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation
    seed: int


def _setup(
    model: VQGANConfig,
    training: AdversarialConfig,
    optimizer: OptimizerConfig,
    discriminator_optimizer: OptimizerConfig,
    seed: int,
) -> _Setup:
    smallest = discriminator_lib.min_image_size(training.discriminator)
    if training.has_discriminator and model.image_size < smallest:
        raise ValueError(
            f"training.discriminator.num_layers={training.discriminator.num_layers} needs images "
            f"of {smallest} pixels, tokenizer.image_size={model.image_size}; use fewer layers"
        )
    return _Setup(
        model=model,
        training=training,
        tx=optimizer_lib.make(optimizer),
        discriminator_tx=optimizer_lib.make(discriminator_optimizer),
        seed=seed,
    )


def make_init(
    model: VQGANConfig,
    training: AdversarialConfig,
    optimizer: OptimizerConfig,
    discriminator_optimizer: OptimizerConfig,
    mesh: Mesh,
    seed: int,
) -> Callable[[], State]:
    """A jitted function of no arguments that makes the first state, whole on every device.

    Raises:
        ValueError: the discriminator does not fit the images.
    """
    setup = _setup(model, training, optimizer, discriminator_optimizer, seed)

    def init() -> State:
        params = vqgan.init_params(model, seed)
        state: State = {
            "params": params,
            "ema": jax.tree.map(jnp.copy, params),
            "opt_state": setup.tx.init(params),
            "step": jnp.zeros((), jnp.int32),
            "idle": jnp.zeros(model.num_codes, jnp.int32),
        }
        if training.codebook == "ema":
            state["moving"] = {
                "counts": jnp.zeros(model.num_codes),
                "sums": jnp.zeros((model.num_codes, model.code_dim)),
            }
        if training.has_discriminator:
            judge = discriminator_lib.init_params(training.discriminator, seed)
            state["discriminator"] = {
                "params": judge,
                "opt_state": setup.discriminator_tx.init(judge),
            }
        return state

    return jax.jit(init, out_shardings=partition.replicated(mesh))


def make_step(
    model: VQGANConfig,
    training: AdversarialConfig,
    optimizer: OptimizerConfig,
    discriminator_optimizer: OptimizerConfig,
    mesh: Mesh,
    seed: int,
) -> Callable[[State, Array], tuple[State, Mapping[str, Array]]]:
    """The jitted step: (state, uint8 images [B, H, W, 3]) -> (state, metrics); donates the state.

    Images are split over the mesh's batch axes; the state is whole on every device.
    """
    setup = _setup(model, training, optimizer, discriminator_optimizer, seed)
    whole = partition.replicated(mesh)
    return jax.jit(
        lambda state, images: _step(setup, state, images),
        in_shardings=(whole, partition.batch_sharding(mesh)),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )


def _step(setup: _Setup, state: State, images: Array) -> tuple[State, dict[str, Array]]:
    training, step = setup.training, state["step"]
    images_BHWC = images.astype(jnp.float32) / 255.0

    # 1. Forward, keeping the way back from images and latent losses to parameters.
    (decoded_BHWC, latent_loss), pullback, aux = jax.vjp(
        lambda params: _forward(setup, params, images_BHWC), state["params"], has_aux=True
    )
    # 2. How every loss wants the image to change.
    reconstruction_loss, image_grad = jax.value_and_grad(_reconstruction_loss, argnums=2)(
        training, images_BHWC, decoded_BHWC
    )
    image_grad = training.reconstruction_weight * image_grad
    loss = training.reconstruction_weight * reconstruction_loss + latent_loss
    metrics = {"loss_reconstruction": reconstruction_loss, **aux["metrics"]}
    new_judge = None
    if training.has_discriminator:
        new_judge, judged_grad, judged = _judge(
            setup, state, images_BHWC, decoded_BHWC, image_grad, aux["features"]
        )
        image_grad = image_grad + judged_grad
        loss = loss + judged["generator_weight"] * judged["loss_generator"]
        metrics |= judged
    # 3. One way back for all of them, one update.
    (grads,) = pullback((image_grad, jnp.ones_like(latent_loss)))
    updates, opt_state = setup.tx.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    # 4. Weights to keep, then the codes: dead ones move in both sets of weights.
    ema = _average(training, step, state["ema"], params)
    codes = _update_codes(setup, state, params["codebook"], aux["z_ND"], aux["ids_N"])
    replaced_K1 = codes.pop("replaced")[:, None]
    follow = training.codebook == "ema" or replaced_K1
    params = {**params, "codebook": codes.pop("codebook")}
    ema = {**ema, "codebook": jnp.where(follow, params["codebook"], ema["codebook"])}

    state = {"params": params, "ema": ema, "opt_state": opt_state, "step": step + 1, **codes}
    if new_judge is not None:
        state["discriminator"] = new_judge
    metrics |= {
        "loss": loss,
        "psnr": jnp.mean(psnr(images_BHWC, decoded_BHWC)),
        "grad_norm": optax.global_norm(grads),
        "codes_restarted": jnp.sum(replaced_K1).astype(jnp.float32),
    }
    return state, metrics


def _forward(setup: _Setup, params: Params, images_BHWC: Array):
    """((decoded images, weighted latent losses), what the rest of the step needs)."""
    model, training = setup.model, setup.training
    z_BhwD = vqgan.encode(model, params, images_BHWC)
    ids_BL = vqgan.lookup(model, jax.lax.stop_gradient(params), jax.lax.stop_gradient(z_BhwD))
    code_BhwD = vqgan.embed(model, params, ids_BL)
    commitment, codebook = quantizer.losses(z_BhwD, code_BhwD)
    latent_loss = training.commitment_weight * commitment
    if training.codebook == "gradient":
        latent_loss = latent_loss + training.codebook_weight * codebook
    features = vqgan.decode_features(model, params, quantizer.straight_through(z_BhwD, code_BhwD))
    decoded_BHWC = vqgan.decode_pixels(model, params, features)
    counts_K = quantizer.histogram(ids_BL, model.num_codes)
    metrics = {
        "loss_commitment": commitment,
        "loss_codebook": codebook,
        "codebook_usage": quantizer.usage(counts_K),
        "codebook_perplexity": quantizer.perplexity(counts_K),
    }
    z_ND = z_BhwD.reshape(-1, model.code_dim)
    aux = {"z_ND": z_ND, "ids_N": ids_BL.reshape(-1), "features": features, "metrics": metrics}
    return (decoded_BHWC, latent_loss), jax.lax.stop_gradient(aux)


def _reconstruction_loss(training: AdversarialConfig, images: Array, decoded: Array) -> Array:
    difference = decoded - images
    if training.reconstruction == "l1":
        return jnp.mean(jnp.abs(difference))
    return jnp.mean(jnp.square(difference))


def _judge(
    setup: _Setup,
    state: State,
    images_BHWC: Array,
    decoded_BHWC: Array,
    image_grad_BHWC: Array,
    features_BHWC: Array,
):
    """(new discriminator state, weighted image gradient, metrics); all zero before its start."""
    training, judge = setup.training, state["discriminator"]
    score = lambda params, images: discriminator_lib.scores(training.discriminator, params, images)

    def judged():
        fooling_loss, fooling_grad = jax.value_and_grad(
            lambda decoded: discriminator_lib.generator_loss(score(judge["params"], decoded))
        )(decoded_BHWC)
        weight = jnp.asarray(training.generator_weight)
        if training.generator_balance == "adaptive":
            weight = weight * _adaptive_weight(
                setup, state["params"], features_BHWC, image_grad_BHWC, fooling_grad
            )

        def hinge(params):
            real, fake = score(params, images_BHWC), score(params, decoded_BHWC)
            return discriminator_lib.hinge_loss(real, fake), (jnp.mean(real), jnp.mean(fake))

        (hinge_loss, (real, fake)), grads = jax.value_and_grad(hinge, has_aux=True)(judge["params"])
        updates, opt_state = setup.discriminator_tx.update(
            grads, judge["opt_state"], judge["params"]
        )
        new_judge = {
            "params": optax.apply_updates(judge["params"], updates),
            "opt_state": opt_state,
        }
        metrics = {
            "loss_generator": fooling_loss,
            "loss_discriminator": hinge_loss,
            "generator_weight": weight,
            "score_real": real,
            "score_fake": fake,
        }
        return new_judge, weight * fooling_grad, metrics

    def waiting():
        names = "loss_generator", "loss_discriminator", "generator_weight"
        metrics = {name: jnp.zeros(()) for name in (*names, "score_real", "score_fake")}
        return judge, jnp.zeros_like(decoded_BHWC), metrics

    # A conditional, so that the steps before cost nothing.
    return jax.lax.cond(state["step"] >= training.discriminator_start, judged, waiting)


def _adaptive_weight(
    setup: _Setup, params: Params, features_BHWC: Array, first_BHWC: Array, second_BHWC: Array
) -> Array:
    """Ratio of two image gradients' norms at the kernel of the decoder's last convolution."""
    decoder = params["decoder"]

    def pixels(kernel: Array) -> Array:
        conv_out = {**decoder["conv_out"], "kernel": kernel}
        changed = {**params, "decoder": {**decoder, "conv_out": conv_out}}
        return vqgan.decode_pixels(setup.model, changed, features_BHWC)

    _, pullback = jax.vjp(pixels, decoder["conv_out"]["kernel"])
    norms = [jnp.linalg.norm(pullback(grad)[0]) for grad in (first_BHWC, second_BHWC)]
    return jnp.clip(norms[0] / (norms[1] + _WEIGHT_EPSILON), 0.0, _MAX_WEIGHT)


def _average(training: AdversarialConfig, step: Array, ema: Params, params: Params) -> Params:
    # The first weights are far from anything, so they should be forgotten sooner.
    decay = jnp.minimum(training.ema_decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, b: decay * a + (1.0 - decay) * b, ema, params)


def _update_codes(
    setup: _Setup, state: State, codebook_KD: Array, z_ND: Array, ids_N: Array
) -> dict[str, Any]:
    """The codebook after the step with its bookkeeping; "replaced" says which codes jumped."""
    model, training, step = setup.model, setup.training, state["step"]
    chosen_K = quantizer.histogram(ids_N, model.num_codes) > 0
    idle_K = jnp.where(chosen_K, 0, state["idle"] + 1)
    new: dict[str, Any] = {}
    if training.codebook == "ema":
        counts_K, sums_KD = quantizer.moving_average(
            **{"counts_K": state["moving"]["counts"], "sums_KD": state["moving"]["sums"]},
            **{"z_ND": z_ND, "ids_N": ids_N, "decay": training.codebook_decay},
        )
        codebook_KD = quantizer.centroids(counts_K, sums_KD, codebook_KD)
    # The first step puts all codes onto encoder outputs: what they were says nothing.
    dead_K = jnp.full(model.num_codes, step == 0)
    if training.restart_after:
        dead_K = dead_K | (idle_K >= training.restart_after)
    key = jax.random.fold_in(jax.random.key(setup.seed), step)
    codebook_KD = quantizer.restart_dead(key, codebook_KD, dead_K, z_ND)
    if training.codebook == "ema":
        # A moved code starts with the weight of one vector, soon outweighed by those it attracts.
        share = 1.0 - training.codebook_decay
        new["moving"] = {
            "counts": jnp.where(dead_K, share, counts_K),
            "sums": jnp.where(dead_K[:, None], share * codebook_KD, sums_KD),
        }
    return {
        **new,
        "codebook": codebook_KD,
        "idle": jnp.where(dead_K, 0, idle_K),
        "replaced": dead_K,
    }


def psnr(
    images_BHWC: Float[Array, "B H W 3"], decoded_BHWC: Float[Array, "B H W 3"]
) -> Float[Array, "B"]:
    """Peak signal-to-noise ratio of each image in dB; pixels in [0, 1], the decoded ones clipped.

    Identical images give 100 dB.
    """
    difference = jnp.clip(decoded_BHWC, 0.0, 1.0) - images_BHWC
    return -10.0 * jnp.log10(jnp.mean(jnp.square(difference), axis=(1, 2, 3)) + 1e-10)


def make_eval(model: VQGANConfig, mesh: Mesh) -> Callable[[Params, Array], dict[str, Array]]:
    """A jitted function: (params, uint8 images) -> {"psnr": float32 [B], "ids": int32 [B, L]}."""

    def evaluate(params: Params, images: Array) -> dict[str, Array]:
        images_BHWC = images.astype(jnp.float32) / 255.0
        ids_BL = vqgan.lookup(model, params, vqgan.encode(model, params, images_BHWC))
        decoded_BHWC = vqgan.decode_ids(model, params, ids_BL)
        return {
            "psnr": psnr(images_BHWC, decoded_BHWC),
            "ids": ids_BL,
        }

    return jax.jit(
        evaluate,
        in_shardings=(partition.replicated(mesh), partition.batch_sharding(mesh)),
        out_shardings=partition.replicated(mesh),
    )
