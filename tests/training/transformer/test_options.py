"""What a step may do besides: each option's own property, on one device or eight."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lvm_jax import mesh as mesh_lib
from lvm_jax import partition
from lvm_jax.model import transformer
from lvm_jax.training import metrics, stored_params
from lvm_jax.training.transformer import ema as ema_lib
from lvm_jax.training.transformer import next_token, skipping, transformer_job
from lvm_jax.training.transformer.ema import EmaConfig
from lvm_jax.training.transformer.loss import loss_sums, token_losses
from lvm_jax.training.transformer.skipping import SkipConfig
from lvm_jax.training.transformer.state import make_init
from tests.training.transformer.test_next_token import CONTEXT, MODEL, OPTIMIZER, ROWS, make_batch
from tests.training.transformer.test_transformer_job import make_experiment


@pytest.fixture(scope="module")
def shards(tmp_path_factory, write_toy_shards):
    return write_toy_shards(tmp_path_factory.mktemp("shards"))


SIZES = (2, 4, 1, 1)
DECAY = 0.8


def walk(batches, optimizer=OPTIMIZER, **options):
    """(states after each batch, metrics of each) on eight devices."""
    mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(**dict(zip(mesh_lib.AXES, SIZES))))
    arguments = (MODEL, optimizer, mesh, partition.Rules())
    state = make_init(*arguments, 0, **options)()
    step = next_token.make_step(*arguments, **options)
    states, history = [], []
    for batch in batches:
        placed = jax.device_put(batch, partition.batch_sharding(mesh))
        state, values = step(state, placed)
        states.append(jax.device_get(state))
        history.append(jax.device_get(values))
    return states, history


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def bad_batches():
    """One whose loss is no number, and one whose gradient is a thousand times the others'."""
    whole = make_batch(7)
    signs = np.where(np.arange(ROWS * CONTEXT).reshape(ROWS, CONTEXT) % 2, 1000.0, -1000.0)
    return (
        whole | {"weights": np.full((ROWS, CONTEXT), np.nan, np.float32)},
        whole | {"weights": signs.astype(np.float32)},
    )


@pytest.fixture(scope="module")
def skipping_runs():
    """The same batches with bad ones between them and without: states and metrics of both."""
    options = {
        "ema": EmaConfig(decay=DECAY),
        "skip": SkipConfig(max_in_a_row=2, window=2, outlier_factor=20.0),
    }
    good, (no_number, outlier) = [make_batch(i) for i in range(5)], bad_batches()
    mixed = [*good[:2], no_number, good[2], outlier, no_number, *good[3:]]
    return walk(mixed, **options), walk(good, **options)


def test_after_bad_batches_a_run_goes_on_as_if_they_had_not_been(skipping_runs):
    (states, history), (expected, losses) = skipping_runs
    assert [values["skipped"] for values in history] == [0, 0, 1, 0, 1, 1, 0, 0]
    assert [values["skipped_in_a_row"] for values in history] == [0, 0, 1, 0, 1, 2, 0, 0]
    assert [values["skipped_in_all"] for values in history] == [0, 0, 1, 1, 2, 3, 3, 3]
    good = [values for values in history if not values["skipped"]]
    for values, other in zip(good, losses, strict=True):
        for key in ("loss", "grad_norm", "learning_rate", "accuracy"):
            assert values[key] == other[key]
    for key in ("params", "opt_state", "ema"):
        assert_equal(states[-1][key], expected[-1][key])
    assert (states[-1]["step"], expected[-1]["step"]) == (8, 5)


def test_an_update_that_is_left_out_changes_no_array(skipping_runs):
    (states, _), _ = skipping_runs
    for before, after in ((1, 2), (3, 4), (4, 5)):
        for key in ("params", "opt_state", "ema"):
            assert_equal(states[before][key], states[after][key])


def test_the_average_is_the_debiased_one(skipping_runs):
    states = skipping_runs[1][0]
    for count in (1, 3, 5):
        shares = DECAY ** np.arange(count)[::-1]
        leaves = [jax.tree.leaves(state["params"]) for state in states[:count]]
        average = jax.tree.leaves(states[count - 1]["ema"])
        for one, *each in zip(average, *leaves, strict=True):
            # Each average is the one before plus a difference, rounded; an update moves 1e-2.
            np.testing.assert_allclose(one, np.average(each, 0, shares), rtol=0, atol=1e-6)


def test_an_average_of_a_slow_decay_owes_nothing_to_what_was_before():
    config = EmaConfig(decay=0.99999)
    average = ema_lib.update(config, jnp.full(3, 1e3), jnp.ones(3), jnp.int32(1))
    np.testing.assert_allclose(average, 1.0, atol=1e-3)


def judged(norms, **values):
    """Which of some norms are left out."""
    config = SkipConfig(max_in_a_row=9, **{"window": 4, "outlier_factor": 10.0, **values})
    record, left_out = skipping.new_record(), []
    for norm in norms:
        values = {"loss": jnp.float32(1.0), "grad_norm": jnp.float32(norm)}
        good, record = skipping.judge(config, record, values)
        left_out.append(not good)
    return left_out, record


