"""What a discriminator and its opponent minimise, as functions of patch scores.

Letters: B images, H and W pixels, h and w the grid of patches.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

Game = Literal["hinge", "non_saturating"]


def discriminator_loss(
    game: Game, real_Bhw: Float[Array, "B h w"], fake_Bhw: Float[Array, "B h w"]
) -> Array:
    """What the discriminator minimises.

    "hinge" wants real scores above 1 and fake ones below -1 and is 2 at chance; "non_saturating" is
    the cross-entropy of telling them apart (Goodfellow et al. 2014), 2 log 2 at chance.
    """
    if game == "hinge":
        return jnp.mean(jax.nn.relu(1.0 - real_Bhw)) + jnp.mean(jax.nn.relu(1.0 + fake_Bhw))
    return jnp.mean(jax.nn.softplus(-real_Bhw)) + jnp.mean(jax.nn.softplus(fake_Bhw))


def generator_loss(game: Game, fake_Bhw: Float[Array, "B h w"]) -> Array:
    """What the generator minimises: it falls as the scores of its images rise."""
    return -jnp.mean(fake_Bhw) if game == "hinge" else jnp.mean(jax.nn.softplus(-fake_Bhw))


def lecam(
    real_Bhw: Float[Array, "B h w"],
    fake_Bhw: Float[Array, "B h w"],
    usual_real: Array,
    usual_fake: Array,
) -> Array:
    """LeCAM (Tseng et al. 2021): real scores kept near the usual fake ones and the reverse.

    Only excess counts: real above what fake ones usually get, fake below what real ones do.

    Args:
        real_Bhw, fake_Bhw: scores of this batch.
        usual_real, usual_fake: moving means of earlier batches' scores.
    """
    excess_real = jax.nn.relu(real_Bhw - usual_fake)
    excess_fake = jax.nn.relu(usual_real - fake_Bhw)
    return jnp.mean(jnp.square(excess_real)) + jnp.mean(jnp.square(excess_fake))


def gradient_penalty(
    score: Callable[[Array], Array], images_BHWC: Float[Array, "B H W 3"]
) -> Array:
    """R1 (Mescheder et al. 2018): how steep the scores of real images are.

    Half the squared norm of the gradient of an image's mean score with respect to its pixels in
    [0, 1], averaged over images.

    Args:
        score: images -> scores [B, h, w], each image for itself.
        images_BHWC: real ones.
    """
    grad_BHWC = jax.grad(lambda images: jnp.sum(jnp.mean(score(images), axis=(1, 2))))(images_BHWC)
    return 0.5 * jnp.mean(jnp.sum(jnp.square(grad_BHWC), axis=(1, 2, 3)))
