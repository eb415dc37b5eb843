"""Held-out rows are evaluated once each, whatever the batch and the devices."""

import collections

import jax
import numpy as np
import pytest

from lvm_jax import mesh as mesh_lib
from lvm_jax import partition
from lvm_jax.data.feeding.data_config import DataConfig, MixtureSource
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.training.transformer import device_rows, transformer_experiment, transformer_job
from lvm_jax.training.transformer.loss import loss_sums

CONTEXT = 16


@pytest.fixture(scope="module")
def shards(tmp_path_factory, write_toy_shards):
    """number -> shards of so many rows."""
    root = tmp_path_factory.mktemp("shards")
    places = {}
    for num_sentences in (4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22):
        place = write_toy_shards(root / str(num_sentences), num_sentences=num_sentences)
        places[open_rows(place, 1).rows_per_epoch] = place
    return places


def open_rows(place, batch, **values):
    config = DataConfig(shards=place, context=CONTEXT, **values)
    return Pipeline(config, seed=0, global_batch=batch, allow_repeats=True)


def make_mesh(num_devices):
    config = mesh_lib.MeshConfig(data=num_devices, fsdp=1)
    return mesh_lib.make_mesh(config, jax.devices()[:num_devices])


def rows_seen(source, limit, batch, num_devices):
    """How often each row comes with weight, by its ids."""
    mesh, seen = make_mesh(num_devices), collections.Counter()
    chosen = source.rows_once(limit)
    batches = device_rows.batches_once(source, chosen, (batch, CONTEXT), mesh, partition.Rules())
    for placed in batches:
        for ids, weights in zip(np.asarray(placed["inputs"]), np.asarray(placed["weights"])):
            if weights.any():
                seen[ids.tobytes()] += 1
    return seen


@pytest.mark.parametrize("num_rows", [5, 12])
@pytest.mark.parametrize("packing", ["sentence", "stream"])
@pytest.mark.parametrize(("batch", "num_devices"), [(1, 1), (4, 4), (8, 8), (9, 3), (16, 2)])
def test_every_row_comes_once(shards, num_rows, packing, batch, num_devices):
    source = open_rows(shards[num_rows], batch, packing=packing)
    seen = rows_seen(source, 100, batch, num_devices)
    assert len(seen) == source.rows_per_epoch and set(seen.values()) == {1}


def test_a_limit_takes_the_same_rows_in_any_batches(shards):
    place = shards[max(shards)]
    one, *others = [rows_seen(open_rows(place, b), 6, b, 1) for b in (1, 4, 6)]
    assert len(one) == 6 and all(other == one for other in others)


@pytest.mark.parametrize("limit", [6, 1000])
def test_rows_of_a_mixture_come_once(shards, limit):
    large, small = max(shards), min(shards)
    mixture = (
        MixtureSource(name="large", shards=shards[large], weight=1.0),
        MixtureSource(name="small", shards=shards[small], weight=9.0),
    )
    config = DataConfig(mixture=mixture, context=CONTEXT)
    source = Pipeline(config, seed=0, global_batch=4, allow_repeats=True)
    sources, rows = source.rows_once(limit)
    pairs = list(zip(sources.tolist(), rows.tolist()))
    assert len(set(pairs)) == len(pairs) <= limit
    if limit > large + small:
        assert len(pairs) == large + small
    else:
        assert 0 < (sources == 0).sum() < (sources == 1).sum()


def evaluated(place, batch_size, mesh, eval_batches=100, seed=0):
    experiment = transformer_experiment.build_experiment(
        {
            "seed": seed,
            "batch_size": batch_size,
            "data": {"shards": place, "context": CONTEXT},
            "eval_data": {"shards": place, "context": CONTEXT},
            "eval_batches": eval_batches,
            "model": {"preset": "debug", "context": CONTEXT},
            "loop": {"num_steps": 1},
        }
    )
    params = transformer.init_params(experiment.model, 0)
    source = transformer_job._open_held_out(experiment)
    (evaluator,) = transformer_job._evaluators(experiment, mesh, source).values()
    return dict(filter(None, evaluator({"params": params})))


def test_the_loss_is_that_of_each_row_once(shards):
    place = shards[max(shards)]
    source = open_rows(place, 1)
    alone = [evaluated_row(source, row) for row in range(source.rows_per_epoch)]
    loss, hits, tokens = np.sum(alone, axis=0)
    for batch_size, num_devices in ((4, 4), (8, 8), (9, 3), (64, 8)):
        values = evaluated(place, batch_size, make_mesh(num_devices))
        assert values["loss"] == pytest.approx(loss / tokens, rel=1e-6)
        assert values["accuracy"] == pytest.approx(hits / tokens, rel=1e-6)
        assert values["perplexity"] == pytest.approx(np.exp(loss / tokens), rel=1e-5)


def test_a_limit_takes_the_same_rows_for_any_seed(shards):
    place, mesh = shards[max(shards)], make_mesh(1)
    one, *others = [evaluated(place, 4, mesh, eval_batches=1, seed=seed) for seed in range(3)]
    assert others == [one, one] and one != evaluated(place, 4, mesh)


def evaluated_row(source, row):
    """(loss, hits, tokens) of one row by itself."""
    model = PRESETS["debug"]
    params = transformer.init_params(model, 0)
    batch = source.read_rows(np.array([0]), np.array([row]))
    loss, totals = jax.jit(loss_sums, static_argnums=0)(model, params, batch)
    return float(loss), float(totals["hits"]), float(totals["tokens"])
