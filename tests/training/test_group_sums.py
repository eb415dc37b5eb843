"""Means of groups over the steps of a line, in a run that is stopped between two lines too."""

import shutil

import jax
import jax.numpy as jnp

from lvm_jax.training import metrics
from lvm_jax.training.group_sums import GroupSums
from tests.training import toy

LABELS = {"loss_by_kind": ("even", "odd", "never")}


def test_means_are_over_all_weights_not_over_steps():
    sums = GroupSums(LABELS)
    sums.add({"loss_by_kind": [[6.0, 0.0, 0.0], [2.0, 0.0, 0.0]], "loss": 1.0})
    sums.add({"loss_by_kind": [[1.0, 5.0, 0.0], [1.0, 4.0, 0.0]]})
    assert sums.take() == {"loss_by_kind/even": 7 / 3, "loss_by_kind/odd": 5 / 4}
    assert sums.take() == {}


def test_what_was_saved_goes_on_whatever_became_of_the_groups():
    sums = GroupSums(LABELS)
    sums.add({"loss_by_kind": [[6.0, 3.0, 0.0], [2.0, 1.0, 0.0]]})
    saved = sums.saved()
    assert saved == {"loss_by_kind": {"even": [6.0, 2.0], "odd": [3.0, 1.0]}}
    assert GroupSums(LABELS, saved).take() == sums.take()
    fewer = GroupSums({"loss_by_kind": ("odd", "new")}, {**saved, "gone": {"a": [1.0, 1.0]}})
    assert fewer.take() == {"loss_by_kind/odd": 3.0}
    assert sums.saved() == {}


@jax.jit
def step(state, batch):
    """The toy's, whose loss is that of one kind at even steps and of the other at odd ones."""
    after, values = toy.step_function(state, batch)
    is_kind = jnp.arange(3) == state["step"] % 2
    loss, weight = values["loss"], 1.0 + state["step"]
    sums = jnp.stack([is_kind * loss * weight, is_kind * weight])
    return after, {**values, "loss_by_kind": sums}


def means(workdir):
    return [
        {key: value for key, value in line.items() if key.startswith(("step", "train/loss"))}
        for line in metrics.read_metrics(workdir)
    ]


def test_a_run_resumed_between_two_lines_logs_the_same_means(tmp_path):
    config = {"log_every": 4, "checkpoint_every": 3, "keep_checkpoints": 9}
    toy.run(tmp_path, 12, config=config, step=step, labels=LABELS)
    whole = means(tmp_path)
    assert [line["step"] for line in whole] == [4, 8, 12]
    assert "train/loss_by_kind/odd" in whole[1] and "train/loss_by_kind/never" not in whole[1]
    for later in (9, 12):
        shutil.rmtree(tmp_path / "checkpoints" / str(later))
    toy.run(tmp_path, 12, config=config, step=step, labels=LABELS)
    assert means(tmp_path) == whole
