"""The VQGAN's step: gradients, codes, the discriminator's start, meshes, and that it learns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax import mesh as mesh_lib
from lvm_jax import trees
from lvm_jax.tokenizer import vqgan
from lvm_jax.tokenizer.config import PRESETS
from lvm_jax.training import adversarial, discriminator
from lvm_jax.training.adversarial import AdversarialConfig
from lvm_jax.training.discriminator import DiscriminatorConfig
from lvm_jax.training.optimizer import OptimizerConfig

MODEL = PRESETS["debug"]
JUDGE = DiscriminatorConfig(base_dim=4, num_layers=1, norm_groups=2)
ADAM = OptimizerConfig(peak_lr=3e-3, end_lr=3e-4, warmup_steps=0, decay_steps=100, weight_decay=0.0)
PLAIN = AdversarialConfig(
    reconstruction="l2", codebook="ema", restart_after=10, generator_weight=0.0, ema_decay=0.9
)
JUDGED = dataclasses.replace(
    PLAIN,
    codebook="gradient",
    generator_weight=1e-3,
    generator_balance="fixed",
    discriminator_start=2,
    discriminator=JUDGE,
    restart_after=0,
)


def one_device() -> jax.sharding.Mesh:
    return mesh_lib.make_mesh(mesh_lib.MeshConfig(), jax.devices()[:1])


@functools.cache
def programs(training: AdversarialConfig, num_devices: int = 1, seed: int = 0):
    mesh = mesh_lib.make_mesh(
        mesh_lib.MeshConfig(data=num_devices, fsdp=1), jax.devices()[:num_devices]
    )
    arguments = (MODEL, training, ADAM, ADAM, mesh, seed)
    return adversarial.make_init(*arguments), adversarial.make_step(*arguments)


def batch(step: int) -> np.ndarray:
    """Smooth pictures: a color gradient in a random direction."""
    rng = np.random.default_rng(step)
    corners = rng.integers(0, 256, (16, 2, 2, 3)).astype(np.float32)
    ramp = np.stack([np.linspace(1, 0, 16), np.linspace(0, 1, 16)])
    images = np.einsum("biJc,ih,Jw->bhwc", corners, ramp, ramp)
    return images.astype(np.uint8)


def run(training: AdversarialConfig, num_steps: int, **kwargs):
    init, step = programs(training, **kwargs)
    state, history = init(), []
    for index in range(num_steps):
        state, metrics = step(state, batch(index))
        history.append(jax.device_get(metrics))
    return state, history


def test_it_learns_and_keeps_its_codes_alive():
    state, history = run(PLAIN, 100)
    first, last = history[1], history[-1]
    # The first steps answer with gray, whose PSNR is about 11.
    assert last["psnr"] > first["psnr"] + 3.0
    assert last["codebook_usage"] > 0.9
    assert last["codebook_perplexity"] > 0.4 * MODEL.num_codes
    assert state["step"] == 100
    evaluate = adversarial.make_eval(MODEL, one_device())
    result = evaluate(state["ema"], batch(1000))
    assert result["psnr"].mean() > last["psnr"] - 1.0
    assert result["ids"].shape == (16, MODEL.tokens_per_image)


def test_metrics_name_every_loss_term():
    for training, more in ((PLAIN, set()), (JUDGED, {"loss_generator", "loss_discriminator"})):
        init, step = programs(training)
        _, metrics = jax.eval_shape(step, jax.eval_shape(init), batch(0))
        expected = {"loss", "loss_reconstruction", "loss_commitment", "loss_codebook", "psnr"}
        assert expected | {"codebook_usage", "codebook_perplexity"} | more <= set(metrics)
        assert all(value.shape == () for value in metrics.values())


def test_the_first_step_puts_every_code_onto_an_encoder_output():
    init, step = programs(PLAIN)
    images = batch(0)
    params = jax.device_get(init()["params"])
    z_ND = vqgan.encode(MODEL, params, images / np.float32(255)).reshape(-1, MODEL.code_dim)
    state, metrics = step(init(), images)
    assert metrics["codes_restarted"] == MODEL.num_codes
    gaps = np.abs(np.asarray(state["params"]["codebook"])[:, None] - np.asarray(z_ND)).max(-1)
    # The same encoder in two programs: equal up to rounding.
    assert gaps.min(1).max() < 1e-5


def test_a_code_restarts_only_after_its_time():
    init, step = programs(PLAIN)
    state, _ = step(init(), batch(0))
    far = state["params"]["codebook"].at[3].set(1e3)
    moving = {**state["moving"], "sums": state["moving"]["sums"].at[3].mul(0.0)}
    moving["counts"] = moving["counts"].at[3].set(0.0)
    state = {**state, "params": {**state["params"], "codebook": far}, "moving": moving}
    jumps = []
    for index in range(1, PLAIN.restart_after + 1):
        state, _ = step(state, batch(index))
        jumps.append(float(jnp.abs(state["params"]["codebook"][3]).max()) < 100)
    assert jumps == [False] * (PLAIN.restart_after - 1) + [True]
    np.testing.assert_array_equal(state["ema"]["codebook"], state["params"]["codebook"])


def test_the_same_seed_gives_bitwise_the_same_run_and_another_seed_another():
    (a, _), (b, _) = run(PLAIN, 3), run(PLAIN, 3)
    assert trees.fingerprint(a["params"]) == trees.fingerprint(b["params"])
    first, other = (programs(PLAIN, seed=seed)[0]()["params"] for seed in (0, 1))
    assert trees.fingerprint(first) != trees.fingerprint(other)


def test_two_devices_train_like_one():
    """Sums over the batch are made in another order, so equality is up to rounding."""
    _, one = run(JUDGED, 4)
    _, two = run(JUDGED, 4, num_devices=2)
    for a, b in zip(one, two):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-3)
        np.testing.assert_allclose(a["grad_norm"], b["grad_norm"], rtol=1e-2)


def test_the_discriminator_waits_for_its_start():
    init, step = programs(JUDGED)
    state = init()
    before = trees.fingerprint(state["discriminator"]["params"])
    for index in range(JUDGED.discriminator_start):
        state, metrics = step(state, batch(index))
        assert metrics["loss_discriminator"] == metrics["generator_weight"] == 0.0
        assert trees.fingerprint(state["discriminator"]["params"]) == before
    state, metrics = step(state, batch(JUDGED.discriminator_start))
    assert metrics["loss_discriminator"] > 0.0 and metrics["generator_weight"] > 0.0
    assert trees.fingerprint(state["discriminator"]["params"]) != before


@pytest.mark.parametrize(("balance", "codebook"), [("fixed", "ema"), ("adaptive", "gradient")])
def test_gradients_by_hand_are_those_of_the_total_loss(balance, codebook):
    """The step's own loss, written down in one piece and differentiated as a whole."""
    training = dataclasses.replace(
        JUDGED,
        reconstruction="l1",
        reconstruction_weight=2.0,
        codebook=codebook,
        codebook_weight=0.7,
        generator_weight=0.5,
        generator_balance=balance,
        discriminator_start=0,
    )
    arguments = (MODEL, training, ADAM, ADAM)
    state = jax.device_get(adversarial.make_init(*arguments, one_device(), 0)())
    images = batch(0)[:4]
    setup = adversarial._setup(*arguments, 0)
    _, metrics = jax.jit(functools.partial(adversarial._step, setup))(state, images)

    x = images.astype(np.float32) / 255
    judge = state["discriminator"]["params"]
    # At the first step all codes sit near the origin; the codes of the forward pass are constants.
    fixed = vqgan.lookup(MODEL, state["params"], vqgan.encode(MODEL, state["params"], x))

    def total(params):
        z = vqgan.encode(MODEL, params, x)
        code = params["codebook"][fixed].reshape(z.shape)
        decoded = vqgan.decode_latents(MODEL, params, z + jax.lax.stop_gradient(code - z))
        loss = 2.0 * jnp.abs(decoded - x).mean()
        loss += 0.25 * jnp.square(z - jax.lax.stop_gradient(code)).mean()
        if codebook == "gradient":
            loss += 0.7 * jnp.square(jax.lax.stop_gradient(z) - code).mean()
        return (
            loss - metrics["generator_weight"] * discriminator.scores(JUDGE, judge, decoded).mean()
        )

    loss, grads = jax.jit(jax.value_and_grad(total))(state["params"])
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    norm = np.sqrt(sum(float(jnp.sum(g * g)) for g in jax.tree.leaves(grads)))
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-4)
    if balance == "fixed":
        np.testing.assert_allclose(metrics["generator_weight"], 0.5)


def test_psnr():
    images = jnp.full((2, 4, 4, 3), 0.5)
    decoded = images.at[0].add(0.1).at[1].set(7.0)
    # The second one is clipped to 1: an error of 0.5.
    np.testing.assert_allclose(
        adversarial.psnr(images, decoded), [20.0, -20 * np.log10(0.5)], rtol=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commitment_weight": -1.0}, "training.commitment_weight=-1.0 must not be negative"),
        ({"ema_decay": 1.0}, "training.ema_decay=1.0 must lie in"),
        ({"reconstruction_weight": 0.0}, "training.reconstruction_weight=0.0 must be positive"),
    ],
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAIN, **changes)


def test_a_discriminator_too_deep_for_the_images_is_refused():
    deep = dataclasses.replace(JUDGED, discriminator=DiscriminatorConfig(num_layers=3))
    with pytest.raises(ValueError, match="num_layers=3 needs images of 24 pixels"):
        adversarial.make_init(MODEL, deep, ADAM, ADAM, one_device(), 0)
