"""Runs that start from weights: of another run, of its average, of a model by itself."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from lvm_jax import trees
from lvm_jax.model import transformer
from lvm_jax.training import metrics, model_directory, stored_params
from lvm_jax.training.transformer import transformer_job
from lvm_jax.vocabulary import Framing
from tests.training.transformer.test_transformer_job import make_experiment

EMA = {"ema": {"decay": 0.5}}


@pytest.fixture(scope="module")
def shards(tmp_path_factory, write_toy_shards):
    return write_toy_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def source(shards, tmp_path_factory):
    """(workdir of a run with an average, its final state)."""
    workdir = tmp_path_factory.mktemp("source")
    return workdir, jax.device_get(transformer_job.train(make_experiment(shards, **EMA), workdir))


@pytest.fixture(scope="module")
def model(source, shards, tmp_path_factory):
    """A directory of the parameters alone, in bfloat16."""
    directory = tmp_path_factory.mktemp("model")
    short = trees.flatten(jax.tree.map(lambda leaf: leaf.astype("bfloat16"), source[1]["params"]))
    shapes = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in short.items()}
    config = model_directory.describe(
        dataclasses.replace(make_experiment(shards).model, rope_table="bfloat16"),
        framing=Framing(bos=False, eos=False),
        tokenizer_fingerprint="toy",
    )
    with model_directory.Writer(directory, config, shapes) as writer:
        for name, leaf in short.items():
            writer.write(name, leaf)
    return directory


def first_params(shards, workdir, num_steps=1, **changes):
    """Parameters of a run whose only update has no learning rate: those it started from."""
    experiment = make_experiment(
        shards, **{"mesh": {"fsdp": 2, "tensor": 2, "data": 2}, "loop": {"num_steps": 1}, **changes}
    )
    return transformer_job.train(experiment, workdir)


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), other)


def test_a_run_starts_from_another_one_on_another_mesh(source, shards, tmp_path, caplog):
    state = first_params(shards, tmp_path, init_from=str(source[0]))
    assert_equal(state["params"], source[1]["params"])
    assert int(state["step"]) == 1
    # The moments are those of one update; the schedule is the run's own.
    assert int(state["opt_state"][1][0].count) == 1
    assert metrics.read_metrics(tmp_path)[0]["train/learning_rate"] == 0
    about = json.loads((tmp_path / "config.json").read_text())["started_from"]
    assert (about["directory"], about["step"], about["average"]) == (str(source[0]), 4, False)
    assert len(about["fingerprint"]) == 64 and about["fresh"] == []
    # It goes on when the other run is no longer there, and still says where it came from.
    experiment = make_experiment(
        shards,
        init_from=str(tmp_path / "gone"),
        loop={"num_steps": 2},
        optimizer={"decay_steps": 4},
        mesh={"fsdp": 2, "tensor": 2, "data": 2},
    )
    assert int(transformer_job.train(experiment, tmp_path)["step"]) == 2
    assert json.loads((tmp_path / "config.json").read_text())["started_from"] == about
    assert f"init_from={tmp_path / 'gone'} is not looked at: {tmp_path} goes on" in caplog.text


def test_a_run_starts_from_an_average_and_begins_its_own(source, shards, tmp_path):
    state = first_params(shards, tmp_path, init_from=str(source[0]), init_ema=True, **EMA)
    assert_equal(state["params"], source[1]["ema"])
    assert_equal(state["ema"], jax.device_get(state["params"]))


def test_a_run_starts_from_a_model_with_some_parameters_anew(
    source, model, shards, tmp_path, caplog
):
    changes = {"init_from": str(model), "init_fresh": ("head", "layers/mlp/up/kernel")}
    state = first_params(shards, tmp_path, **changes)
    given = trees.flatten(jax.device_get(state["params"]))
    anew = trees.flatten(transformer.init_params(make_experiment(shards).model, 0))
    fresh = {"head/kernel", "layers/mlp/up/kernel"}
    for name, leaf in trees.flatten(source[1]["params"]).items():
        wanted = anew[name] if name in fresh else leaf.astype("bfloat16").astype(np.float32)
        assert given[name].dtype == np.float32
        np.testing.assert_allclose(given[name], wanted, rtol=0, atol=1e-7, err_msg=name)
    about = json.loads((tmp_path / "config.json").read_text())["started_from"]
    assert (about["step"], about["fresh"]) == (None, sorted(fresh))
    assert f"{model} was trained with model.rope_table=bfloat16, not float32" in caplog.text
    assert f"{model} learned sentences without BOS and EOS, and this run has them" in caplog.text


def test_no_device_holds_more_than_its_share(source, shards):
    experiment = make_experiment(shards, mesh={"fsdp": 8})
    mesh = transformer_job.make_mesh(experiment)
    weights = transformer_job.starting_weights.find(str(source[0]), experiment.model)
    params = weights.read(experiment.model, mesh, experiment.rules, 0)
    kernel = params["layers"]["mlp"]["up"]["kernel"]
    assert {shard.data.size * 8 for shard in kernel.addressable_shards} == {kernel.size}
    assert_equal(params, source[1]["params"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"num_layers": 3}}, r"attention/key/kernel has shape \(2, .*\), not \(3,"),
        (
            {"model": {"mlp_dim": 64}, "init_fresh": ("layers/mlp/up", "layers/mlp/gate")},
            r"model: layers/mlp/down/kernel has shape \(2, 48, 32\), not \(2, 64, 32\); change the",
        ),
        ({"init_fresh": ("layers/mlps",)}, r"init_fresh='layers/mlps' is no param.*layers/mlp"),
        ({"init_from": "/nowhere"}, r"init_from=/nowhere: /nowhere is no training directory"),
        ({"init_from": "", "init_fresh": ("head",)}, r"init_fresh=\('head',\) but there is no "),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_written(
    source, shards, tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message) as error:
        first_params(shards, tmp_path / "run", **{"init_from": str(source[0]), **changes})
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_ids_of_another_tokenizer_are_refused_unless_their_matrices_are_fresh(source, shards):
    model = make_experiment(shards).model
    find = transformer_job.starting_weights.find
    more = dataclasses.replace(model.vocabulary, num_codes=60, num_special=4)
    others = (
        (model, "other", r"tokenizer toy, not of other; the same ids .* embedding and head into"),
        (dataclasses.replace(model, vocabulary=more), "toy", r"has num_\w+=\d+, but model\.vocab"),
    )
    for config, tokenizer, message in others:
        with pytest.raises(ValueError, match=message):
            find(str(source[0]), config, tokenizer_fingerprint=tokenizer, fresh=("head",))
        find(str(source[0]), config, tokenizer_fingerprint=tokenizer, fresh=("head", "embedding"))


def test_a_model_is_read_like_a_run_and_has_no_average(source, model):
    params, config = stored_params.load_params(model)
    assert config["model"]["hidden_dim"] == 32
    assert str(params["head"]["kernel"].dtype) == "bfloat16"
    with pytest.raises(ValueError, match=r"is a model, not a run: it has no average"):
        stored_params.load_params(model, ema=True)
