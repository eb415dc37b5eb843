"""The whole training in one process: real shards, pipeline, step, loop and checkpoints."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from lvm_jax import configs
from lvm_jax.model import transformer
from lvm_jax.training import metrics, stored_params
from lvm_jax.training.transformer import transformer_experiment, transformer_job
from lvm_jax.training.transformer.batch import BATCH_DTYPES
from tests.training.compilations import counting_compilations
from tests.training.without_data import assert_compiled_step_is_the_loops


@pytest.fixture(scope="module")
def shards(tmp_path_factory, write_toy_shards):
    return write_toy_shards(tmp_path_factory.mktemp("shards"))


def make_experiment(shards, **changes):
    values = {
        "batch_size": 8,
        "data": {"shards": shards, "context": 16, "num_threads": 1},
        "model": {"preset": "debug", "context": 16},
        "optimizer": {"peak_lr": 1e-2, "warmup_steps": 1},
        "mesh": {"fsdp": 8},
        "loop": {"num_steps": 4, "log_every": 1, "checkpoint_every": 2},
    }
    for key, value in changes.items():
        old = values.get(key)
        values[key] = {**old, **value} if isinstance(value, dict) and old else value
    return transformer_experiment.build_experiment(values)


def losses(workdir):
    lines = metrics.read_metrics(workdir)
    return [(x["step"], x["train/loss"]) for x in lines if "train/loss" in x]


@pytest.fixture(scope="module")
def finished(shards, tmp_path_factory):
    """(workdir, final state) of a run of four steps."""
    workdir = tmp_path_factory.mktemp("run")
    held_out = {"eval_data": {"shards": shards, "context": 16}, "eval_batches": 1}
    return workdir, transformer_job.train(make_experiment(shards, **held_out), workdir)


def test_trains_evaluates_and_saves(finished, shards):
    workdir, state = finished
    assert int(state["step"]) == 4
    lines = metrics.read_metrics(workdir)
    assert lines[0]["train/loss"] == pytest.approx(np.log(63), abs=0.1)
    evaluated = lines[-1]["eval/held_out/loss"]
    assert lines[-1]["eval/held_out/perplexity"] == pytest.approx(np.exp(evaluated))
    # All sentences are of one kind; EOS is of no image.
    for line, name in ((lines[0], "train"), (lines[-1], "eval/held_out")):
        assert line[f"{name}/loss_by_kind/toy"] == pytest.approx(line[f"{name}/loss"], rel=1e-6)
        by_image = [line[f"{name}/loss_by_image/{index}"] for index in range(3)]
        assert by_image == pytest.approx([np.log(63)] * 3, abs=0.5)
        assert f"{name}/loss_by_image/3" not in line
    params, config = stored_params.load_params(workdir)
    jax.tree.map(np.testing.assert_array_equal, params, jax.device_get(state["params"]))
    assert (config["kind"], config["tokenizer_fingerprint"]) == ("transformer", "toy")
    model = configs.build(transformer.TransformerConfig, config["model"], "model")
    assert model == make_experiment(shards).model


def test_goes_on_with_another_mesh(finished, shards, tmp_path):
    last = []
    for sizes in ({"fsdp": 2, "data": 2, "tensor": 2}, {"fsdp": 2, "context": 4}):
        workdir = shutil.copytree(finished[0], tmp_path / str(len(last)))
        changes = {"loop": {"num_steps": 5}, "optimizer": {"decay_steps": 4}, "mesh": sizes}
        state = transformer_job.train(make_experiment(shards, **changes), workdir)
        assert int(state["step"]) == 5
        assert [step for step, _ in losses(workdir)] == [1, 2, 3, 4, 5]
        last.append(losses(workdir)[-1][1])
    assert last[0] == pytest.approx(last[1], rel=5e-6)  # sums in another order


def test_the_step_is_compiled_once_in_every_start(shards, tmp_path):
    experiment = make_experiment(shards, loop={"num_steps": 5}, optimizer={"decay_steps": 5})
    shorter = make_experiment(shards, loop={"num_steps": 3}, optimizer={"decay_steps": 5})
    for each in (shorter, experiment):
        with counting_compilations("train_step") as compiled:
            transformer_job.train(each, tmp_path)
        assert len(compiled) == 1


def test_the_start_says_which_attention_runs(shards):
    experiment = transformer_job.resolve(make_experiment(shards))
    mesh = transformer_job.make_mesh(experiment)
    training = transformer_job.make_training(experiment, mesh)
    assert "attention: xla (rows of 16 ids have no blocks to skip)" in training.summary


def test_batches_are_the_pipelines_and_are_split_over_the_mesh(shards):
    experiment = make_experiment(shards, mesh={"data": 2, "fsdp": 2, "context": 2})
    mesh = transformer_job.mesh_lib.make_mesh(experiment.mesh)
    source = transformer_job.Pipeline(experiment.data, seed=0, global_batch=8)
    batches = transformer_job.device_batches(source, 3, experiment, mesh)
    for step in (3, 4):
        batch, expected = next(batches), source.batch(step)
        assert batch.keys() == BATCH_DTYPES.keys()
        for key, dtype in BATCH_DTYPES.items():
            np.testing.assert_array_equal(batch[key], expected[key])
            assert batch[key].dtype == dtype
            assert batch[key].sharding.shard_shape(batch[key].shape) == (2, 8)


def test_a_step_compiled_without_data_is_the_one_that_is_run(tmp_path, write_toy_shards):
    place = tmp_path / "shards"
    experiment = make_experiment(str(place), mesh={"data": 2, "fsdp": 2, "tensor": 2})
    mesh = transformer_job.make_mesh(experiment)
    training = transformer_job.make_training(transformer_job.resolve(experiment), mesh)
    traced = training.trace()
    write_toy_shards(place)
    transformer_job.train(experiment, tmp_path / "run")
    source = transformer_job.Pipeline(experiment.data, seed=0, global_batch=8)
    batch = next(transformer_job.device_batches(source, 0, experiment, mesh))
    assert_compiled_step_is_the_loops(training, traced, batch, (), tmp_path / "run")


def test_durations_in_epochs_and_tokens(shards):
    experiment = make_experiment(
        shards, loop={"num_steps": "2 epochs", "checkpoint_every": "256 tokens"}
    )
    source = transformer_job.Pipeline(experiment.data, seed=0, global_batch=8)
    resolved = transformer_job.resolve(experiment, source.rows_per_epoch)
    assert resolved.loop.num_steps == -(-2 * source.rows_per_epoch // 8)
    assert resolved.loop.checkpoint_every == 2
    assert resolved.optimizer.decay_steps == resolved.loop.num_steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 12}, r"^batch_size=12 must be a multiple of .*=8; use 8 or 16"),
        ({"mesh": {"fsdp": 3}}, r"mesh\.fsdp=3 .*does not make up 8 devices; nearest"),
        (
            {"mesh": {"fsdp": 4, "context": 2}, "data": {"context": 15}},
            r"^data\.context=15 must be a multiple of 2\*mesh\.context=4; nearest mesh .*"
            r" mesh\.context=1 ",
        ),
        (
            {"mesh": {"fsdp": 2, "context": 4}, "loss_chunks": 8},
            r"^data\.context=16 must be a multiple of loss_chunks\*mesh\.context=32; nearest"
            r" mesh .*mesh\.data=2 mesh\.fsdp=2 mesh\.context=2 ",
        ),
        (
            {"mesh": {"fsdp": 2, "context": 4}, "eval_data": {"shards": "/any", "context": 12}},
            r"^eval_data\.context=12 must be a multiple of 2\*mesh\.context=8; nearest mesh",
        ),
        (
            {"mesh": {"fsdp": 2, "context": 4}, "model": {"attention": "xla"}},
            r"^model\.attention=xla needs whole rows, which the mesh cuts in 4 parts; use model",
        ),
        ({"mesh": {"fsdp": 1, "tensor": 8}}, r"heads=\d\) does not divide over mesh\.tensor=8"),
        ({"model": {"preset": "debug", "vocabulary": {"num_codes": 99}}}, r"=99 but the shards"),
        ({"data": {"context": 32}}, r"data\.context=32 exceeds config\.model\.context=16"),
        ({"loss_chunks": 3}, r"config\.loss_chunks=3 must divide"),
        ({"data": {"shards": "/nowhere"}}, r"/nowhere"),
        ({"eval_data": {"context": 16}}, r"nor a mixture; set config\.eval_data\.shards=DIR"),
        ({"eval_data": {"shards": "/nowhere", "context": 16}}, r"eval_data\.shards: /nowhere"),
        ({"data": {"accept_changed": True}}, r"changed is now config\.loop\.accept_changed_data;"),
        ({"loop": {"num_steps": "soon"}}, r"loop\.num_steps='soon'"),
        ({"optimiser": {"peak_lr": 1.0}}, r"config\.optimiser.*did you mean config\.optimizer"),
        ({"optimizer": {"peak_rl": 1.0}}, r"config\.optimizer\.peak_rl=1\.0; did you mean"),
        (
            {"model": {"attention": "cudnn"}},
            r"model\.attention=cudnn needs GPU devices, not cpu; use model\.attention=auto",
        ),
        (
            {"model": {"attention": "splash"}},
            r"multiple of 128 ids, not data\.context=16; use 128, or model\.attention=auto",
        ),
        ({"model": {"preset": "3bb"}}, r"config\.model\.preset='3bb' is unknown; use one of"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(shards, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        transformer_job.train(make_experiment(shards, **changes), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("tokenizer, refused", [("another", True), ("toy", False), ("", False)])
def test_held_out_ids_of_another_tokenizer_are_refused(
    shards, tmp_path, write_toy_shards, tokenizer, refused
):
    held_out = write_toy_shards(tmp_path / "held_out", seed=1, tokenizer=tokenizer)
    experiment = make_experiment(shards, eval_data={"shards": held_out, "context": 16})
    if refused:
        message = r"^eval_data: .*held_out are of tokenizer another, .* are of toy; build"
        with pytest.raises(ValueError, match=message):
            transformer_job.train(experiment, tmp_path / "run")
        assert not (tmp_path / "run").exists()
    else:
        assert transformer_job.train(experiment, tmp_path / "run") is not None


def test_other_data_and_other_models_are_refused(finished, shards, tmp_path, write_toy_shards):
    others = {
        r"model\.norm_eps was 1e-06 and is 1e-05": {"model": {"norm_eps": 1e-5}},
        r"seed was 0 and is 1": {"seed": 1},
        r"data changed": {"data": {"shards": write_toy_shards(tmp_path / "other", seed=1)}},
    }
    before = (finished[0] / metrics.FILE).read_text()
    for message, changes in others.items():
        changed = make_experiment(shards, **{"loop": {"num_steps": 5}, **changes})
        with pytest.raises(ValueError, match=message):
            transformer_job.train(changed, finished[0])
    assert (finished[0] / metrics.FILE).read_text() == before


def test_what_changed_in_the_data_is_named_and_may_be_accepted(
    finished, shards, tmp_path, write_toy_shards, caplog
):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    other = write_toy_shards(tmp_path / "other", seed=1)
    steps = {"loop": {"num_steps": 5}, "optimizer": {"decay_steps": 4}}
    changed = {"shards": other, "shuffle": False}
    with pytest.raises(ValueError, match="data changed") as error:
        transformer_job.train(make_experiment(shards, data=changed, **steps), workdir)
    for part in (
        "data_dependencies.shards was",
        "data_dependencies.shuffle was True and is False",
        "accept it with loop.accept_changed_data=True",
    ):
        assert part in str(error.value)
    assert "context" not in str(error.value) and "\n" not in str(error.value)
    steps["loop"]["accept_changed_data"] = True
    accepted = make_experiment(shards, data=changed, **steps)
    assert int(transformer_job.train(accepted, workdir)["step"]) == 5
    assert "going on with other data: data_dependencies.shards was" in caplog.text


def test_how_a_step_is_computed_may_change_between_starts(finished, shards, tmp_path, caplog):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    other = make_experiment(
        shards,
        loop={"num_steps": 5},
        optimizer={"decay_steps": 4},
        model={"remat": "full", "attention": "xla", "scan": False},
    )
    assert int(transformer_job.train(other, workdir)["step"]) == 5
    for text in ("model.remat was", "model.attention was auto and is xla", "model.scan was True"):
        assert text in caplog.text


def test_epochs_of_every_source_are_logged(finished, shards):
    lines = metrics.read_metrics(finished[0])
    source = transformer_job.Pipeline(make_experiment(shards).data, seed=0, global_batch=8)
    epochs = [line["data/epochs/shards"] for line in lines if "train/loss" in line]
    assert epochs == pytest.approx([8 * s / source.rows_per_epoch for s in (1, 2, 3, 4)])


def test_experiments_survive_json(shards):
    experiment = make_experiment(shards)
    assert configs.build(type(experiment), configs.to_dict(experiment)) == experiment
    assert dataclasses.replace(experiment, seed=1) != experiment
