"""Building shards: exact, resumable, every unique image tokenized once."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.data.building import from_sentences, token_cache
from lvm_jax.data.building.from_sentences import BuildConfig, build_shards
from lvm_jax.data.shards.reader import Shards
from lvm_jax.sentences import corpora
from tests.data.data_sets import BreakingTokenizer, FakeTokenizer, snapshot
from tests.toys import pixels_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in "abcdef":
        blocks = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        picture = blocks.repeat(8, 0).repeat(8, 1)
        images.write_image(root / f"{name}.png", picture)
    return str(root)


def make_corpus(folder, **values):
    crops = {"folder": folder, "crop": (0.4, 0.9), "flip": True, "pairs_per_sentence": 2}
    sources = {
        "single": {"kind": "single", "folder": folder},
        "colors": {"kind": "colorization", "sentences_per_epoch": 9, **crops},
        "whole": {"kind": "inpainting", "folder": folder, "pairs_per_sentence": 3},
        "edges": {"kind": "edges", "sentences_per_epoch": 5, **crops},
    }
    return corpora.build_corpus({"sources": sources, "epochs": 2, **values})


ROOT = str(pathlib.Path(__file__).resolve().parents[3])
SMALL = BuildConfig(sentences_per_shard=10, batch_size=4, num_special=3)


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    tokenizer, calls = FakeTokenizer(), []
    build_shards(make_corpus(folder), tokenizer, out, SMALL, calls.append)
    return out, tokenizer, calls


def test_shards_hold_the_ids_of_the_sentences(built, folder):
    out, tokenizer, calls = built
    shards, sentences = Shards(out), corpora.sentences(make_corpus(folder))
    assert len(shards) == len(sentences) == 2 * (6 + 9 + 2 + 5)
    for sentence, record in zip(sentences, shards.read_records(range(len(shards)))):
        pixels = np.stack([pixels_of(ref, 8) for ref in sentence.images])
        np.testing.assert_array_equal(record.ids, FakeTokenizer().encode(pixels))
        written = (record.kind, record.source, record.key)
        assert written == (sentence.kind, sentence.source, sentence.key)
    shards.verify()
    shards.require_tokenizer(FakeTokenizer.fingerprint)
    assert [entry["num_records"] for entry in shards.manifest["shards"]] == [10, 10, 10, 10, 4]
    done = [call.done for call in calls]
    assert done[-1] == 44 and done == sorted(done) and {call.total for call in calls} == {44}
    assert calls[-1].num_tokenized == tokenizer.num_encoded


def test_every_unique_image_is_tokenized_once(built, folder):
    out, tokenizer, _ = built
    unique = {ref.key for s in corpora.sentences(make_corpus(folder)) for ref in s.images}
    assert tokenizer.num_encoded == len(unique) == Shards(out).manifest["about"]["unique_images"]
    total = Shards(out).manifest["num_images"]
    assert tokenizer.num_encoded < total, "whole pictures come back in every epoch"


def test_nothing_but_shards_is_left(built):
    names = sorted(snapshot(built[0]))
    assert [n for n in names if not n.startswith("shard-")] == [
        "keys.npy",
        "kinds.npy",
        "manifest.json",
        "num_images.npy",
        "sources.npy",
    ]
    assert len([n for n in names if n.startswith("shard-")]) == 5


def test_batch_size_and_threads_do_not_change_a_byte(built, folder, tmp_path):
    other = BuildConfig(sentences_per_shard=10, batch_size=64, num_threads=1, num_special=3)
    build_shards(make_corpus(folder), FakeTokenizer(), tmp_path, other)
    assert snapshot(tmp_path) == snapshot(built[0])


@pytest.mark.parametrize("most", [1, 40, 90])
def test_an_interrupted_build_goes_on(built, folder, tmp_path, most, caplog):
    broken, second = BreakingTokenizer(most), FakeTokenizer()
    with pytest.raises(KeyboardInterrupt):
        build_shards(make_corpus(folder), broken, tmp_path, SMALL)
    with pytest.raises(ValueError, match=r"is unfinished|does not exist"):
        Shards(tmp_path)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.array_record")}
    with caplog.at_level("INFO"):
        build_shards(make_corpus(folder), second, tmp_path, SMALL)
    assert snapshot(tmp_path) == snapshot(built[0])
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    assert broken.num_encoded + second.num_encoded == built[1].num_encoded
    assert "tokenized already" in caplog.text
    if finished:
        assert f"{len(finished)} of 5 shards are there already" in caplog.text


def test_a_finished_build_says_so(built, folder, caplog):
    before, tokenizer = snapshot(built[0]), FakeTokenizer()
    with caplog.at_level("INFO"):
        build_shards(make_corpus(folder), tokenizer, built[0], SMALL)
    assert "nothing to do" in caplog.text and tokenizer.num_encoded == 0
    assert snapshot(built[0]) == before


def test_shards_of_something_else_are_not_touched(built, folder):
    before = snapshot(built[0])
    with pytest.raises(ValueError, match=r"made from another config, tokenizer or other pictures"):
        build_shards(make_corpus(folder, seed=1), FakeTokenizer(), built[0], SMALL)
    other = FakeTokenizer()
    other.fingerprint = "another"
    with pytest.raises(ValueError, match="made from another"):
        build_shards(make_corpus(folder), other, built[0], SMALL)
    assert snapshot(built[0]) == before


def test_a_bad_image_is_named_and_the_rest_kept(folder, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(30):
        picture = np.full((8, 8, 3), number, np.uint8)
        images.write_image(pictures / f"{number:02}.png", picture)
    bad = pictures / "17.png"
    good_bytes = bad.read_bytes()
    bad.write_bytes(good_bytes[:40] + b"\0" * (len(good_bytes) - 40))
    corpus = corpora.build_corpus({"sources": [{"kind": "single", "folder": str(pictures)}]})
    config = BuildConfig(sentences_per_shard=3, batch_size=1, num_special=3)
    tokenizer = FakeTokenizer()
    with pytest.raises(images.ImageError, match=r"17\.png.*remove or replace"):
        build_shards(corpus, tokenizer, tmp_path / "out", config)
    assert not list((tmp_path / "out").glob("*.array_record.partial"))
    bad.write_bytes(good_bytes)
    again = FakeTokenizer()
    assert len(build_shards(corpus, again, tmp_path / "out", config)) == 30
    assert tokenizer.num_encoded + again.num_encoded == 30


def test_a_disk_that_is_too_small_is_refused_before_work(folder, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(from_sentences.shutil, "disk_usage", lambda path: usage)
    tokenizer = FakeTokenizer()
    with pytest.raises(ValueError, match=r"^out=.* has 0 MiB free, but the shards need"):
        build_shards(make_corpus(folder), tokenizer, tmp_path, SMALL)
    assert tokenizer.num_encoded == 0


KILLED = """
import sys, time
sys.path.insert(0, {root!r})
from tests.data import data_sets
from tests.data.building import test_from_sentences as test

