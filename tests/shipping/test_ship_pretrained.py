"""tools/ship_pretrained.py: a pair with its card, or why it must not ship."""

import dataclasses
import io
import json
import pathlib
import shutil

import numpy as np
import PIL.Image
import pytest

import lvm_jax
import ship_pretrained
from lvm_jax.demo import examples
from lvm_jax.generation.jobs import prompt_files
from lvm_jax.images import ImageConfig
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.pretrained import places
from lvm_jax.training.workdir import read_config
from shipping import card, licences, prompts
from shipping.licences import Attribution
from tests.shipping.conftest import ATTRIBUTION, RESULTS, RUN

GAIN = [3.0, 0.5, 0.1, True]
ASKED = {
    **{"unseen": False, "prompts": 24, "things": 9},
    "truth": {"all": {"right": 2.5, "other": GAIN, "query": GAIN, "posed": True}},
    "metric": {
        **{"name": "iou", "better": "higher", "model": [0.5, 0.01], "ceiling": 0.9},
        **{"baselines": {"copy": [0.1, 0.4, 0.01, True]}, "beats_all": False},
    },
}


@pytest.fixture
def options(study, tmp_path, monkeypatch):
    # The toy corpus has views of eight sides.
    monkeypatch.setattr(prompts, "_FRAMES", 3)
    monkeypatch.setattr(prompts, "_NEW_FRAMES", 2)
    return ship_pretrained.Options(
        **{name: str(place) for name, place in vars(study).items()},
        out=str(tmp_path / "uvd_mini"),
        prompts=2,
    )


def test_a_pair_is_written_with_its_card_and_loads(options, study, tmp_path, monkeypatch, capsys):
    (tmp_path / "uvd_mini").mkdir()
    (tmp_path / "uvd_mini" / "of an older one").touch()
    (tmp_path / f"{RUN}.json").write_text(json.dumps(RESULTS))
    (tmp_path / f"prompts_{RUN}.json").write_text(json.dumps({"tasks": {"emoji_mask": ASKED}}))
    options = dataclasses.replace(options, results=str(tmp_path / f"{RUN}.json"))
    ship_pretrained.ship(options)
    out = tmp_path / "uvd_mini"
    assert sorted(path.name for path in out.iterdir()) == [
        *("ATTRIBUTION.md", "MODEL_CARD.md", "model", "prompts", "tokenizer")
    ]
    names = {path.stem for path in (out / "prompts").glob("*.json")}
    order = (out / "prompts" / examples.ORDER).read_text().split()
    assert order[0] == "emoji_mask" and set(order) == names and len(order) == len(names)
    assert order == sorted(order, key=lambda name: name.endswith("_2"))  # one of each task first
    of_emoji = {"emoji_mask", "emoji_edges", "3d_to_flat"}
    assert names >= of_emoji | {"animation", "turntable"}
    assert "colorization" not in names  # which was not asked
    card = " ".join((out / "MODEL_CARD.md").read_text().split())
    assert f"(prompts/NAME.json): {', '.join(sorted(names))}. They" in card
    monkeypatch.setattr(places, "ROOT", tmp_path)
    model, tokenizer = lvm_jax.load_pretrained("uvd_mini")
    trained = lvm_jax.load_model(study.workdir)
    ids = np.arange(40)[None] % 32
    np.testing.assert_allclose(model.logits(ids), trained.logits(ids), atol=0.02)  # bfloat16
    assert tokenizer.fingerprint == model.tokenizer_fingerprint != trained.tokenizer_fingerprint
    about = read_config(out / "model")["source"]
    assert about["directory"] == RUN and 0.97 <= about["same_ids"] <= 1
    for path in out.rglob("*"):  # nothing of this machine goes with it
        assert path.is_dir() or str(tmp_path.parent.parent).encode() not in path.read_bytes()
    written = (out / "MODEL_CARD.md").read_text()
    for words in (
        "| emoji_mask | 12.3 ± 0.4 | 2.5 ± 0.03 | 128 |",
        "edges/emoji_3d, emoji_3d, models.",
        "80 visual sentences of 80 pictures",
        "1.5 hours on 2 cores (a processor)",
        "Tokenizer: 1,600 images",
        "depth is the hardest, with 21 codes",
        "| emoji_mask | 24",
        "than each of the baselines: emoji_mask.",
        "fluent 1 (npm)",
        "--prompt=emoji_mask --out=answer.png",
        "## Not to be used for",
    ):
        assert words in " ".join(written.split()), words
    assert "openmoji" not in written and "Not posed" not in written
    credited = (out / "ATTRIBUTION.md").read_text()
    assert "- m: Somebody, CC BY 3.0" in credited and "Permission is hereby granted" in credited
    said = capsys.readouterr().out
    assert "emoji_mask: " in said and "MB; " in said
    shown = lvm_jax.load_prompt("emoji_mask", tokenizer)
    assert shown.title == "Mask of an emoji"
    assert shown.images.shape == (11, 16, 16, 3) and len(shown.targets) == 1
    (answer,) = lvm_jax.generate(model, tokenizer, shown.images)
    assert answer.shape == (1, 16, 16, 3)
    clip = prompt_files.read(out / "prompts" / "turntable.json")
    assert (clip.layout, len(clip.images), len(clip.targets)) == ("sequence", 3, 2)
    assert "model " in clip.attribution and ("Somebody" in clip.attribution) != (
        "Scopia" in clip.attribution
    )


