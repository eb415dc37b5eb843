import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax import mesh as mesh_lib
from lvm_jax import partition
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.training import optimizer
from lvm_jax.training.transformer import next_token
from lvm_jax.training.transformer.batch import abstract_batch
from lvm_jax.training.transformer.loss import loss_sums, token_losses
from lvm_jax.training.transformer.state import make_init
from lvm_jax.vocabulary import Vocabulary

MODEL = dataclasses.replace(PRESETS["debug"], context=16)
OPTIMIZER = optimizer.OptimizerConfig(peak_lr=1e-2, warmup_steps=1, decay_steps=8)
ROWS, CONTEXT, STEPS = 8, 16, 3


def make_batch(step, rows=ROWS):
    """Random ids; rows differ much in weight, so that a mean of means would differ."""
    rng = np.random.default_rng(step)
    ids = rng.integers(0, MODEL.vocabulary.num_codes, (rows, CONTEXT + 1), dtype=np.int32)
    keep = rng.random((rows, CONTEXT)) < np.linspace(0.1, 1.0, rows)[:, None]
    positions = np.tile(np.arange(CONTEXT, dtype=np.int32), (rows, 1))
    return {
        "inputs": ids[:, :-1],
        "targets": ids[:, 1:],
        "segments": np.ones((rows, CONTEXT), np.int32),
        "positions": positions,
        "weights": keep.astype(np.float32),
        "kinds": np.where(keep, rng.integers(0, 3, keep.shape), -1).astype(np.int16),
    }


def train(sizes=(1, 1, 1, 1), batches=None, **options):
    """(metrics by name as arrays over steps, final params) of a few real steps on a mesh."""
    config = mesh_lib.MeshConfig(**dict(zip(mesh_lib.AXES, sizes)))
    mesh = mesh_lib.make_mesh(config, jax.devices()[: int(np.prod(sizes))])
    arguments = (MODEL, OPTIMIZER, mesh, partition.Rules())
    state = make_init(*arguments, 0)()
    step = next_token.make_step(*arguments, **options)
    history = []
    for index in range(STEPS):
        batch = make_batch(index) if batches is None else batches[index]
        state, metrics = step(state, jax.device_put(batch, partition.batch_sharding(mesh)))
        history.append(jax.device_get(metrics))
    assert int(state["step"]) == STEPS
    series = {key: np.array([m[key] for m in history]) for key in history[0]}
    return series, jax.device_get(state["params"])


@pytest.fixture(scope="module")
def plain():
    return train()


def assert_same_training(trained, expected):
    # Sums in another order: a few units in the last place of losses near 4 and of parameters
    # that moved by 1e-2 a step.
    for key in ("loss", "grad_norm", "accuracy", "learning_rate", "tokens"):
        np.testing.assert_allclose(trained[0][key], expected[0][key], rtol=2e-6, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-4), trained[1], expected[1]
    )


def test_accumulation_is_the_whole_batch(plain):
    assert_same_training(train(accumulation=4), plain)


def test_chunked_loss_is_the_whole_loss(plain):
    assert_same_training(train(loss_chunks=4), plain)


def test_a_loss_in_chunks_of_split_rows_is_the_whole_loss(plain):
    assert_same_training(train((2, 1, 4, 1), loss_chunks=2), plain)


def test_a_mesh_is_the_single_device_and_repeats_bitwise(plain):
    on_mesh = train((2, 2, 1, 2), accumulation=2)
    assert_same_training(on_mesh, plain)
    again = train((2, 2, 1, 2), accumulation=2)
    for key, values in on_mesh[0].items():
        np.testing.assert_array_equal(values, again[0][key])
    jax.tree.map(np.testing.assert_array_equal, on_mesh[1], again[1])


def test_first_loss_is_near_that_of_a_uniform_guess(plain):
    num_legal = MODEL.vocabulary.eos + 1
    assert plain[0]["loss"][0] == pytest.approx(np.log(num_legal), abs=0.05)
    # The schedule's warm-up starts at zero; logged is the rate of this very update.
    np.testing.assert_allclose(plain[0]["learning_rate"][:2], [0.0, 1e-2])


def test_a_batch_without_weights_changes_no_number_to_nan():
    batches = [make_batch(0) | {"weights": np.zeros((ROWS, CONTEXT), np.float32)}] * STEPS
    metrics, params = train(batches=batches)
    assert metrics["loss"].tolist() == [0.0] * STEPS
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_losses_are_log_softmax_over_legal_ids():
    vocabulary = Vocabulary(num_codes=10, num_special=4, pad_multiple=16)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 16)).astype(np.float32) * 5
    targets = np.array([[0, 9, vocabulary.eos], [5, vocabulary.bos, 3]], np.int32)
    losses, hits, log_sums = token_losses(jnp.asarray(logits), jnp.asarray(targets), vocabulary)
    legal = logits[..., :12].astype(np.float64)
    expected = (
        np.log(np.exp(legal).sum(-1)) - np.take_along_axis(legal, targets[..., None], -1)[..., 0]
    )
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    np.testing.assert_allclose(log_sums, np.log(np.exp(legal).sum(-1)), rtol=1e-6)
    np.testing.assert_array_equal(hits, legal.argmax(-1) == targets)


def test_ids_that_are_never_targets_neither_win_nor_learn():
    vocabulary = Vocabulary(num_codes=10, num_special=4, pad_multiple=16)
    logits = jnp.zeros((1, 1, 16)).at[..., vocabulary.pad :].set(100.0)
    targets = jnp.zeros((1, 1), jnp.int32)
    loss = lambda x: token_losses(x, targets, vocabulary)[0].sum()
    value, gradient = jax.value_and_grad(loss)(logits)
    assert value == pytest.approx(np.log(12), rel=1e-6)
    np.testing.assert_array_equal(gradient[..., vocabulary.pad :], 0.0)


def test_targets_without_weight_do_not_matter():
    params = transformer.init_params(MODEL, 0)
    sums = jax.jit(functools.partial(loss_sums, MODEL))
    batch = make_batch(0)
    other = dict(batch, targets=np.where(batch["weights"] > 0, batch["targets"], 7))
    assert sums(params, batch)[0] == sums(params, other)[0]
    assert sums(params, batch)[1]["tokens"] == batch["weights"].sum()


def test_a_repeated_batch_is_learned():
    batch = jax.tree.map(jnp.asarray, make_batch(0))
    mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(fsdp=1), jax.devices()[:1])
    arguments = (MODEL, OPTIMIZER, mesh, partition.Rules())
    state, step = make_init(*arguments, 0)(), next_token.make_step(*arguments)
    losses = []
    for _ in range(8):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] - 0.5


def test_the_step_compiles_from_shapes_alone():
    mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(fsdp=1), jax.devices()[:1])
    arguments = (MODEL, OPTIMIZER, mesh, partition.Rules())
    state = jax.eval_shape(make_init(*arguments, 0))
    batch = abstract_batch(ROWS, CONTEXT, mesh, partition.Rules())
    new_state, metrics = jax.eval_shape(next_token.make_step(*arguments), state, batch)
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert shapes(new_state) == shapes(state)
    assert {"loss", "grad_norm", "learning_rate"} <= metrics.keys()
