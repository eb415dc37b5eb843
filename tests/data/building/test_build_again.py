"""Shards that were lost from a finished directory are made again, to the byte, and no others."""

import os
import pathlib

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.data.building import lifecycle
from lvm_jax.data.building.from_sentences import BuildConfig, build_shards
from lvm_jax.data.building.slices import Slice
from lvm_jax.data.shards.reader import Shards
from lvm_jax.sentences import corpora
from tests.data.data_sets import FakeTokenizer, snapshot

SMALL = BuildConfig(sentences_per_shard=5, batch_size=4, num_special=3, max_rejects=1)


@pytest.fixture
def folder(tmp_path):
    """Eight pictures and one that is none."""
    root, rng = tmp_path / "pictures", np.random.default_rng(0)
    for number in range(8):
        picture = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        images.write_image(root / f"{number}.png", picture)
    (root / "8.png").write_text("no picture")
    return root


def make(folder, out, **values):
    source = {"kind": "single", "folder": str(folder), "crop": (0.4, 0.9)}
    corpus = corpora.build_corpus({"sources": [source], "epochs": 3})
    tokenizer = FakeTokenizer()
    shards = build_shards(corpus, tokenizer, out, SMALL, **values)
    return shards, tokenizer.num_encoded


@pytest.fixture
def built(folder, tmp_path):
    out = tmp_path / "out"
    make(folder, out)
    assert (out / "rejects.jsonl").exists()
    return out


def lose(path, how):
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-100], "longer": data + b"x", "empty": b""}[how])


@pytest.mark.parametrize("how", ["missing", "cut", "longer", "empty"])
def test_a_lost_shard_is_made_again(folder, built, how, caplog):
    before = snapshot(built)
    times = {path.name: path.stat().st_mtime_ns for path in built.iterdir()}
    lose(built / "shard-00001.array_record", how)
    with pytest.raises(ValueError, match=r"shard-00001\.array_record"):
        Shards(built)
    with caplog.at_level("INFO"):
        shards, num_encoded = make(folder, built)
    assert "1 of its shards are missing or have another size (shard-00001" in caplog.text
    assert 0 < num_encoded <= 5 and snapshot(built) == before
    shards.verify()
    changed = {n for n, when in times.items() if (built / n).stat().st_mtime_ns != when}
    assert changed == {"shard-00001.array_record"}


def test_a_flipped_bit_is_mended_by_removing_the_file(folder, built, caplog):
    before = snapshot(built)
    path = built / "shard-00002.array_record"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with caplog.at_level("INFO"):
        make(folder, built)
    assert "nothing to do (a damaged shard is made again when its file is removed)" in caplog.text
    with pytest.raises(ValueError, match=r"shard-00002\.array_record"):
        Shards(built).verify()
    path.unlink()
    make(folder, built)
    assert snapshot(built) == before


def test_slices_make_their_own_lost_shards_again(folder, built):
    before = snapshot(built)
    for number in (0, 3, 4):
        (built / f"shard-{number:05d}.array_record").unlink()
    shards, _ = make(folder, built, part=Slice(index=0, count=2))
    assert shards is None and not (built / "shard-00003.array_record").exists()
    shards, _ = make(folder, built, part=Slice(index=1, count=2))
    assert shards is not None and snapshot(built) == before


@pytest.mark.parametrize("wrong", ["picture", "tokenizer"])
def test_a_shard_that_becomes_something_else_is_refused(folder, built, wrong, monkeypatch):
    path = built / "shard-00001.array_record"
    path.unlink()
    before = snapshot(built)
    with monkeypatch.context() as patch:
        if wrong == "tokenizer":
            encode = FakeTokenizer.encode
            patch.setattr(FakeTokenizer, "encode", lambda self, x: (encode(self, x) + 1) % 61)
        else:
            old = {file: file.read_bytes() for file in folder.glob("[0-7].png")}
            for file, data in old.items():
                PIL.Image.new("RGB", (12, 16)).save(file)
                file.write_bytes(file.read_bytes().ljust(len(data), b"\0")[: len(data)])
        with pytest.raises(ValueError, match=r"became something else than it was: .*begin anew"):
            make(folder, built)
    assert not path.exists()
    left = snapshot(built)
    assert {name: left[name] for name in before} == before
    assert not any(name.startswith("again-") for name in left)


def test_a_kill_while_a_shard_is_made_again(folder, built, monkeypatch):
    before = snapshot(built)
    (built / "shard-00001.array_record").unlink()

    def dies(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        patch.setattr(pathlib.Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            make(folder, built)
    make(folder, built)
    assert snapshot(built) == before and not lifecycle.temporary(built)
