"""The VQGAN's step: gradients, codes, the discriminator's start, meshes, and that it learns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lvm_jax import mesh as mesh_lib
from lvm_jax import trees
from lvm_jax.measures import perceptual
from lvm_jax.measures.perceptual import PerceptualConfig
from lvm_jax.tokenizer import quantizer, vqgan
from lvm_jax.tokenizer.vqgan_config import PRESETS
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.vqgan import (
    adversarial_state,
    adversarial_step,
    discriminator,
    generator_step,
    held_out,
)
from lvm_jax.training.vqgan.adversarial_config import AdversarialConfig
from lvm_jax.training.vqgan.discriminator import DiscriminatorConfig

# Fewer layers than "debug" has: most of a test's time is compilation.
MODEL = dataclasses.replace(
    PRESETS["debug"],
    patch_size=4,
    dim_multipliers=(1,),
    encoder_blocks=(1,),
    decoder_blocks=(1,),
    num_mid_blocks=0,
)
JUDGE = DiscriminatorConfig(base_dim=4, num_layers=1, norm_groups=2)
NETWORK = PerceptualConfig(network="vgg16_hed", stages=1, weight=0.3)
ADAM = OptimizerConfig(peak_lr=3e-3, end_lr=3e-4, warmup_steps=0, decay_steps=100, weight_decay=0.0)
PLAIN = AdversarialConfig(
    reconstruction="l2", codebook="ema", restart_after=10, generator_weight=0.0, ema_decay=0.9
)
# Everything that is a mean over images, so that micro-batches and meshes change rounding only.
FULL = dataclasses.replace(
    PLAIN,
    perceptual=dataclasses.replace(NETWORK, start=1),
    encoder_gradient="rotation",
    generator_weight=1e-2,
    generator_balance="fixed",
    discriminator_loss="non_saturating",
    discriminator_start=2,
    discriminator=dataclasses.replace(JUDGE, downsample="blur"),
    lecam_weight=0.1,
    r1_weight=0.1,
    r1_every=2,
    restart_after=0,
)
# Most of these tests' time is compilation.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@functools.cache
def perceptual_params():
    rng = np.random.default_rng(0)
    draw = lambda leaf: 0.3 * rng.standard_normal(leaf.shape, np.float32)
    return jax.tree.map(draw, perceptual.abstract_params(NETWORK))


def make_recipe(training: AdversarialConfig, data=1, fsdp=1, **kwargs) -> adversarial_state.Recipe:
    mesh = mesh_lib.make_mesh(
        mesh_lib.MeshConfig(data=data, fsdp=fsdp), jax.devices()[: data * fsdp]
    )
    optimizers = {"optimizer": ADAM, "discriminator_optimizer": ADAM}
    return adversarial_state.Recipe(
        model=MODEL, training=training, mesh=mesh, **optimizers, **kwargs
    )


@functools.cache
def programs(training: AdversarialConfig, **kwargs):
    recipe = make_recipe(training, **kwargs)
    params = None if training.perceptual is None else perceptual_params()
    init, step = adversarial_state.make_init(recipe), adversarial_step.make_step(recipe)
    with_params = lambda state, images: step(state, images, params)
    return init, jax.jit(with_params, compiler_options=QUICK)


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
    assert last["codebook_usage_window"] > 0.9
    assert last["codebook_perplexity_window"] > 0.4 * MODEL.num_codes
    evaluate = held_out.make_eval(make_recipe(PLAIN))
    result = evaluate(state["ema"], batch(1000))
    assert result.numbers["psnr"].mean() > last["psnr"] - 1.0
    assert 0.3 < result.numbers["ssim"].mean() < 1.0
    assert result.ids.shape == (16, MODEL.tokens_per_image)


def test_metrics_name_every_loss_term():
    terms = ("perceptual", "generator", "discriminator", "lecam", "r1")
    more = {f"loss_{term}" for term in terms} | {"generator_weight", "grad_norm_discriminator"}
    for training, others in ((PLAIN, set()), (FULL, more)):
        init, step = programs(training)
        _, metrics = jax.eval_shape(step, jax.eval_shape(init), batch(0))
        expected = {"loss", "loss_reconstruction", "loss_commitment", "loss_codebook", "psnr"}
        expected |= {"ssim", "grad_norm", "codebook_usage_window", "codebook_perplexity_window"}
        assert expected | {"codebook_usage", "codebook_perplexity"} | others <= set(metrics)
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
    moving = {name: leaf.at[3].set(0.0) for name, leaf in state["codes"]["moving"].items()}
    codes = {**state["codes"], "moving": moving}
    state = {**state, "params": {**state["params"], "codebook": far}, "codes": codes}
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


def test_pieces_of_a_batch_train_like_the_whole():
    """Sums over the batch are made in another order, so equality is up to rounding."""
    whole, expected = run(FULL, 4)
    state, actual = run(FULL, 4, accumulation=2, data=2, fsdp=2)
    for a, b in zip(expected, actual):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)
        for name in ("grad_norm", "grad_norm_discriminator", "loss_lecam", "loss_r1"):
            np.testing.assert_allclose(a[name], b[name], rtol=1e-2, atol=1e-5)
    assert expected[-1]["loss_r1"] == 0.0 < expected[-2]["loss_r1"]
    # Adam's first steps have the size of the learning rate however small a gradient is, so rounding
    # may send a weight the other way; most must agree.
    for name in ("params", "ema"):
        pairs = zip(jax.tree.leaves(whole[name]), jax.tree.leaves(state[name]))
        gaps = np.concatenate([np.abs(np.asarray(a) - np.asarray(b)).ravel() for a, b in pairs])
        assert np.median(gaps) < 1e-5 and np.mean(gaps) < 1e-4


def test_the_state_is_split_over_fsdp():
    recipe = make_recipe(FULL, accumulation=2, data=2, fsdp=2)
    state = jax.eval_shape(adversarial_state.make_init(recipe))
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    local = lambda tree: sum(
        np.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in jax.tree.leaves(tree)
    )
    for tree in (state["params"], state["ema"], state["opt_state"]):
        assert local(tree) < 0.7 * size(tree)


def test_the_discriminator_waits_for_its_start():
    init, step = programs(FULL)
    state = init()
    before = trees.fingerprint(state["discriminator"]["params"])
    for index in range(FULL.discriminator_start):
        state, metrics = step(state, batch(index))
        assert metrics["loss_discriminator"] == metrics["generator_weight"] == 0.0
        assert (metrics["loss_perceptual"] > 0.0) == (index >= FULL.perceptual.start)
        assert trees.fingerprint(state["discriminator"]["params"]) == before
        assert state["discriminator"]["usual"]["real"] == 0.0
    state, metrics = step(state, batch(FULL.discriminator_start))
    assert metrics["loss_discriminator"] > 0.0 and metrics["generator_weight"] > 0.0
    assert trees.fingerprint(state["discriminator"]["params"]) != before
    # What is usual begins with the first scores.
    np.testing.assert_allclose(state["discriminator"]["usual"]["real"], metrics["score_real"])


def test_gradients_by_hand_are_those_of_the_total_loss():
    """The step's own loss, written down in one piece and differentiated as a whole."""
    training = AdversarialConfig(
        reconstruction="l1",
        reconstruction_weight=2.0,
        perceptual=NETWORK,
        codebook_weight=0.7,
        entropy_weight=0.1,
        entropy_temperature=0.5,
        generator_weight=0.5,
        discriminator_start=0,
        discriminator=JUDGE,
    )
    recipe = make_recipe(training)
    state = jax.device_get(adversarial_state.make_init(recipe)())
    images, network = batch(0)[:4], perceptual_params()
    step = jax.jit(functools.partial(adversarial_step._step, recipe), compiler_options=QUICK)
    _, metrics = step(state, images, network)

    x = images.astype(np.float32) / 255
    judge = state["discriminator"]["params"]
    # At the first step all codes sit near the origin; the codes of the forward pass are constants.
    fixed = vqgan.lookup(MODEL, state["params"], vqgan.encode(MODEL, state["params"], x))

    def decode(params):
        z = vqgan.encode(MODEL, params, x)
        code = params["codebook"][fixed].reshape(z.shape)
        passed = z + jax.lax.stop_gradient(code - z)
        return z, code, vqgan.decode_features(MODEL, params, passed)

    def compare(decoded):
        distance = perceptual.distance(NETWORK, network, x, decoded).mean()
        return 2.0 * jnp.abs(decoded - x).mean() + 0.3 * distance

    def fool(decoded):
        return -discriminator.scores(JUDGE, judge, decoded).mean()

    def total(params, weight):
        z, code, features = decode(params)
        decoded = vqgan.decode_pixels(MODEL, params, features)
        loss = compare(decoded) + weight * fool(decoded)
        loss += 0.25 * jnp.square(z - jax.lax.stop_gradient(code)).mean()
        loss += 0.7 * jnp.square(jax.lax.stop_gradient(z) - code).mean()
        return loss + 0.1 * quantizer.entropy_loss(params["codebook"], z.reshape(-1, 4), 0.5)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def expected(params):
        def last(loss):
            """How hard a loss pulls on the last kernel."""
            features, decoder = decode(params)[2], params["decoder"]

            def of_kernel(kernel):
                changed = {**decoder, "conv_out": {**decoder["conv_out"], "kernel": kernel}}
                return loss(vqgan.decode_pixels(MODEL, {**params, "decoder": changed}, features))

            return jnp.linalg.norm(jax.grad(of_kernel)(decoder["conv_out"]["kernel"]))

        weight = 0.5 * last(compare) / (last(fool) + 1e-4)
        loss, grads = jax.value_and_grad(total)(params, jax.lax.stop_gradient(weight))
        return loss, weight, optax.tree.norm(grads)

    loss, weight, grad_norm = expected(state["params"])
    np.testing.assert_allclose(metrics["generator_weight"], weight, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)
    np.testing.assert_allclose(metrics["grad_norm"], grad_norm, rtol=1e-4)