def test_prompts_are_of_what_was_learned():
    other = {**ASKED, "metric": {**ASKED["metric"], "beats_all": True}}
    asked = {"tasks": {"depth": other, "normals": ASKED}}
    assert prompts.chosen(asked) == ["emoji_mask", "emoji_edges", "3d_to_flat", "depth"]
    known = prompts.chosen(None)
    assert {"depth", "normals", "inpainting"} < set(known)
    assert not any(name.startswith("unseen") for name in known)


def test_prompts_are_small(options, corpus, tmp_path, monkeypatch):
    square = np.zeros((16, 16, 3), np.uint8)
    square[4:12, 4:12] = 255
    read = np.asarray(PIL.Image.open(io.BytesIO(prompts.encoded(square))).convert("RGB"))
    np.testing.assert_array_equal(read, square)  # flat pictures are kept as they are
    monkeypatch.setattr(prompts, "MOST_BYTES", 1000)
    known = Attribution.read(corpus / "ATTRIBUTION.md")
    with pytest.raises(ValueError, match="one prompt of each task has more than 1,000 bytes"):
        loader = SquareLoader(ImageConfig(), 16)
        prompts.write(tmp_path / "prompts", corpus, loader, known, {"tasks": {}})


def test_a_run_whose_prompts_were_not_asked_says_so():
    limits = card._limits({"tokens_per_image": 64}, RESULTS, None)
    assert "was not measured for this run" in " ".join(limits)


def refused(options, message, **changes):
    with pytest.raises(ValueError, match=message):
        ship_pretrained.ship(dataclasses.replace(options, **changes))


def test_what_must_not_ship_leaves_the_older_pair(options, study, tmp_path, monkeypatch):
    (tmp_path / "uvd_mini").mkdir()
    (tmp_path / "uvd_mini" / "older").touch()
    refused(options, "no results of the run: .*none.json is missing", results="none.json")
    elsewhere = tmp_path / "elsewhere" / "tokenizer"
    shutil.copytree(study.tokenizer, elsewhere)
    refused(options, "cannot tell what the tokenizer .* learned from", tokenizer=str(elsewhere))
    refused(options, "cannot read .*ATTRIBUTION.md", corpus=str(tmp_path))
    monkeypatch.setattr(ship_pretrained, "_MOST_BYTES", 1000)
    refused(options, r"the pair has 0\.\d+ MB, and may have 0; use --dtype=bfloat16")
    assert [path.name for path in (tmp_path / "uvd_mini").iterdir()] == ["older"]
    assert not (tmp_path / "uvd_mini.partial").exists()