class Slow(data_sets.FakeTokenizer):
    def encode(self, images):
        time.sleep(0.05)
        return super().encode(images)

test.build_shards(
    test.make_corpus({folder!r}), Slow(), {out!r}, test.SMALL
)
"""


def test_a_killed_build_goes_on(built, folder, tmp_path):
    code = KILLED.format(root=ROOT, folder=folder, out=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.array_record"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "manifest.json").exists(), "it was to be killed half-way"
    second = FakeTokenizer()
    build_shards(make_corpus(folder), second, tmp_path, SMALL)
    assert 0 < second.num_encoded < built[1].num_encoded
    assert snapshot(tmp_path) == snapshot(built[0])


def test_token_cache_cuts_off_a_torn_entry(tmp_path):
    path, keys = tmp_path / "cache", [token_cache.digest(name) for name in "abc"]
    ids = np.arange(12).reshape(3, 4)
    cache = token_cache.TokenCache(path, 4)
    cache.add(keys, ids)
    np.testing.assert_array_equal(cache.get(keys[::-1]), ids[::-1])
    cache.close()
    path.write_bytes(path.read_bytes()[:-1])
    cache = token_cache.TokenCache(path, 4)
    assert len(cache) == 2 and keys[2] not in cache
    cache.add(keys[2:], ids[2:])
    np.testing.assert_array_equal(cache.get(keys), ids)
    cache.close()


def test_token_cache_finds_every_entry_of_every_file(tmp_path, monkeypatch):
    """Many entries, some of whose digests begin alike or end in zeros, in three files and new."""
    monkeypatch.setattr(token_cache, "_FEWEST_SORTED_IN", 100)
    keys = [bytes(8) + number.to_bytes(8, "little") for number in range(5)]
    keys += [number.to_bytes(8, "big") + bytes(8) for number in range(2**64 - 5, 2**64)]
    keys += [token_cache.digest(str(number)) for number in range(2000)]
    ids = np.random.default_rng(0).integers(0, 9999, (len(keys), 4))
    paths = [tmp_path / name for name in "abc"]
    for number, path in enumerate(paths):
        cache = token_cache.TokenCache(path, 4)
        for start in range(number, 1500, 30):  # every third, in parts
            part = slice(start, start + 30, 3)
            cache.add(keys[part], ids[part])
        # One that the first file has too: its ids count.
        cache.add(keys[:1] if number else [token_cache.digest("x")], np.full((1, 4), number))
        cache.close()
    cache = token_cache.TokenCache(paths[0], 4, paths[1:])
    assert len(cache) == 1500 + 1
    for start in range(1500, len(keys), 7):
        cache.add(keys[start : start + 7], ids[start : start + 7])
        assert all(cache.contains(keys[: start + 7])) and len(cache) == 1 + len(keys[: start + 7])
        assert not any(cache.contains(keys[start + 7 :]))
    np.testing.assert_array_equal(cache.get(keys), ids)
    assert bytes(16) in cache and bytes(15) + b"x" not in cache
    cache.close()


def test_token_cache_names_a_full_disk(tmp_path):
    cache = token_cache.TokenCache(tmp_path / "cache", 4)
    os.close(cache._file)
    cache._file = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(RuntimeError, match=r"cannot write .*cache: No space left on device"):
        cache.add([token_cache.digest("a")], np.zeros((1, 4)))
    cache.close()


@pytest.mark.parametrize(
    "values", [{"shard_megabytes": 0}, {"batch_size": 0}, {"sentences_per_shard": -1}]
)
def test_bad_values_name_their_key(values):
    with pytest.raises(ValueError, match=rf"^{next(iter(values))}="):
        BuildConfig(**values)
