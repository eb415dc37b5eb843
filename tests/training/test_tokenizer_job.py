"""The tokenizer's training in one process: real pictures, sources, step, loop and directory."""

import shutil

import numpy as np
import pytest

import lvm_jax
from lvm_jax import images, trees
from lvm_jax import mesh as mesh_lib
from lvm_jax.training import metrics, tokenizer_job


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(3):
        small = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        images.write_image(folder / f"{index}.png", small.repeat(10, axis=0).repeat(10, axis=1))
    return str(folder)


def make_experiment(pictures, **changes):
    sources = {
        "single": {"kind": "single", "folder": pictures, "crop": (0.5, 1.0), "flip": True},
        "gray": {"kind": "colorization", "folder": pictures, "pairs_per_sentence": 2},
    }
    values = {
        "batch_size": 4,
        "corpus": {"sources": sources, "epochs": 2},
        "eval_corpus": {"sources": sources},
        "eval_images": 6,
        "tokenizer": {"preset": "debug"},
        "mesh": {"data": 2, "fsdp": 2, "tensor": 2},
        "training": {"codebook": "ema", "generator_weight": 0.0},
        "optimizer": {"peak_lr": 1e-3, "warmup_steps": 1},
        "loop": {"num_steps": 4, "log_every": 1, "checkpoint_every": 2},
    }
    for key, value in changes.items():
        old = values.get(key)
        values[key] = {**old, **value} if isinstance(value, dict) and old else value
    return tokenizer_job.build_experiment(values)


def losses(workdir):
    lines = metrics.read_metrics(workdir)
    return [(line["step"], line["train/loss"]) for line in lines if "train/loss" in line]


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory):
    """(workdir, final state) of a run of four steps."""
    workdir = tmp_path_factory.mktemp("run")
    return workdir, tokenizer_job.train(make_experiment(pictures), workdir)


def test_writes_the_averaged_weights_as_a_tokenizer(finished):
    workdir, state = finished
    tokenizer = lvm_jax.load_tokenizer(workdir / "tokenizer")
    assert trees.fingerprint(tokenizer.params) == trees.fingerprint(state["ema"])
    last = metrics.read_metrics(workdir)[-1]
    assert last["eval/held_out/psnr"] > 0
    assert 0 < last["eval/held_out/codebook_usage"] <= 1


def test_a_resumed_run_is_an_uninterrupted_one(finished, pictures, tmp_path):
    tokenizer_job.train(make_experiment(pictures, loop={"num_steps": 2}), tmp_path)
    # The schedule belongs to the run of four steps.
    assert losses(tmp_path)[0] == losses(finished[0])[0]
    shutil.rmtree(tmp_path)
    shutil.copytree(finished[0], tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    state = tokenizer_job.train(make_experiment(pictures), tmp_path)
    assert trees.fingerprint(state["params"]) == trees.fingerprint(finished[1]["params"])
    assert losses(tmp_path) == losses(finished[0])


def test_a_finished_run_writes_a_lost_tokenizer_again(finished, pictures, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "tokenizer" / "weights.safetensors").unlink()
    assert tokenizer_job.train(make_experiment(pictures), workdir) is None
    tokenizer = lvm_jax.load_tokenizer(workdir / "tokenizer")
    assert trees.fingerprint(tokenizer.params) == trees.fingerprint(finished[1]["ema"])


def test_batches_are_a_function_of_the_step_and_split_over_the_mesh(pictures):
    experiment = make_experiment(pictures)
    mesh = mesh_lib.make_mesh(experiment.mesh)

    def batches(start, memory_megabytes):
        source = tokenizer_job.CorpusImages(experiment.corpus, 16, memory_megabytes)
        options = {"batch_size": 4, "seed": 0, "mesh": mesh, "num_threads": 2}
        iterator = tokenizer_job.device_batches(source, start, **options)
        found = [next(iterator) for _ in range(8 - start)]
        iterator.close()
        return found

    straight, resumed = batches(0, 1), batches(5, 0)
    for a, b in zip(straight[5:], resumed):
        np.testing.assert_array_equal(a, b)
    assert straight[0].shape == (4, 16, 16, 3)
    assert straight[0].sharding.shard_shape((4, 16, 16, 3)) == (1, 16, 16, 3)


def test_an_epoch_shows_every_image_once(pictures):
    experiment = make_experiment(pictures)
    source = tokenizer_job.CorpusImages(experiment.corpus, 16)
    # Two epochs of 3 single images and 1 sentence of 2 pairs.
    assert len(source) == 2 * (3 + 1 * 4)
    shown = [source.load(index).tobytes() for index in range(len(source))]
    assert len(set(shown[:3] + shown[7:10])) == 6
    grays = [np.frombuffer(image, np.uint8).reshape(-1, 3) for image in shown[3:7:2]]
    assert all((gray[:, 0] == gray[:, 1]).all() for gray in grays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_sise": 4}, "unknown key config.batch_sise=4; did you mean config.batch_size"),
        ({"tokenizer": {"preset": "big"}}, "config.tokenizer.preset='big' is unknown"),
        ({"optimizer": {"lr": 1.0}}, "unknown key config.optimizer.lr"),
        ({"memory_megabytes": -1}, "config.memory_megabytes=-1 must not be negative"),
        ({"batch_size": 0}, "config.batch_size=0 must be at least 1"),
    ],
)
def test_a_typo_is_refused_by_name(pictures, changes, message):
    with pytest.raises(ValueError, match=message):
        make_experiment(pictures, **changes)


def test_a_batch_that_does_not_divide_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match=r"config.batch_size=6 must be a multiple of data\*fsdp=4"):
        tokenizer_job.train(make_experiment(pictures, batch_size=6), tmp_path)
    assert not any(tmp_path.iterdir())


def test_another_geometry_is_refused(finished, pictures, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    with pytest.raises(ValueError, match=r"holds another run: its tokenizer.code_dim was 4"):
        tokenizer_job.train(make_experiment(pictures, tokenizer={"code_dim": 8}), workdir)


def test_optimizers_start_from_a_vqgans_defaults(pictures):
    experiment = make_experiment(pictures)
    assert experiment.optimizer.weight_decay == 0.0
    assert experiment.optimizer.peak_lr == 1e-3
