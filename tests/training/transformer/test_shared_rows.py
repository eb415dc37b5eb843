"""Training on devices that share rows is training on one device."""

import dataclasses

import jax
import numpy as np
import pytest

from lvm_jax import mesh as mesh_lib
from lvm_jax import partition
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.training import optimizer
from lvm_jax.training.transformer import next_token
from lvm_jax.training.transformer.state import make_init

ROWS, CONTEXT, STEPS = 4, 32, 2
MODEL = dataclasses.replace(PRESETS["debug"], context=CONTEXT)
OPTIMIZER = optimizer.OptimizerConfig(peak_lr=1e-2, warmup_steps=1, decay_steps=8)


def make_batch(step):
    """Packed rows: sentences whose seams lie within chunks, some ids without loss, padding."""
    rng = np.random.default_rng(step)
    ids = rng.integers(0, MODEL.vocabulary.num_codes, (ROWS, CONTEXT + 1), dtype=np.int32)
    lengths = (9, 13, 6, 4)
    row = np.repeat([1, 2, 3, 0], lengths).astype(np.int32)
    positions = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
    weights = (rng.random(ids[:, 1:].shape) < 0.7) & (row != 0)
    return {
        "inputs": ids[:, :-1],
        "targets": ids[:, 1:],
        "segments": np.tile(row, (ROWS, 1)),
        "positions": np.tile(positions, (ROWS, 1)),
        "weights": weights.astype(np.float32),
    }


def train(sizes, model=MODEL, **options):
    """(metrics of every step, last parameters, an evaluation's sums)."""
    config = mesh_lib.MeshConfig(**dict(zip(mesh_lib.AXES, sizes)))
    mesh = mesh_lib.make_mesh(config, jax.devices()[: int(np.prod(sizes))])
    arguments = (model, OPTIMIZER, mesh, partition.Rules())
    place = lambda batch: jax.device_put(batch, partition.batch_sharding(mesh))
    state = make_init(*arguments, 0)()
    step = next_token.make_step(*arguments, **options)
    history = []
    for index in range(STEPS):
        state, metrics = step(state, place(make_batch(index)))
        history.append(jax.device_get(metrics))
    evaluate = next_token.make_eval(
        model, mesh, partition.Rules(), loss_chunks=options.get("loss_chunks", 1)
    )
    sums = jax.device_get(evaluate(state["params"], place(make_batch(STEPS))))
    return history, jax.device_get(state["params"]), sums


@pytest.fixture(scope="module")
def alone():
    return train((1, 1, 1, 1))


@pytest.mark.parametrize(
    "sizes, remat, options",
    [
        ((1, 2, 2, 2), "full", {"accumulation": 2}),
        ((1, 2, 4, 1), "dots", {"loss_chunks": 2}),
    ],
)
def test_training_on_shared_rows_is_training_on_one_device(alone, sizes, remat, options):
    model = dataclasses.replace(MODEL, remat=remat)
    history, params, sums = train(sizes, model, **options)
    # Sums in another order: a few units in the last place of losses near 4 and of parameters
    # that moved by 1e-2 a step.
    for metrics, expected in zip(history, alone[0]):
        for key in expected:
            np.testing.assert_allclose(metrics[key], expected[key], rtol=2e-6, atol=1e-6)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-4)
    jax.tree.map(close, params, alone[1])
    for key, expected in alone[2].items():
        np.testing.assert_allclose(sums[key], expected, rtol=1e-5, err_msg=key)
