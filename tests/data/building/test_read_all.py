"""Reading every picture before building: what building would reject, found without a tokenizer."""

import dataclasses
import json
import os

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.data.building import rejects
from lvm_jax.data.building.from_sentences import BuildConfig, build_shards
from lvm_jax.data.building.read_all import read_all
from lvm_jax.sentences import corpora
from tests.data.data_sets import FakeTokenizer

CONFIG = BuildConfig(num_special=3, sentences_per_shard=4, max_rejects=99)


@pytest.fixture
def corpus(tmp_path):
    """Pictures, annotations, label maps and animations, some of each damaged in other ways."""
    rng = np.random.default_rng(0)
    noise = lambda *shape: rng.integers(0, 256, shape, dtype=np.uint8)
    for number in range(6):
        images.write_image(tmp_path / f"color/{number}.jpg", noise(40, 60, 3))
        images.write_image(tmp_path / f"depth/{number}.png", noise(20, 30, 3))
        (tmp_path / "labels").mkdir(exist_ok=True)
        PIL.Image.fromarray(noise(20, 30) % 3).save(tmp_path / f"labels/{number}.png")
        frames = [PIL.Image.fromarray(noise(8, 8, 3)) for _ in range(4)]
        (tmp_path / "clips").mkdir(exist_ok=True)
        frames[0].save(tmp_path / f"clips/{number}.gif", save_all=True, append_images=frames[1:])
    for name in ("color/1.jpg", "depth/2.png"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    images.write_image(tmp_path / "depth/3.png", noise(30, 20, 3))  # of another shape
    PIL.Image.fromarray(noise(20, 30) % 3 + 7).save(tmp_path / "labels/4.png")  # no such labels
    folders = {"folder": str(tmp_path / "color"), "pairs_per_sentence": 2}
    labels = {"label_folder": str(tmp_path / "labels"), "num_labels": 3}
    clips = {"folder": str(tmp_path / "clips"), "frames_per_sentence": 2, "strides": (1,)}
    sources = {
        "maps": {"kind": "annotation", "annotation_folder": str(tmp_path / "depth"), **folders},
        "labels": {"kind": "label_map", **labels, **folders, "crop": (0.3, 0.6)},
        "gray": {"kind": "colorization", **folders, "crop": (0.5, 0.9), "sentences_per_epoch": 9},
        "clips": {"kind": "video", **clips},
    }
    return corpora.build_corpus({"sources": sources, "epochs": 2})


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_it_finds_what_building_rejects(resize, corpus, tmp_path):
    config = dataclasses.replace(CONFIG, images=images.ImageConfig(resize=resize))
    if resize == "squash":
        without_crop = [s for s in corpus.sources if s.crop is None]
        corpus = dataclasses.replace(corpus, sources=tuple(without_crop))
    calls = []
    lines = read_all(corpus, config, lambda *call: calls.append(call))
    build_shards(corpus, FakeTokenizer(), tmp_path / "out", config)
    expected = (tmp_path / "out" / rejects.FILE).read_text().splitlines()
    assert lines == [json.loads(line) for line in expected]
    bad = {os.path.relpath(line["path"], tmp_path) for line in lines}
    shapes = {"depth/3.png"} if resize == "crop" else set()
    labels = {"labels/4.png"} if resize == "crop" else set()
    assert bad == {"color/1.jpg", "depth/2.png"} | shapes | labels
    total = len(set().union(*(source.files for source in corpus.sources)))
    assert calls == [(number, total) for number in range(total + 1)]


def test_every_picture_is_decoded_once(corpus, monkeypatch):
    read, numbers = images.read_image, {}

    def count(path, *arguments, **more):
        numbers[path] = numbers.get(path, 0) + 1
        return read(path, *arguments, **more)

    monkeypatch.setattr(images, "read_image", count)
    read_all(corpus, CONFIG)
    # What has no pixels cannot be kept; it is asked for by each source.
    good = {path: number for path, number in numbers.items() if "color/1" not in path}
    assert set(good.values()) == {1} and len(good) == 5 + 6


def test_reasons_are_counted():
    lines = [
        {"path": f"a/{name}.png", "reason": f"cannot read a/{name}.png: {reason}", "sentences": []}
        for name, reason in (("b1", "cut (7 bytes)"), ("c", "cut (12 bytes)"), ("d", "no image"))
    ]
    assert rejects.by_reason(lines) == [
        ("cannot read FILE: cut (N bytes)", 2),
        ("cannot read FILE: no image", 1),
    ]
