"""A corpus is its sources, one after the other, epoch by epoch."""

import numpy as np
import pytest

from lvm_jax import configs, images
from lvm_jax.sentences import corpora


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for name in "abc":
        images.write_image(root / f"{name}.png", np.full((8, 8, 3), ord(name), np.uint8))
    return str(root)


def corpus(folder, **values):
    sources = [
        {"kind": "single", "folder": folder, "crop": [0.5, 1.0]},
        {"kind": "colorization", "name": "colors", "folder": folder, "pairs_per_sentence": 1},
    ]
    return corpora.build_corpus({"sources": sources, **values})


def test_order_and_length(folder):
    sentences = corpora.sentences(corpus(folder, epochs=2))
    assert len(sentences) == 12 and sentences.num_images == 2 * (3 + 6)
    assert [s.source for s in sentences] == (["single"] * 3 + ["colors"] * 3) * 2
    first, second = ({sentences[start + i].images for i in range(3)} for start in (0, 6))
    assert not first & second, "another epoch shows other squares"
    for index in (-1, 12):
        with pytest.raises(IndexError):
            sentences[index]


def test_sources_by_name_and_round_trip(folder):
    values = {"sources": {"mine": {"kind": "edges", "folder": folder}}, "seed": 4}
    built = corpora.build_corpus(values)
    assert built.sources[0].name == "mine" and built.seed == 4
    assert corpora.build_corpus(configs.to_dict(built)) == built


@pytest.mark.parametrize(
    "change,message",
    [
        (
            {"kind": "singel"},
            r"corpus\.sources\[0\]\.kind='singel' is unknown; did you mean 'single'",
        ),
        ({"kind": None}, r"kind=None is unknown; kinds: single"),
        ({"kind": ["single"]}, r"kind=\['single'\] is unknown"),
        ({"foldre": "x"}, r"unknown key corpus\.sources\[0\]\.foldre='x'; did you mean .*folder"),
        ({"crop": 0.5}, r"sources\[0\]\.crop=0\.5 must be a list"),
    ],
)
def test_bad_sources_name_the_key(folder, change, message):
    source = {"kind": "single", "folder": folder, **change}
    with pytest.raises(ValueError, match=message):
        corpora.build_corpus({"sources": [source]})
    # One that has a name is called by it.
    with pytest.raises(ValueError, match=message.replace(r"sources\[0\]", r"sources\.photos")):
        corpora.build_corpus({"sources": {"photos": source}})


def test_bad_corpora(folder):
    source = {"kind": "single", "folder": folder}
    with pytest.raises(ValueError, match="sources is empty"):
        corpora.build_corpus({"sources": []})
    with pytest.raises(ValueError, match="2 sources are called 'single'"):
        corpora.build_corpus({"sources": [source, source]})
    with pytest.raises(ValueError, match="epochs=0"):
        corpora.build_corpus({"sources": [source], "epochs": 0})
    with pytest.raises(ValueError, match=r"unknown key corpus\.sede"):
        corpora.build_corpus({"sources": [source], "sede": 0})


def test_fingerprint_follows_config_and_files(folder, tmp_path):
    images.write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    values = {"sources": [{"kind": "single", "folder": str(tmp_path)}]}
    prints = [corpora.sentences(corpora.build_corpus(values)).fingerprint() for _ in range(2)]
    prints.append(corpora.sentences(corpora.build_corpus({**values, "seed": 1})).fingerprint())
    images.write_image(tmp_path / "b.png", np.zeros((8, 8, 3), np.uint8))
    prints.append(corpora.sentences(corpora.build_corpus(values)).fingerprint())
    assert prints[0] == prints[1] and len(set(prints)) == 3