def test_share_alike_pictures_are_refused(options, study, tmp_path):
    """Of a model that learned from all of the shards, or of a tokenizer."""
    config = json.loads((study.workdir / "config.json").read_text())
    assert config["data"]["mixture"][0]["sources"] == ["emoji", "edges"]
    (tmp_path / "corpus").mkdir()
    text = ATTRIBUTION.replace("| Microsoft | MIT |", "| Microsoft | CC BY-NC 4.0 |")
    (tmp_path / "corpus" / "ATTRIBUTION.md").write_text(text)
    refused(options, r"fluent 1 \(npm\) is under CC BY-NC 4.0", corpus=str(tmp_path / "corpus"))


def test_another_tokenizer_is_refused(options, study, tmp_path, tokenizer):
    from lvm_jax.tokenizer import codec, vqgan

    shutil.copytree(study.tokenizer.parent, tmp_path / "run")
    params = vqgan.init_params(tokenizer.config, 5)
    codec.save_tokenizer(tmp_path / "run" / "tokenizer", tokenizer.config, params)
    message = "was trained on ids of tokenizer .*; name the tokenizer of its shards"
    refused(options, message, tokenizer=str(tmp_path / "run" / "tokenizer"))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["emoji_3d", "emoji_line"], "openmoji 17 .npm. is under CC BY-SA 4.0"),
        (["edges/emoji_line"], "openmoji"),
        (["emoji_3d", "photos"], "the terms of photos are not known"),
        (["edges/photos"], "the terms of photos are not known"),
    ],
)
def test_terms_are_those_of_the_folders(folders, message, tmp_path):
    (tmp_path / "ATTRIBUTION.md").write_text(ATTRIBUTION)
    known = Attribution.read(tmp_path / "ATTRIBUTION.md")
    with pytest.raises(ValueError, match=message):
        known.of(folders)
    kept = known.of(["edges/emoji_3d"])
    assert [credit.package for credit in kept.credits] == ["fluent 1 (npm)", "hed 2 (pip)"]
    assert kept.models == () and len(known.of(["models/*/depth"]).models) == 2
    (tmp_path / "ATTRIBUTION.md").write_text(ATTRIBUTION.replace("Scopia, CC0", "S, CC BY-ND 3.0"))
    with pytest.raises(ValueError, match=r"scopia_c1 is under CC BY-ND 3\.0"):
        Attribution.read(tmp_path / "ATTRIBUTION.md").of(["models/*/color"])


def test_pictures_are_credited_in_a_line(tmp_path):
    (tmp_path / "ATTRIBUTION.md").write_text(ATTRIBUTION)
    known = Attribution.read(tmp_path / "ATTRIBUTION.md")
    places = lambda *names: [pathlib.PurePosixPath(name) for name in names]
    line = known.of_pictures(places("edges/emoji_3d/a.png", "models/m/color/000.png"))
    assert line.endswith("Microsoft: MIT; Xie and Tu: MIT; model m: Somebody, CC BY 3.0")
    with pytest.raises(ValueError, match="CC BY-SA"):
        known.of_pictures(places("emoji_line/a.png"))
    with pytest.raises(ValueError, match="names no author of the model unknown"):
        known.of_pictures(places("edges/models/unknown/color/000.png"))


def test_a_tokenizer_may_lie_elsewhere_if_a_training_made_it(study, tmp_path, tokenizer):
    from lvm_jax.tokenizer import codec
    from shipping import origins

    moved = tmp_path / "moved"
    codec.save_tokenizer(moved, tokenizer.config, tokenizer.params, dtype="bfloat16")
    training = study.tokenizer.parent
    assert origins.read(study.workdir, moved, training).folders
    other = {**tokenizer.params, "codebook": np.asarray(tokenizer.params["codebook"]) + 1}
    codec.save_tokenizer(tmp_path / "other", tokenizer.config, other)
    with pytest.raises(ValueError, match=r"other is not the tokenizer that .* trained"):
        origins.read(study.workdir, tmp_path / "other", training)


def test_held_out_pictures_are_no_training_data():
    pairs = {"folder": "/c/train/a", "annotation_folders": ["/c/train/b/*/d", "/c/train/e"]}
    assert licences.folders_of([pairs], "the model") == {"a", "b/*/d", "e"}
    with pytest.raises(ValueError, match="the model learned from /c/held_out/a, which is not in"):
        licences.folders_of([{"folder": "/c/held_out/a"}], "the model")
