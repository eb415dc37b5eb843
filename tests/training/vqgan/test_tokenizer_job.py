"""The tokenizer's training in one process: real pictures, sources, step, loop and directory."""

import shutil

import jax
import numpy as np
import pytest

import lvm_jax
from lvm_jax import images, partition, sheets, trees
from lvm_jax import mesh as mesh_lib
from lvm_jax.measures import perceptual
from lvm_jax.training import metrics
from lvm_jax.training.vqgan import corpus_images, held_out, tokenizer_job
from tests import toys
from tests.training.compilations import counting_compilations
from tests.training.without_data import assert_compiled_step_is_the_loops


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return toys.write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Weights of a random perceptual network."""
    path = tmp_path_factory.mktemp("network") / "hed.safetensors"
    rng = np.random.default_rng(0)
    config = perceptual.PerceptualConfig(network="vgg16_hed", stages=1)
    draw = lambda leaf: rng.standard_normal(leaf.shape, np.float32)
    trees.save_safetensors(path, jax.tree.map(draw, perceptual.abstract_params(config)))
    return str(path)


# Fewer layers than "debug" has, and every piece of state that training can have.
TOKENIZER = {
    "preset": "debug",
    "patch_size": 4,
    "dim_multipliers": (1,),
    "encoder_blocks": (1,),
    "decoder_blocks": (1,),
    "num_mid_blocks": 0,
}
EVERYTHING = {
    "perceptual": {"network": "vgg16_hed", "stages": 1, "weight": 0.1},
    "encoder_gradient": "rotation",
    "codebook": "ema",
    "entropy_weight": 0.01,
    "restart_after": 2,
    "generator_weight": 0.1,
    "discriminator_loss": "non_saturating",
    "discriminator_start": 1,
    "lecam_weight": 0.1,
    "discriminator": {"base_dim": 4, "num_layers": 1, "norm_groups": 2},
    "compute_dtype": "bfloat16",
}


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
        "tokenizer": TOKENIZER,
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


def make_full_experiment(pictures, network, **changes):
    """With a discriminator, a perceptual network and all else that can be switched on."""
    return make_experiment(pictures, training=EVERYTHING, perceptual_weights=[network], **changes)


@pytest.fixture(scope="module")
def finished(pictures, network, tmp_path_factory):
    """(workdir, final state) of a run of four steps."""
    workdir = tmp_path_factory.mktemp("run")
    return workdir, tokenizer_job.train(make_full_experiment(pictures, network), workdir)


def test_writes_the_averaged_weights_as_a_tokenizer(finished):
    workdir, state = finished
    tokenizer = lvm_jax.load_tokenizer(workdir / "tokenizer")
    assert trees.fingerprint(tokenizer.params) == trees.fingerprint(state["ema"])


def test_held_out_images_are_measured_and_pictured(finished):
    workdir, _ = finished
    last = metrics.read_metrics(workdir)[-1]
    values = {key.removeprefix("eval/held_out/"): value for key, value in last.items()}
    assert values["psnr"] > 0 and -1 < values["ssim"] < 1
    assert 0 < values["perceptual"] <= 2
    assert 0 < values["codebook_usage"] <= 1 <= values["codebook_perplexity"]
    (path,) = (workdir / held_out.FOLDER).iterdir()
    assert path.name == "step_00000004.png"
    # Six images fill one pair of rows.
    assert (
        images.read_image(path).shape
        == sheets.grid([[np.zeros((16, 16, 3), np.uint8)] * 6] * 2).shape
    )


def test_a_resumed_run_is_an_uninterrupted_one(finished, pictures, network, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "4")
    # The same weights from another place.
    moved = str(shutil.copy(network, tmp_path / "moved.safetensors"))
    with counting_compilations("train_step") as compiled:
        state = tokenizer_job.train(make_full_experiment(pictures, moved), workdir)
    assert len(compiled) == 1
    whole, resumed = (
        trees.flatten(part["discriminator"]["usual"]) for part in (finished[1], state)
    )
    assert whole == resumed and any(whole.values())
    for name in ("params", "ema", "codes"):
        assert trees.fingerprint(state[name]) == trees.fingerprint(finished[1][name]), name
    assert losses(workdir) == losses(finished[0])


def test_a_damaged_checkpoint_is_passed_over(finished, pictures, network, tmp_path, caplog):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "checkpoints" / "4" / "state" / "manifest.ocdbt").unlink()
    state = tokenizer_job.train(make_full_experiment(pictures, network), workdir)
    assert "step 4 (state/manifest.ocdbt is missing); going on from step 2" in caplog.text
    assert trees.fingerprint(state["ema"]) == trees.fingerprint(finished[1]["ema"])
    tokenizer = lvm_jax.load_tokenizer(workdir / "tokenizer")
    assert trees.fingerprint(tokenizer.params) == trees.fingerprint(state["ema"])
    evaluated = [x["step"] for x in metrics.read_metrics(workdir) if "eval/held_out/psnr" in x]
    assert evaluated == [4]


def test_every_held_out_image_counts_once_for_any_batch_size(finished, pictures, network, tmp_path):
    measured = [
        evaluated(make_full_experiment(pictures, network, batch_size=size), finished[1], tmp_path)
        for size in (4, 8, 12)  # six images
    ]
    for other in measured[1:]:
        assert other == pytest.approx(measured[0], rel=1e-4)


def test_a_limit_takes_the_same_images_for_any_seed(finished, pictures, network, tmp_path):
    one, *others = [
        evaluated(
            make_full_experiment(pictures, network, eval_images=2, seed=seed), finished[1], tmp_path
        )
        for seed in range(3)
    ]
    assert others == [one, one]
    assert one != evaluated(make_full_experiment(pictures, network), finished[1], tmp_path)


def evaluated(experiment, state, workdir):
    """What an experiment measures of held-out images."""
    mesh = mesh_lib.make_mesh(experiment.mesh)
    params = tokenizer_job._perceptual_params(experiment)
    source = tokenizer_job._open_held_out(experiment)
    (evaluator,) = tokenizer_job._evaluators(experiment, mesh, source, workdir, params).values()
    return dict(filter(None, evaluator(state)))


def test_a_finished_run_writes_a_lost_tokenizer_again(finished, pictures, network, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "tokenizer" / "weights.safetensors").unlink()
    assert tokenizer_job.train(make_full_experiment(pictures, network), workdir) is None
    tokenizer = lvm_jax.load_tokenizer(workdir / "tokenizer")
    assert trees.fingerprint(tokenizer.params) == trees.fingerprint(finished[1]["ema"])


def test_other_perceptual_weights_are_another_run(finished, pictures, network, tmp_path):
    params = trees.load_safetensors(network)
    params["conv1_1"]["bias"][0] += 1
    trees.save_safetensors(tmp_path / "other.safetensors", params)
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    with pytest.raises(ValueError, match="holds another run: its perceptual_fingerprint was"):
        tokenizer_job.train(
            make_full_experiment(pictures, str(tmp_path / "other.safetensors")), workdir
        )


def test_a_step_compiled_without_data_is_the_one_that_is_run(network, tmp_path):
    pictures, weights = tmp_path / "pictures", tmp_path / "network.safetensors"
    experiment = make_full_experiment(str(pictures), str(weights), loop={"num_steps": 1})
    mesh = tokenizer_job.make_mesh(experiment)
    training = tokenizer_job.make_training(tokenizer_job.resolve(experiment), mesh)
    traced = training.trace()
    toys.write_pictures(pictures)
    shutil.copy(network, weights)
    tokenizer_job.train(experiment, tmp_path / "run")
    source = tokenizer_job.open_images(experiment, experiment.corpus)
    batches = corpus_images.device_batches(
        source, 0, batch_size=4, seed=0, mesh=mesh, num_threads=1
    )
    params = tokenizer_job._perceptual_params(experiment)
    constants = (jax.device_put(params, partition.replicated(mesh)),)
    workdir = tmp_path / "run"
    assert_compiled_step_is_the_loops(training, traced, next(batches), constants, workdir)
    batches.close()


def test_batches_are_a_function_of_the_step_and_split_over_the_mesh(pictures):
    experiment = make_experiment(pictures)
    mesh = mesh_lib.make_mesh(experiment.mesh)

    def batches(start, memory_megabytes):
        source = corpus_images.CorpusImages(experiment.corpus, 16, memory_megabytes)
        options = {"batch_size": 4, "seed": 0, "mesh": mesh, "num_threads": 2}
        iterator = corpus_images.device_batches(source, start, **options)
        read = [next(iterator) for _ in range(8 - start)]
        iterator.close()
        return read

    straight, resumed = batches(0, 1), batches(5, 0)
    for a, b in zip(straight[5:], resumed):
        np.testing.assert_array_equal(a, b)
    assert straight[0].shape == (4, 16, 16, 3)
    assert straight[0].sharding.shard_shape((4, 16, 16, 3)) == (1, 16, 16, 3)


def test_an_epoch_shows_every_image_once(pictures):
    experiment = make_experiment(pictures)
    source = corpus_images.CorpusImages(experiment.corpus, 16)
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
        ({"accumulation": 0}, "config.accumulation=0 must be at least 1"),
        ({"perceptual_weights": ["a.npz"]}, r"config.perceptual_weights=\['a.npz'\] are set and"),
        ({"training": {"perceptual": {"network": "vgg"}}}, "perceptual.network='vgg' must be one"),
        ({"optimizer": {"offload": True}}, "config.optimizer.offload=True is for a transformer's"),
        ({"training": {"generator_weight": 1.0}}, "num_layers=3 needs images of 24 pixels"),
    ],
)
def test_a_typo_is_refused_by_name(pictures, changes, message):
    with pytest.raises(ValueError, match=message):
        make_experiment(pictures, **changes)


def test_a_batch_that_does_not_divide_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match=r"^batch_size=6 must be a multiple of data\*fsdp=4"):
        tokenizer_job.train(make_experiment(pictures, batch_size=6), tmp_path)
    assert not any(tmp_path.iterdir())


def test_micro_batches_that_do_not_divide_are_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match=r"^batch_size=4 must be a multiple of accumulation"):
        tokenizer_job.train(make_experiment(pictures, accumulation=2), tmp_path)


def test_a_perceptual_network_without_its_file_is_refused(pictures, tmp_path):
    experiment = make_experiment(pictures, training={"perceptual": {"network": "lpips_vgg16"}})
    with pytest.raises(ValueError, match=r"weights is empty, and training\.perceptual\.network='"):
        tokenizer_job.train(experiment, tmp_path)
    assert not any(tmp_path.iterdir())


def test_another_geometry_is_refused(finished, pictures, network, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    with pytest.raises(ValueError, match=r"holds another run: its tokenizer.code_dim was 4"):
        tokenizer_job.train(
            make_full_experiment(pictures, network, tokenizer={"code_dim": 8}), workdir
        )


def test_optimizers_start_from_a_vqgans_defaults(pictures):
    experiment = make_experiment(pictures)
    assert experiment.optimizer.weight_decay == 0.0
    assert experiment.optimizer.peak_lr == 1e-3
