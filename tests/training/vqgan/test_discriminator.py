"""The patch discriminator: batch-invariant, local, blurred if asked for, able to learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lvm_jax.training.vqgan import discriminator, game
from lvm_jax.training.vqgan.discriminator import DiscriminatorConfig

CONFIG = DiscriminatorConfig(base_dim=4, num_layers=2, norm_groups=2)
IMAGES = jnp.asarray(np.random.default_rng(0).random((3, 16, 16, 3), np.float32))


def test_scores_patches_and_each_image_alone():
    params = discriminator.init_params(CONFIG, 0)
    scores = jax.jit(discriminator.scores, static_argnums=0)
    together = scores(CONFIG, params, IMAGES)
    assert together.shape == (3, 2, 2)
    changed = scores(CONFIG, params, jnp.stack([IMAGES[0], 1 - IMAGES[1], 0 * IMAGES[2]]))
    np.testing.assert_array_equal(together[0], changed[0])
    assert not np.allclose(together[1:], changed[1:])


def test_without_norm_a_score_sees_only_its_patch():
    config = DiscriminatorConfig(base_dim=4, num_layers=1, norm_groups=0)
    params = discriminator.init_params(config, 0)
    seen = jax.grad(lambda x: discriminator.scores(config, params, x)[0, 0, 0])(IMAGES[:1])
    touched = np.abs(np.asarray(seen)).sum((0, 3)) > 0
    # A patch spans 16 pixels, of which the padding of the first one takes 5.
    assert touched[:11, :11].all() and not touched[11:].any() and not touched[:, 11:].any()


def test_a_blur_keeps_constants_and_halves():
    constant = jnp.full((1, 9, 6, 2), jnp.array([0.3, -2.0]))
    blurred = discriminator.blur_pool(constant)
    assert blurred.shape == (1, 4, 3, 2)
    np.testing.assert_allclose(blurred, constant[:, :4, :3], rtol=1e-6)


def test_a_blur_is_blind_to_the_finest_stripes():
    stripes = jnp.tile(jnp.array([0.0, 1.0]), 8).reshape(1, 1, 16, 1).repeat(4, axis=1)
    inside = discriminator.blur_pool(stripes)[:, :, 1:-1]
    np.testing.assert_allclose(inside, 0.5, atol=1e-6)
    moved = discriminator.blur_pool(1 - stripes)[:, :, 1:-1]
    np.testing.assert_allclose(inside, moved, atol=1e-6)


def test_a_blurring_one_scores_as_many_patches():
    config = dataclasses.replace(CONFIG, downsample="blur")
    params = discriminator.init_params(config, 0)
    assert jax.eval_shape(lambda x: discriminator.scores(config, params, x), IMAGES).shape == (
        (3, 2, 2)
    )


def test_it_learns_to_tell_smooth_images_from_noise():
    noise = jnp.asarray(np.random.default_rng(1).random((8, 16, 16, 3), np.float32))
    smooth = jnp.repeat(jnp.repeat(noise[:, ::8, ::8], 8, axis=1), 8, axis=2)
    tx = optax.adam(3e-3)

    @jax.jit
    def step(params, state):
        score = lambda params, images: discriminator.scores(CONFIG, params, images)
        loss, grads = jax.value_and_grad(
            lambda p: game.discriminator_loss("hinge", score(p, smooth), score(p, noise))
        )(params)
        updates, state = tx.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    params = discriminator.init_params(CONFIG, 0)
    state = tx.init(params)
    for _ in range(60):
        params, state, loss = step(params, state)
    # Chance is 2.
    assert loss < 0.5


def test_the_smallest_image_leaves_one_patch():
    size = discriminator.min_image_size(CONFIG)
    params = discriminator.init_params(CONFIG, 0)
    assert discriminator.scores(CONFIG, params, jnp.zeros((1, size, size, 3))).shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_groups": 3}, "norm_groups=3 must divide"),
        ({"num_layers": 0}, "num_layers=0 must be at least 1"),
        ({"downsample": "pool"}, "downsample='pool' must be conv or blur"),
    ],
)
def test_bad_geometry_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DiscriminatorConfig(**{"base_dim": 4, "norm_groups": 2, **changes})
