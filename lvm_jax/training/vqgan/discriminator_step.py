"""The discriminator's side of a VQGAN's step.

Letters: B batch, H and W pixels, C channels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float

from lvm_jax.modules import Params
from lvm_jax.training.vqgan import conditional, discriminator, game, generator_step
from lvm_jax.training.vqgan.adversarial_config import AdversarialConfig

State = dict[str, Any]
"""params, opt_state; usual: {"real", "fake"}, moving means of scores, only with LeCAM."""


def init(training: AdversarialConfig, tx: optax.GradientTransformation, seed: int) -> State:
    """A discriminator that has seen nothing."""
    params = discriminator.init_params(training.discriminator, seed)
    state: State = {"params": params, "opt_state": tx.init(params)}
    if training.lecam_weight:
        state["usual"] = {"real": jnp.zeros(()), "fake": jnp.zeros(())}
    return state


class Judgement(NamedTuple):
    """What a discriminator says about reconstructions, and how it would learn from them.

    Attributes:
        image_grad: gradient of the weighted generator loss with respect to the decoded images.
        grads: of the discriminator's loss with respect to its parameters.
        metrics: its losses and scores, and the generator's weight.
    """

    image_grad: Array
    grads: Params
    metrics: dict[str, Array]


def judge(
    training: AdversarialConfig,
    state: State,
    step: Array,
    images_BHWC: Float[Array, "B H W 3"],
    decoded_BHWC: Float[Array, "B H W 3"],
    weigh: Callable[[Array], Array],
) -> Judgement:
    """Judges reconstructions; before the discriminator's start everything is zero.

    Args:
        training: what to compute.
        state: see `State`; opt_state is not needed.
        step: updates made so far.
        images_BHWC, decoded_BHWC: float32 [0, 1].
        weigh: the generator loss's gradient with respect to decoded_BHWC -> that loss's weight.
    """

    def generator_loss(decoded_BHWC: Array) -> Array:
        scores = _scores(training, state["params"], decoded_BHWC)
        return game.generator_loss(training.discriminator_loss, scores)

    def discriminator_loss(params: Params) -> tuple[Array, dict[str, Array]]:
        return _own_loss(training, params, state.get("usual"), step, images_BHWC, decoded_BHWC)

    def judged() -> Judgement:
        loss, image_grad_BHWC = jax.value_and_grad(generator_loss)(decoded_BHWC)
        weight = weigh(image_grad_BHWC)
        grads, metrics = jax.grad(discriminator_loss, has_aux=True)(state["params"])
        metrics |= {"loss_generator": loss, "generator_weight": weight}
        return Judgement(weight * image_grad_BHWC, grads, metrics)

    def waiting() -> Judgement:
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
    loss = game.discriminator_loss(training.discriminator_loss, real, fake)
    metrics = {
        "loss_discriminator": loss,
        "score_real": jnp.mean(real),
        "score_fake": jnp.mean(fake),
    }
    if training.lecam_weight and usual is not None:
        lecam = game.lecam(real, fake, usual["real"], usual["fake"])
        loss = loss + training.lecam_weight * lecam
        metrics["loss_lecam"] = lecam
    if training.r1_weight:
        penalty = _now_and_then(
            training.r1_every,
            step,
            lambda params: game.gradient_penalty(
                lambda images: _scores(training, params, images), images_BHWC
            ),
            params,
        )
        loss = loss + training.r1_weight * penalty
        metrics["loss_r1"] = penalty
    return loss, metrics


def _now_and_then(
    every: int, step: Array, penalty: Callable[[Params], Array], params: Params
) -> Array:
    """A penalty of every so many steps, scaled so that its mean over steps stays what it is."""
    if every == 1:
        return penalty(params)
    zero = lambda _: jnp.zeros(())
    return every * jax.lax.cond(step % every == 0, penalty, zero, params)
