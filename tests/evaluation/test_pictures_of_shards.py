"""Evaluation, prompts and reconstruction read pictures as they were read for the shards."""

import logging

import numpy as np
import PIL.Image
import pytest

from lvm_jax import configs, image_record, images
from lvm_jax.data.building.from_sentences import BuildConfig, build_shards
from lvm_jax.data.shards.reader import Shards
from lvm_jax.evaluation import analogy_experiment, analogy_job, reconstruction
from lvm_jax.evaluation.asking import runner
from lvm_jax.generation import answers
from lvm_jax.generation.language_model import load_model
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from lvm_jax.tokenizer import codec
from lvm_jax.training.checkpoints import Checkpoints
from lvm_jax.training.transformer import transformer_experiment, transformer_job
from lvm_jax.training.workdir import RunIdentity, prepare_workdir

CONFIGS = {
    "default": ImageConfig(),
    "squash": ImageConfig(resize="squash", background=(255, 0, 90)),
    "whole": ImageConfig(reduced_jpeg=False, background=(10, 200, 30)),
    "both": ImageConfig(resize="squash", reduced_jpeg=False),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Every nature of file that settings change, none of them square."""
    root = tmp_path_factory.mktemp("natures")
    rng = np.random.default_rng(5)
    noise = lambda height, width, channels=3: rng.integers(
        0, 256, (height, width, channels), dtype=np.uint8
    )
    for name in "ab":
        for folder in ("plain", "photos", "clear", "maps", "looks", "clips"):
            (root / folder).mkdir(exist_ok=True)
        PIL.Image.fromarray(noise(24, 40)).save(root / "plain" / f"{name}.png")
        # Large enough to be decoded at a quarter; noise, so that it shows.
        PIL.Image.fromarray(noise(150, 260)).save(root / "photos" / f"{name}.jpg", quality=90)
        PIL.Image.fromarray(noise(24, 40, 4)).save(root / "clear" / f"{name}.png")
        PIL.Image.fromarray(noise(24, 40)[..., 0] % 6).save(root / "maps" / f"{name}.png")
        PIL.Image.fromarray(noise(24, 40)).save(root / "looks" / f"{name}.png")
        first, *rest = [PIL.Image.fromarray(noise(20, 30, 4)) for _ in range(6)]
        first.save(
            root / "clips" / f"{name}.webp",
            **{"save_all": True, "append_images": rest, "lossless": True, "exact": True},
        )
    return root


def sources(root, crop):
    """Sources of sentences of two pairs or more, of all of these files."""
    square = {"crop": (0.4, 0.9), "flip": True} if crop else {}
    of = lambda folder: {"folder": str(root / folder), **square}
    return {
        "plain": {"kind": "colorization", **of("plain")},
        "photos": {"kind": "inpainting", **of("photos")},
        "clear": {"kind": "blur", **of("clear")},
        "maps": {
            **{"kind": "label_map", **of("looks"), "label_folder": str(root / "maps")},
            "num_labels": 6,
        },
        "clips": {"kind": "video", **of("clips"), "frames_per_sentence": 4, "strides": (1,)},
    }


def with_two_pairs(sources):
    """The same sources, with two pairs in a sentence where there are pairs."""
    return {
        name: source if source["kind"] == "video" else {**source, "pairs_per_sentence": 2}
        for name, source in sources.items()
    }


@pytest.fixture(scope="module", params=[(name, crop) for name in CONFIGS for crop in (False, True)])
def made(request, pictures, tokenizer, model, tmp_path_factory):
    """(config, corpus, directory with shards, a run on them and their tokenizer)."""
    name, crop = request.param
    config, root = CONFIGS[name], tmp_path_factory.mktemp("made")
    given = with_two_pairs(sources(pictures, crop))
    given["whole"] = {"kind": "single", "folder": str(pictures), "exclude": ("clips/*", "maps/*")}
    corpus = corpora.build_corpus({"sources": given, "seed": 3})
    num_special = model.vocabulary.num_special
    build_shards(
        corpus, tokenizer, root / "shards", BuildConfig(images=config, num_special=num_special)
    )
    codec.save_tokenizer(root / "tokenizer", tokenizer.config, tokenizer.params, config)
    train(model, root / "model", {"shards": str(root / "shards")})
    return config, corpus, root


def train(model, workdir, data):
    """What `transformer_job.train` leaves before its first step, and the toy model's parameters."""
    experiment = transformer_experiment.build_experiment(
        {
            "batch_size": 1,
            "data": {"context": 66, "long_sentences": "split", **data},
            "model": {**configs.to_dict(model.config), "context": 66},
            "loop": {"num_steps": 1},
        }
    )
    source = transformer_job.Pipeline(experiment.data, seed=0, global_batch=1)
    resolved = transformer_job.resolved_config(experiment, source)
    prepare_workdir(workdir, RunIdentity(resolved=resolved, fixed=("model",)))
    checkpoints = Checkpoints(workdir, resolved)
    checkpoints.save(1, {"params": model.params})
    checkpoints.wait(1, {"params": model.params})
    checkpoints.close()


def test_an_evaluations_pictures_are_those_of_the_shards(made, tokenizer, monkeypatch, tmp_path):
    _, corpus, root = made
    experiment = analogy_experiment.build_experiment(
        {
            "tasks": [source for source in corpus.sources if source.name != "whole"],
            "reconstructions": [source for source in corpus.sources if source.name == "whole"],
            "num_reconstructions": 4,
            "evaluation": {"seeds": [corpus.seed], "num_examples": 1, "num_answered": 1}
            | {"num_candidates": 1, "num_shown": 0},
        }
    )
    asked, shown = [], []
    nothing = runner.Evaluation(model="", results=(), inputs={}, prompts={})
    monkeypatch.setattr(
        runner, "evaluate", lambda m, t, tasks, *_, **__: asked.extend(tasks) or nothing
    )
    monkeypatch.setattr(analogy_job.page, "write", lambda _, report: shown.append(report))
    directories = {"model_dir": root / "model", "tokenizer_dir": root / "tokenizer"}
    analogy_job.run(experiment, load_model(root / "model"), tokenizer, tmp_path, **directories)
    by_source = {name: [] for name in (source.name for source in corpus.sources)}
    for record in Shards(root / "shards").read_records(range(len(Shards(root / "shards")))):
        by_source[record.source].append(record.ids)
    for task in asked:
        for index, expected in enumerate(by_source[task.name]):
            example = task.example(corpus.seed, index)
            pixels = [*example.pairs.reshape(-1, 16, 16, 3), example.query, example.answer]
            np.testing.assert_array_equal(tokenizer.encode(np.stack(pixels)), expected, task.name)
    originals = shown[0].reconstructions.originals
    np.testing.assert_array_equal(
        tokenizer.encode(originals), np.concatenate(by_source["whole"])[:4]
    )


def test_prompts_and_reconstructions_of_files_too(made, tokenizer, monkeypatch):
    config, corpus, root = made
    model = load_model(root / "model")
    assert model.images == codec.load_tokenizer(root / "tokenizer").images == config
    whole = next(source for source in corpus.sources if source.name == "whole")
    files = [picture.path for picture in whole.items]
    expected = [
        record.ids[0]
        for record in Shards(root / "shards").read_records(range(len(Shards(root / "shards"))))
        if record.source == "whole"
    ]
    order = [whole.sentence(corpus.seed, 0, i).images[0].path for i in range(len(files))]
    expected = np.stack([expected[order.index(path)] for path in files])
    prompts = []
    monkeypatch.setattr(
        answers,
        "answer_ids",
        lambda model, ids, config, **options: (
            prompts.extend(ids) or [ids_nT[None, :1] for ids_nT in ids]
        ),
    )
    answers.generate(model, tokenizer, files)
    np.testing.assert_array_equal(prompts[0], expected)
    # The same pixels as numbers have the same ids, whichever way they are given.
    squares = [SquareLoader(config, 16).load_file(path) for path in files]
    answers.generate(model, tokenizer, [images.to_float(square) for square in squares])
    np.testing.assert_array_equal(prompts[1], expected)
    reconstructed = reconstruction.reconstruct(codec.load_tokenizer(root / "tokenizer"), files)
    np.testing.assert_array_equal(tokenizer.encode(reconstructed.measured.originals), expected)


def test_settings_change_what_these_pictures_are(pictures):
    """So that the tests above can fail: every one of them matters for some file."""
    corpus = corpora.build_corpus({"sources": with_two_pairs(sources(pictures, False))})
    refs = [ref for s in corpora.sentences(corpus) for ref in s.images]
    read = {
        name: np.stack([SquareLoader(config, 16, 2**20).load_one(ref) for ref in refs])
        for name, config in CONFIGS.items()
    }
    different = {name: (read["default"] != pixels).any((1, 2, 3)) for name, pixels in read.items()}
    of = lambda folder: np.array([f"/{folder}/" in ref.path for ref in refs])
    assert different["squash"].all()
    for folder in ("photos", "clear", "clips"):
        assert different["whole"][of(folder)].all(), folder
    assert not different["whole"][of("plain")].any()


def test_sources_that_differ_leave_a_model_without_settings(
    pictures, tokenizer, model, tmp_path, caplog
):
    corpus = corpora.build_corpus({"sources": {"a": {"kind": "single", "folder": str(pictures)}}})
    for name in ("default", "squash"):
        build = BuildConfig(images=CONFIGS[name], num_special=model.vocabulary.num_special)
        build_shards(corpus, tokenizer, tmp_path / name, build)
    mixture = {name: {"shards": str(tmp_path / name)} for name in ("default", "squash")}
    train(model, tmp_path / "model", {"mixture": mixture})
    assert "pictures of default were read with resize=crop" in caplog.text
    assert load_model(tmp_path / "model").images is None
    caplog.set_level(logging.INFO)
    train(model, tmp_path / "one", {"mixture": {"squash": mixture["squash"]}})
    assert load_model(tmp_path / "one").images == CONFIGS["squash"]


def test_an_evaluation_may_read_otherwise(folder):
    values = {"tasks": [{"kind": "edges", "folder": str(folder), "pairs_per_sentence": 2}]}
    experiment = analogy_experiment.build_experiment({**values, "images": {"resize": "squash"}})
    known = ImageConfig(background=(1, 2, 3))
    assert image_record.config_for(known, "m", experiment.images) == ImageConfig(
        resize="squash", background=(1, 2, 3)
    )
    for bad, message in (({"resise": "crop"}, "config.images.resise"), ("squash", "config.images")):
        with pytest.raises(ValueError, match=message):
            analogy_experiment.build_experiment({**values, "images": bad})
