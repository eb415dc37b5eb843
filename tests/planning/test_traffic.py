"""The least traffic of a device's memory: it scales as its parts do."""

import dataclasses
import math

import jax
import pytest

from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.planning import traffic
from tests.planning.hlo import make_texts

CONFIG = dataclasses.replace(PRESETS["1b"], remat="full")
ONE = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}


def least(config=CONFIG, rows=64, **kwargs):
    mesh = {**ONE, **{name: kwargs.pop(name) for name in list(kwargs) if name in ONE}}
    return traffic.least(config, mesh, rows, 4096, **kwargs)


def test_the_update_alone_is_what_the_model_says():
    """Parameters and moments read and written, gradients written and read: nine passes, of which
    one, the forward pass's, is in the compute dtype here."""
    update = least().optimizer + least().gradients
    # Gradients also pass between the backward pass and the update once more: written, read.
    assert update / 4 == pytest.approx((6 + 4) * CONFIG.num_parameters, rel=0.01)


def test_activations_shrink_with_devices_and_parameters_with_shards():
    alone, four, shards = least(), least(data=4), least(fsdp=4)
    for part in ("activations", "saved", "logits"):
        assert getattr(four, part) == getattr(shards, part) == getattr(alone, part) / 4
    assert four.optimizer == alone.optimizer == 4 * shards.optimizer
    # Kernels are gathered before they are read.
    assert shards.parameters == alone.parameters


def test_tensor_parallelism_splits_kernels_and_what_is_kept():
    alone, split = least(), least(tensor=4)
    assert split.parameters == alone.parameters / 4
    assert split.logits == alone.logits / 4
    assert split.saved == alone.saved / 4
    assert alone.activations / 4 < split.activations < alone.activations


def test_micro_batches_read_the_kernels_and_write_the_gradients_each_time():
    one, four = least(), least(accumulation=4)
    assert four.parameters == 4 * one.parameters
    assert one.gradients < four.gradients < 4 * one.gradients
    assert four.activations == one.activations


def test_what_remat_keeps_costs_traffic_and_what_it_drops_does_too():
    saved = [
        least(dataclasses.replace(CONFIG, remat=remat)).saved
        for remat in ("full", "projections", "dots", "none")
    ]
    assert saved == sorted(saved) and saved[0] < saved[-1]
    none, full = least(dataclasses.replace(CONFIG, remat="none")), least()
    assert none.activations == full.activations * 3 / 4
    assert none.parameters == full.parameters * 2 / 3


def test_options_of_a_step():
    assert least(loss_chunks=4).logits > least().logits
    assert least(moment_bytes=6).optimizer < least().optimizer
    parts = dataclasses.asdict(least())
    assert least().total == sum(parts.values()) and min(parts.values()) > 0


@pytest.mark.parametrize("remat", ["full", "projections", "dots", "none"])
def test_what_a_layer_keeps_is_what_the_scan_stacks(remat):
    config = dataclasses.replace(
        PRESETS["debug"], context=512, attention="blockwise", remat=remat, num_layers=3
    )
    made = make_texts.training(config, jax.devices(), (2, 4, 1))
    traced = made.step.trace(jax.eval_shape(made.init_state), made.abstract_batch)
    forward = next(
        equation
        for equation in traced.jaxpr.eqns
        if equation.primitive.name == "scan" and equation.params["length"] == config.num_layers
    )
    shapes = [variable.aval.shape for variable in forward.outvars]
    stacked = sum(math.prod(shape) for shape in shapes if shape[:1] == (config.num_layers,))
    # Kernels in the compute dtype and numbers per position are small beside the rest.
    elements = stacked / (config.num_layers * 16 * config.context)
    assert elements == pytest.approx(traffic.kept_elements(config), rel=0.05)