def test_mixed_precision_keeps_float32_where_it_matters():
    mixed = dataclasses.replace(PLAIN, compute_dtype="bfloat16")
    recipe = make_recipe(mixed)
    state, step = (
        jax.eval_shape(adversarial_state.make_init(recipe)),
        adversarial_step.make_step(recipe),
    )
    shapes = jax.eval_shape(step, state, batch(0), None)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(shapes)}
    assert dtypes == {np.dtype("float32"), np.dtype("int32")}
    text = str(jax.make_jaxpr(step)(state, batch(0), None))
    convolutions = [line for line in text.splitlines() if " conv_general_dilated[" in line]
    assert sum("bf16" in line for line in convolutions) > len(convolutions) / 2
    params, images = vqgan.init_params(MODEL, 0), batch(0)[:2] / np.float32(255)
    z, rounded = (
        vqgan.encode(MODEL, generator_step.for_compute(training, params), images)
        for training in (PLAIN, mixed)
    )
    gap = np.abs(np.asarray(z - rounded)).max() / np.asarray(z).std()
    assert 0.0 < gap < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commitment_weight": -1.0}, "commitment_weight=-1.0 must not be negative"),
        ({"ema_decay": 1.0}, "ema_decay=1.0 must lie in"),
        ({"reconstruction_weight": 0.0}, "reconstruction_weight=0.0 must be positive"),
        ({"entropy_temperature": 0.0}, "entropy_temperature=0.0 must be positive"),
        ({"r1_every": 0}, "r1_every=0 must be at least 1"),
        ({"lecam_weight": 0.1}, "generator_weight=0 trains without one"),
    ],
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAIN, **changes)


def test_networks_too_deep_for_the_images_are_refused():
    deep = dataclasses.replace(FULL, discriminator=DiscriminatorConfig())
    with pytest.raises(ValueError, match="num_layers=3 needs images of 24 pixels"):
        make_recipe(deep)
