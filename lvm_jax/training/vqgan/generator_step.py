"""The generator's side of a VQGAN's step: images -> codes -> images, and what that costs.

Letters: B batch, H and W pixels, C channels, D code dimension, h and w the latent grid, L ids per
image.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from lvm_jax import modules
from lvm_jax.measures import perceptual
from lvm_jax.modules import Params
from lvm_jax.tokenizer import quantizer, vqgan
from lvm_jax.tokenizer.vqgan_config import VQGANConfig
from lvm_jax.training.vqgan import conditional
from lvm_jax.training.vqgan.adversarial_config import AdversarialConfig

# Layers that compute in float32 in mixed precision too: those whose output is a latent, a pixel or
# a score, and the one that reads codes.
_FLOAT32_LAYERS = ("quant_conv", "post_quant_conv", "conv_out")
# Bounds of the adaptive weight, as published.
_WEIGHT_EPSILON = 1e-4
_MAX_WEIGHT = 1e4


def for_compute(training: AdversarialConfig, params: Params) -> Params:
    """Parameters of either network as the step computes with them."""
    if training.compute_dtype == "float32":
        return params
    return modules.cast_convolutions(params, jnp.bfloat16, keep=_FLOAT32_LAYERS)


def forward(
    model: VQGANConfig,
    training: AdversarialConfig,
    params: Params,
    images_BHWC: Float[Array, "B H W 3"],
    step: Array,
) -> tuple[tuple[Array, Array], dict[str, Any]]:
    """Encodes, chooses codes, decodes.

    Args:
        model, training: what to compute.
        params: see `for_compute`.
        images_BHWC: float32 [0, 1].
        step: updates made so far.

    Returns:
        ((decoded images [B, H, W, 3], weighted sum of the losses of latents and codes), what the
        rest of the step needs, as constants: z [B, h, w, D], ids [B, L], features [B, H, W, C]
        before the last convolution, metrics).
    """
    z_BhwD = vqgan.encode(model, params, images_BHWC)
    ids_BL = vqgan.lookup(model, jax.lax.stop_gradient(params), jax.lax.stop_gradient(z_BhwD))
    code_BhwD = vqgan.embed(model, params, ids_BL)
    commitment, codebook = quantizer.losses(z_BhwD, code_BhwD)
    latent_loss = training.commitment_weight * commitment
    if training.codebook == "gradient":
        latent_loss = latent_loss + training.codebook_weight * codebook
    metrics = {"loss_commitment": commitment, "loss_codebook": codebook}
    if training.entropy_weight:
        z_ND, codes_KD = z_BhwD.reshape(-1, model.code_dim), vqgan.codebook(model, params)
        entropy = _from_step(
            training.entropy_start,
            step,
            lambda z, codes: quantizer.entropy_loss(codes, z, training.entropy_temperature),
            z_ND,
            codes_KD,
        )
        latent_loss = latent_loss + training.entropy_weight * entropy
        metrics["loss_entropy"] = entropy
    passed = {"straight_through": quantizer.straight_through, "rotation": quantizer.rotation}
    decoder_input_BhwD = passed[training.encoder_gradient](z_BhwD, code_BhwD)
    features_BHWC = vqgan.decode_features(model, params, decoder_input_BhwD)
    decoded_BHWC = vqgan.decode_pixels(model, params, features_BHWC)
    aux = {"z": z_BhwD, "ids": ids_BL, "features": features_BHWC, "metrics": metrics}
    return (decoded_BHWC, latent_loss), jax.lax.stop_gradient(aux)


def image_loss(
    training: AdversarialConfig,
    perceptual_params: perceptual.Params | None,
    step: Array,
    images_BHWC: Float[Array, "B H W 3"],
    decoded_BHWC: Float[Array, "B H W 3"],
) -> tuple[Array, dict[str, Array]]:
    """The weighted sum of the losses that compare images, and each of them unweighted."""
    difference = decoded_BHWC - images_BHWC
    size = jnp.abs if training.reconstruction == "l1" else jnp.square
    reconstruction = jnp.mean(size(difference))
    loss = training.reconstruction_weight * reconstruction
    metrics = {"loss_reconstruction": reconstruction}
    config = training.perceptual
    if config is not None and config.weight > 0:  # a weight of 0 only measures
        distance = _from_step(
            config.start,
            step,
            lambda decoded, images, params: jnp.mean(
                perceptual.distance(config, params, images, decoded)
            ),
            decoded_BHWC,
            images_BHWC,
            perceptual_params,
        )
        loss = loss + config.weight * distance
        metrics["loss_perceptual"] = distance
    return loss, metrics


def judgement_weight(
    model: VQGANConfig,
    training: AdversarialConfig,
    params: Params,
    features_BHWC: Float[Array, "B h w C"],
    compared_grad_BHWC: Float[Array, "B H W 3"],
    judged_grad_BHWC: Float[Array, "B H W 3"],
) -> Array:
    """The weight of the discriminator's judgement beside the losses that compare images.

    Args:
        model, training: what to compute.
        params: of the generator.
        features_BHWC: as `forward` gives them.
        compared_grad_BHWC, judged_grad_BHWC: gradients of the losses that compare images, and of
            the judgement, with respect to the decoded images.
    """
    weight = jnp.asarray(training.generator_weight)
    if training.generator_balance == "fixed":
        return weight
    decoder = params["decoder"]

    def pixels(kernel: Array) -> Array:
        conv_out = {**decoder["conv_out"], "kernel": kernel}
        changed = {**params, "decoder": {**decoder, "conv_out": conv_out}}
        return vqgan.decode_pixels(model, changed, features_BHWC)

    # How hard each pulls on the kernel of the last convolution.
    _, pullback = jax.vjp(pixels, decoder["conv_out"]["kernel"])
    compared, judged = (
        jnp.linalg.norm(pullback(grad)[0]) for grad in (compared_grad_BHWC, judged_grad_BHWC)
    )
    return weight * jnp.clip(compared / (judged + _WEIGHT_EPSILON), 0.0, _MAX_WEIGHT)


def _from_step(start: int, step: Array, loss: Callable[..., Array], *arguments: Any) -> Array:
    """A scalar loss that counts from a step on; before it, it is 0."""
    if start == 0:
        return loss(*arguments)
    zero = lambda *_: jnp.zeros(())
    return conditional.either(step >= start, loss, zero, *arguments)
