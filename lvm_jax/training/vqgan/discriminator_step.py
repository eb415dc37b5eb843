"""The discriminator's side of a VQGAN's step.

Letters: B batch, H and W pixels, C channels.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float

from lvm_jax.modules import Params
from lvm_jax.tokenizer import vqgan
from lvm_jax.tokenizer.vqgan_config import VQGANConfig
from lvm_jax.training.vqgan import conditional, discriminator, generator_step
from lvm_jax.training.vqgan import game as losses
from lvm_jax.training.vqgan.adversarial_config import AdversarialConfig

State = dict[str, Any]
"""params, opt_state; usual: {"real", "fake"}, moving means of scores, only with LeCAM."""

# Bounds of the adaptive weight, as published.
_WEIGHT_EPSILON = 1e-4
_MAX_WEIGHT = 1e4


def init(training: AdversarialConfig, tx: optax.GradientTransformation, seed: int) -> State:
    """A discriminator that has seen nothing."""
    params = discriminator.init_params(training.discriminator, seed)
    state: State = {"params": params, "opt_state": tx.init(params)}
    if training.lecam_weight:
        state["usual"] = {"real": jnp.zeros(()), "fake": jnp.zeros(())}
    return state


def judge(
    model: VQGANConfig,
    training: AdversarialConfig,
    state: State,
    step: Array,
    images_BHWC: Float[Array, "B H W 3"],
    decoded_BHWC: Float[Array, "B H W 3"],
    *,
    generator_params: Params,
    features_BHWC: Float[Array, "B H W C"],
    image_grad_BHWC: Float[Array, "B H W 3"],
) -> tuple[Array, Params, dict[str, Array]]:
    """What a discriminator says about reconstructions, and how it would learn from them.

    Args:
        model, training: what to compute.
        state: see `State`; opt_state is not needed.
        step: updates made so far; before the discriminator's start everything is zero.
        images_BHWC, decoded_BHWC: float32 [0, 1].
        generator_params, features_BHWC, image_grad_BHWC: of the generator, its last features and
            the gradient of its other losses with respect to decoded_BHWC, for the adaptive weight.

    Returns:
        (gradient of the weighted generator loss with respect to decoded_BHWC, gradient of the
        discriminator's loss with respect to its parameters, metrics).
    """

    def generator_loss(decoded_BHWC: Array) -> Array:
        scores = _scores(training, state["params"], decoded_BHWC)
        return losses.generator_loss(training.discriminator_loss, scores)

    def discriminator_loss(params: Params) -> tuple[Array, dict[str, Array]]:
        return _own_loss(training, params, state.get("usual"), step, images_BHWC, decoded_BHWC)

    def judged() -> tuple[Array, Params, dict[str, Array]]:
        loss, image_grad = jax.value_and_grad(generator_loss)(decoded_BHWC)
        weight = jnp.asarray(training.generator_weight)
        if training.generator_balance == "adaptive":
            weight = weight * _adaptive_weight(
                model, generator_params, features_BHWC, image_grad_BHWC, image_grad
            )
        grads, metrics = jax.grad(discriminator_loss, has_aux=True)(state["params"])
        metrics |= {"loss_generator": loss, "generator_weight": weight}
        return weight * image_grad, grads, metrics

    def waiting() -> tuple[Array, Params, dict[str, Array]]:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(judged))

    if training.discriminator_start == 0:
        return judged()
    return conditional.either(step >= training.discriminator_start, judged, waiting)


def update(
    training: AdversarialConfig,
    tx: optax.GradientTransformation,
    state: State,
    step: Array,
    grads: Params,
    metrics: dict[str, Array],
) -> State:
    """The discriminator after a step; unchanged before its start.

    Args:
        training, tx: how it learns.
        state: see `State`.
        step: updates made so far.
        grads, metrics: of the whole batch, as `judge` gives them.
    """

    def learned() -> State:
        updates, opt_state = tx.update(grads, state["opt_state"], state["params"])
        new: State = {
            "params": optax.apply_updates(state["params"], updates),
            "opt_state": opt_state,
        }
        if training.lecam_weight:
            # The first scores are far from usual, so they should be forgotten sooner.
            seen = step - training.discriminator_start
            decay = jnp.minimum(training.lecam_decay, seen / (10.0 + seen))
            new["usual"] = {
                kind: decay * usual + (1.0 - decay) * metrics[f"score_{kind}"]
                for kind, usual in state["usual"].items()
            }
        return new

    return jax.lax.cond(step >= training.discriminator_start, learned, lambda: state)


def _scores(training: AdversarialConfig, params: Params, images_BHWC: Array) -> Array:
    computed = generator_step.for_compute(training, params)
    return discriminator.scores(training.discriminator, computed, images_BHWC)


def _own_loss(
    training: AdversarialConfig,
    params: Params,
    usual: dict[str, Array] | None,
    step: Array,
    images_BHWC: Array,
    decoded_BHWC: Array,
) -> tuple[Array, dict[str, Array]]:
    """The discriminator's loss, of its parameters, and metrics."""
    real, fake = (_scores(training, params, images) for images in (images_BHWC, decoded_BHWC))
    loss = losses.discriminator_loss(training.discriminator_loss, real, fake)
    metrics = {
        "loss_discriminator": loss,
        "score_real": jnp.mean(real),
        "score_fake": jnp.mean(fake),
    }
    if training.lecam_weight:
        lecam = losses.lecam(real, fake, usual["real"], usual["fake"])
        loss = loss + training.lecam_weight * lecam
        metrics["loss_lecam"] = lecam
    if training.r1_weight:
        penalty = _now_and_then(
            training.r1_every,
            step,
            lambda params: losses.gradient_penalty(
                lambda images: _scores(training, params, images), images_BHWC
            ),
            params,
        )
        loss = loss + training.r1_weight * penalty
        metrics["loss_r1"] = penalty
    return loss, metrics


def _now_and_then(every: int, step: Array, penalty: Any, params: Params) -> Array:
    """A penalty of every so many steps, scaled so that its mean over steps stays what it is."""
    if every == 1:
        return penalty(params)
    zero = lambda _: jnp.zeros(())
    return every * jax.lax.cond(step % every == 0, penalty, zero, params)


def _adaptive_weight(
    model: VQGANConfig,
    params: Params,
    features_BHWC: Array,
    first_BHWC: Array,
    second_BHWC: Array,
) -> Array:
    """Ratio of two image gradients' norms at the kernel of the decoder's last convolution."""
    decoder = params["decoder"]

    def pixels(kernel: Array) -> Array:
        conv_out = {**decoder["conv_out"], "kernel": kernel}
        changed = {**params, "decoder": {**decoder, "conv_out": conv_out}}
        return vqgan.decode_pixels(model, changed, features_BHWC)

    _, pullback = jax.vjp(pixels, decoder["conv_out"]["kernel"])
    norms = [jnp.linalg.norm(pullback(grad)[0]) for grad in (first_BHWC, second_BHWC)]
    return jnp.clip(norms[0] / (norms[1] + _WEIGHT_EPSILON), 0.0, _MAX_WEIGHT)
