"""What discriminator and generator minimise, against the formulas worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from lvm_jax.training.vqgan import game


def scores(*values: float) -> jax.Array:
    """One image, whose patches are scored so."""
    return jnp.array(values).reshape(1, 1, -1)


def test_hinge():
    real, fake = scores(2.0, 0.5), scores(-3.0, 1.0)
    # Real: 0 and 0.5; fake: 0 and 2.
    np.testing.assert_allclose(game.discriminator_loss("hinge", real, fake), 0.25 + 1.0)
    np.testing.assert_allclose(game.discriminator_loss("hinge", 0 * real, 0 * fake), 2.0)
    np.testing.assert_allclose(game.generator_loss("hinge", fake), 1.0)


def test_non_saturating_is_the_cross_entropy_of_telling_apart():
    real, fake = scores(2.0, 0.5), scores(-3.0, 1.0)
    is_real = lambda scores: 1 / (1 + np.exp(-scores))
    expected = -np.log(is_real(real)).mean() - np.log(1 - is_real(fake)).mean()
    loss = game.discriminator_loss("non_saturating", real, fake)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    # The generator wants its images called real, and more so the surer the discriminator is.
    loss = game.generator_loss("non_saturating", fake)
    np.testing.assert_allclose(loss, -np.log(is_real(fake)).mean(), rtol=1e-6)
    better = game.discriminator_loss("non_saturating", real + 1, fake - 1)
    assert better < game.discriminator_loss("non_saturating", real, fake)


def test_lecam_counts_only_excess():
    real, fake = scores(3.0, -1.0), scores(-2.0, 4.0)
    # Above what fakes usually get (1): 2 and 0; below what real ones usually get (2): 4 and 0.
    np.testing.assert_allclose(game.lecam(real, fake, 2.0, 1.0), (4 + 0) / 2 + (16 + 0) / 2)


def test_r1_of_a_linear_score_is_half_its_squared_weight():
    weights = np.random.default_rng(0).standard_normal((4, 4, 3)).astype(np.float32)
    images = jnp.asarray(np.random.default_rng(1).random((5, 4, 4, 3), np.float32))

    def score(images_BHWC):
        """Two patches per image, of which the second sees everything twice as strong."""
        whole = jnp.einsum("bhwc,hwc->b", images_BHWC, weights)
        return jnp.stack([whole, 2 * whole], axis=-1)[:, None]

    expected = 0.5 * np.sum(np.square(1.5 * weights))
    np.testing.assert_allclose(game.gradient_penalty(score, images), expected, rtol=1e-5)