def test_norms_are_compared_with_what_is_usual():
    # No norm is too large before the window is full; then one of 50 is, one of 5 is not.
    assert judged([40, 1, 1, 1, 1, 1, 1, 1, 50, 5])[0] == [False] * 8 + [True, False]
    assert judged([1, 1, 1, 1, 50, np.nan], outlier_factor=0.0)[0] == [False] * 5 + [True]
    # What is left out hardly moves the mean; norms that have grown for good are followed.
    left_out, record = judged([1.0] * 6 + [1e6] + [1.0] * 2)
    assert left_out == [False] * 6 + [True] + [False] * 2 and record["total"] == 1
    assert judged([1.0] * 6 + [100.0] * 8)[0][-1] is False


def test_norms_of_batches_without_weight_say_nothing():
    left_out, record = judged([0.0, 1.0, 0.0, 1.0, np.inf])
    assert left_out == [False] * 4 + [True]
    assert record["seen"] == 2 and record["log_norm"] == 0.0


def test_z_loss_is_the_squared_log_sum():
    params, weight = transformer.init_params(MODEL, 0), 0.01
    batch = jax.tree.map(jnp.asarray, make_batch(0))

    def formula(params):
        inputs = (batch[key] for key in ("inputs", "segments", "positions"))
        logits_BLV = transformer.apply(MODEL, params, *inputs)
        losses_BL, _, log_sums_BL = token_losses(logits_BLV, batch["targets"], MODEL.vocabulary)
        added = weight * jnp.sum(log_sums_BL**2 * batch["weights"])
        return jnp.sum(losses_BL * batch["weights"]) + added, added

    def ours(params):
        minimised, totals = loss_sums(MODEL, params, batch, z_loss=weight, loss_chunks=2)
        return minimised, totals["z_loss"]

    (wanted, added), wanted_grads = jax.jit(jax.value_and_grad(formula, has_aux=True))(params)
    (given, given_added), grads = jax.jit(jax.value_and_grad(ours, has_aux=True))(params)
    assert given == pytest.approx(float(wanted), rel=1e-6)
    assert given_added == pytest.approx(float(added), rel=1e-6) and added > 1
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, wanted_grads
    )


def test_moments_in_the_hosts_memory_change_no_number():
    batches = [make_batch(i) for i in range(2)]
    offloaded = dataclasses.replace(OPTIMIZER, offload=True)
    (states, history), (expected, losses) = walk(batches, offloaded), walk(batches)
    assert_equal(history, losses)
    assert_equal(states[-1], expected[-1])


ALL = {
    "optimizer": {"first_moment_dtype": "bfloat16", "offload": True},
    "model": {"remat": "offload"},
    "ema": {"decay": 0.5, "evaluate": True},
    "skip": {"max_in_a_row": 2},
    "z_loss": 1e-4,
}


def test_a_run_with_all_of_them_goes_on_where_it_was(shards, tmp_path):
    held_out = {"eval_data": {"shards": shards, "context": 16}, "eval_batches": 1}
    experiment = make_experiment(shards, **ALL, **held_out)
    whole = transformer_job.train(experiment, tmp_path)
    lines = metrics.read_metrics(tmp_path)
    moment = whole["opt_state"][1][0].mu["head"]["kernel"]
    assert moment.dtype == jnp.bfloat16 and moment.sharding.memory_kind == "pinned_host"
    assert lines[0]["train/z_loss"] == pytest.approx(1e-4 * np.log(63) ** 2, rel=0.05)
    assert lines[-1]["eval/held_out_ema/loss"] != lines[-1]["eval/held_out/loss"]
    params, _ = stored_params.load_params(tmp_path, ema=True)
    assert_equal(params, jax.device_get(whole["ema"]))
    (tmp_path / "checkpoints" / "4").rename(tmp_path / "checkpoints" / "4.later")
    again = transformer_job.train(experiment, tmp_path)
    assert_equal(jax.device_get(again), jax.device_get(whole))
    other = make_experiment(shards, **{**ALL, "ema": {}}, loop={"num_steps": 6})
    with pytest.raises(ValueError, match=r"its ema\.decay was 0\.5 and is 0\.0 now") as error:
        transformer_job.train(other, tmp_path)
    assert "\n" not in str(error.value)


def test_too_many_in_a_row_end_the_run(shards, tmp_path):
    # Whatever grows is too large here.
    skip = {"max_in_a_row": 1, "window": 1, "outlier_factor": 1.0001}
    experiment = make_experiment(
        shards, skip=skip, loop={"num_steps": 40}, optimizer={"peak_lr": 0.3, "warmup_steps": 0}
    )
    with pytest.raises(Exception, match=r"step \d+: 2 updates in a row were left out .*grad_norm"):
        transformer_job.train(experiment, tmp_path)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"optimizer": {"offload": True}}, "optimizer.offload=True"),
        ({"model": {"remat": "offload"}}, "model.remat=offload"),
    ],
)
def test_devices_without_the_memory_are_refused(shards, monkeypatch, changes, field):
    experiment = transformer_job.resolve(make_experiment(shards, **changes))
    mesh = transformer_job.make_mesh(experiment)
    kind = type(jax.devices()[0])
    monkeypatch.setattr(kind, "addressable_memories", lambda device: [device.default_memory()])
    message = rf"^{field} needs pinned_host memory, but cpu has only device; leave it out here$"
    with pytest.raises(ValueError, match=message):
        transformer_job.make_training(experiment, mesh)
