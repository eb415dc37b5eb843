"""experiments/finetune.py: from the pair that ships to a model that knows a folder of pictures."""

import dataclasses
import pathlib
import shutil

import jax
import numpy as np
import pytest

import lvm_jax
from experiment_files import load_experiment
from lvm_jax.data.building import from_sentences
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.evaluation import analogy_experiment
from lvm_jax.model import transformer
from lvm_jax.pretrained import places
from lvm_jax.sentences import corpora
from lvm_jax.training import metrics
from lvm_jax.training.transformer import transformer_experiment, transformer_job
from lvm_jax.vocabulary import Vocabulary
from model_options import ModelOptions
from tests import toys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONTEXT = 160  # more than 4 pairs of 16 ids
# Tests have eight devices. The length is what decides the learning rates.
TINY = [("mesh.data", "8"), ("optimizer.decay_steps", "9"), ("optimizer.warmup_steps", "1")]


@pytest.fixture(scope="module")
def root(model, tokenizer, tmp_path_factory):
    """A package with a pair, a dozen pictures, and shards of them."""
    root = tmp_path_factory.mktemp("finetune")
    config = dataclasses.replace(
        model.config, vocabulary=Vocabulary(num_codes=32), context=CONTEXT, attention="xla"
    )
    params = transformer.init_params(config, 0)
    toys.write_pair(
        root / "ships" / "uvd_mini",
        dataclasses.replace(model, config=config, params=params),
        tokenizer,
    )
    toys.write_pictures(root / "photos", 12)
    return root


@pytest.fixture
def finetune(root, monkeypatch):
    """finetune(stage, overrides=(), **changes): the values of the experiment."""
    monkeypatch.setattr(places, "ROOT", root / "ships")

    def load(stage, overrides=(), **changes):
        chosen = {"photos": root / "photos", "root": root, "size": "smallest", **changes}
        argument = ",".join(f"{name}={value}" for name, value in chosen.items())
        return load_experiment(
            f"{ROOT}/experiments/finetune.py:stage={stage},{argument}", overrides
        )

    return load


def built(finetune, **changes):
    overrides = [*TINY, *((f"loop.{name}", f"{value}") for name, value in changes.items())]
    return transformer_experiment.build_experiment(finetune("model", overrides))


def losses(workdir):
    lines = metrics.read_metrics(workdir)
    return [line["train/loss"] for line in lines if "train/loss" in line]


def own_loss(model, experiment):
    """Of the first batch, by the model itself: sentence by sentence, without packing or masks."""
    source = Pipeline(experiment.data, seed=experiment.seed, global_batch=experiment.batch_size)
    batch = next(source.iterate(0))
    total = weight = 0.0
    for row in range(experiment.batch_size):
        segments = batch["segments"][row]
        for segment in set(segments[segments > 0].tolist()):
            chosen = segments == segment
            # In one length, so that the model is compiled once; what follows is not looked at.
            ids = np.zeros((1, CONTEXT), np.int32)
            ids[0, : chosen.sum()] = batch["inputs"][row, chosen]
            logits = model.logits(ids)[0, : chosen.sum(), : model.vocabulary.pad]
            targets = batch["targets"][row, chosen]
            log_p = jax.nn.log_softmax(logits)[np.arange(chosen.sum()), targets]
            weights = batch["weights"][row, chosen]
            total, weight = total - float((log_p * weights).sum()), weight + weights.sum()
    return total / weight


def test_training_starts_at_the_models_own_loss_and_goes_on_from_its_own(root, finetune, tmp_path):
    corpus = corpora.build_corpus(finetune("sentences")["corpus"])
    model, tokenizer = lvm_jax.load_pretrained("uvd_mini")
    from_sentences.build_shards(corpus, tokenizer, root / "shards")
    experiment = built(finetune, num_steps=3)
    assert experiment.model.context == CONTEXT and experiment.model.attention == "auto"
    transformer_job.train(experiment, tmp_path / "whole")
    whole = losses(tmp_path / "whole")
    # float32 in another order: packed, masked and shared by eight devices.
    assert whole[0] == pytest.approx(own_loss(model, experiment), rel=1e-5)
    assert len(whole) == 3 and whole[1] != whole[0]
    transformer_job.train(built(finetune, num_steps=2), tmp_path / "run")
    params = root / "ships" / "uvd_mini" / "model" / "params"
    shutil.move(params, tmp_path / "elsewhere")  # whoever read it now would say so
    try:
        transformer_job.train(experiment, tmp_path / "run")
    finally:
        shutil.move(tmp_path / "elsewhere", params)
    assert losses(tmp_path / "run") == whole
    # Its ids are those of the tokenizer that ships, which a tool finds by itself.
    pair = ModelOptions(model=str(tmp_path / "run")).pair()
    assert pair.tokenizer == places.find("uvd_mini").tokenizer
    lvm_jax.load_model(pair.model, tokenizer=tokenizer)


def test_sentences_are_fewer_than_from_nothing_and_the_report_says_how_to_go_on(root, finetune):
    sources = finetune("sentences", size="full")["corpus"]["sources"]
    assert sources["colorization"]["sentences_per_epoch"] == 1000
    values = finetune("evaluation")
    analogy_experiment.build_experiment(values)
    ((_, command),) = values["commands"]
    assert "experiments/finetune.py:" in command and "steps=600" in command
    assert f"photos={root / 'photos'}" in command and "stage=model" in command


def test_other_sentences_and_other_models_are_taken_by_their_folders(root, finetune, tmp_path):
    directory = root / "ships" / "uvd_mini" / "model"
    values = finetune("model", photos="", root="runs/x", pretrained=directory, size="full")
    assert values["init_from"] == str(directory) and values["loop"]["num_steps"] == 300
    shards = [values[key]["shards"] for key in ("data", "eval_data")]
    assert shards == ["runs/x/shards", "runs/x/held_out_shards"]
    for pretrained, stage, photos, message in (
        ("nowhere", "model", "", "pretrained=nowhere is no directory of a model, nor uvd_mini"),
        ("uvd_mini", "sentences", "", "photos is not set"),
        ("uvd_mini", "tokenizer", "", "stage=tokenizer must be one of sentences, model, eval"),
    ):
        with pytest.raises(ValueError, match=message):
            finetune(stage, pretrained=pretrained, photos=photos)


def test_ids_of_another_tokenizer_are_refused(root, finetune, tmp_path):
    for name in ("shards", "held_out_shards"):
        toys.write_shards(tmp_path / name, num_sentences=200)
    values = finetune("model", TINY, photos="", root=tmp_path)
    with pytest.raises(ValueError, match=r"vocabulary\.num_codes=32 but the shards of"):
        transformer_job.train(transformer_experiment.build_experiment(values), tmp_path / "run")
