"""experiments/own_images.py: four stages from a folder of pictures to a report, at toy size."""

import importlib.util
import pathlib

import numpy as np
import pytest

import lvm_jax
from experiment_files import load_experiment
from lvm_jax import images
from lvm_jax.data.building import from_sentences
from lvm_jax.data.shards.reader import Shards
from lvm_jax.evaluation import analogy_experiment, analogy_job, training_codes
from lvm_jax.sentences import corpora
from lvm_jax.training import metrics, workdir
from lvm_jax.training.transformer import transformer_experiment, transformer_job
from lvm_jax.training.vqgan import tokenizer_job

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Tests have eight devices.
TOY_TOKENIZER = [("tokenizer.preset", "debug"), ("batch_size", "8"), ("mesh.data", "8")]
TOY_MODEL = [
    ("mesh.data", "8"),
    ("model.preset", "debug"),
    ("model.vocabulary.num_codes", "32"),
    ("model.vocabulary.num_special", "100"),
    ("model.context", "160"),
    ("data.context", "160"),
    ("eval_data.context", "160"),
]


def write_pictures(folder, number):
    """Smooth pictures, so that squares of them differ."""
    rng = np.random.default_rng(number)
    for index in range(number):
        small = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        images.write_image(folder / f"trip [{index // 4}]" / f"{index}.png", small.repeat(8, 0))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """own(stage, overrides=(), **changes): the experiment's values for a dozen pictures."""
    root = tmp_path_factory.mktemp("own")
    for folder in ("photos", "annotations"):
        write_pictures(root / folder, 12)
    places = {"photos": root / "photos", "annotations": root / "annotations", "root": root}

    def load(stage, overrides=(), **changes):
        chosen = {"stage": stage, "size": "smallest", **places, **changes}
        argument = ",".join(f"{name}={value}" for name, value in chosen.items())
        path = ROOT / "experiments" / "own_images.py"
        return load_experiment(f"{path}:{argument}", overrides)

    load.root = root
    return load


def shown(sources):
    """Names of the pictures that some sources show."""
    return {item.key for source in sources for item in source.items}


def test_four_stages_end_in_a_report_on_pictures_that_training_never_saw(own):
    experiment = tokenizer_job.build_experiment(own("tokenizer", TOY_TOKENIZER))
    trained_on = shown(experiment.corpus.sources)
    tokenizer_job.train(experiment, own.root / "tokenizer")
    tokenizer = lvm_jax.load_tokenizer(own.root / "tokenizer" / "tokenizer")

    corpus = corpora.build_corpus(own("sentences")["corpus"])
    shards = from_sentences.build_shards(corpus, tokenizer, own.root / "shards")
    trained_on |= shown(s for s in corpus.sources if not s.name.startswith("held_out_"))

    experiment = transformer_experiment.build_experiment(own("model", TOY_MODEL))
    transformer_job.train(experiment, own.root / "model")
    lines = metrics.read_metrics(own.root / "model")
    assert sum("eval/held_out/loss" in line for line in lines) >= 2

    evaluation = analogy_experiment.build_experiment(own("evaluation"))
    asked = shown(evaluation.tasks) | shown(evaluation.reconstructions)
    assert (len(trained_on), len(asked), trained_on & asked) == (8, 4, set())
    model = lvm_jax.load_model(own.root / "model")
    results = analogy_job.run(
        evaluation,
        model,
        tokenizer,
        own.root / "report",
        model_dir=own.root / "model",
        tokenizer_dir=own.root / "tokenizer" / "tokenizer",
    )
    assert {result.name for result in results} == {"colorization", "inpainting", "annotation"}
    page = (own.root / "report" / "report.html").read_text()
    assert "The held-out loss ends at" in page and "8 pictures to train on, 4 held out" in page
    assert "model_longer" in page

    # The frequencies of codes are those of what was trained on: a part of the shards.
    counts = training_codes.count(workdir.read_config(own.root / "model"), num_codes=32)
    held_out = [name.startswith("held_out_") for name in shards.sources]
    rows = np.flatnonzero(~np.array(held_out)[shards.source_ids[:]])
    ids = np.concatenate([ids.ravel() for ids in Shards(own.root / "shards").read(rows)])
    np.testing.assert_array_equal(counts, np.bincount(ids, minlength=32))


@pytest.mark.parametrize("number", [8, 12, 64, 2000])
def test_amounts_follow_the_number_of_pictures(own, tmp_path, number):
    for index in range(number):
        (tmp_path / f"{index}.png").touch()
    changes = {"photos": tmp_path, "annotations": "", "size": "full"}
    sources = own("sentences", **changes)["corpus"]["sources"]
    held_out = sources["held_out_single"]["include"]
    assert sources["single"]["exclude"] == held_out
    assert 4 <= len(held_out) <= min(number // 2, 100)
    config = own("model", **changes)
    rows = sum(
        source["sentences_per_epoch"]
        for name, source in sources.items()
        if not name.startswith("held_out_") and name != "single"
    )
    seen = config["loop"]["num_steps"] * config["batch_size"]
    assert seen <= 4 * rows and seen >= min(8000, 2000 * number // 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photos": ""}, "photos=DIR"),
        ({"photos": "nowhere"}, "nowhere"),
        ({"stage": "train"}, "stage=train must be one of tokenizer, sentences, model, evaluation"),
    ],
)
def test_what_cannot_be_split_is_named(own, changes, message):
    with pytest.raises(ValueError, match=message):
        own(**{"stage": "sentences", **changes})


def test_too_few_pictures_are_counted(own, tmp_path):
    write_pictures(tmp_path, 7)
    with pytest.raises(ValueError, match="7 pictures; it takes 8"):
        own(stage="sentences", photos=tmp_path)


def test_the_header_has_the_commands(own):
    module_path = ROOT / "experiments" / "own_images.py"
    spec = importlib.util.spec_from_file_location("own_images", module_path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    as_words = lambda text: sorted(text.replace("\\\n", " ").split())
    commands = as_words(module.commands("$own"))
    header = module.__doc__.split("own=photos=", 1)[1].split("Annotations are", 1)[0]
    assert as_words(header.split("\n", 1)[1]) == commands
    page = (ROOT / "docs" / "data" / "index.md").read_text()
    shown = page.split("own=photos=", 1)[1].split("```", 1)[0]
    assert as_words(shown.split("\n", 1)[1]) == commands
