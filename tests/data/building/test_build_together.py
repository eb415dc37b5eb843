"""Slices, kills at any moment, unreadable pictures, a full disk: always the same bytes."""

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.data.building import rejects, token_cache, tokenizing
from lvm_jax.data.building.from_sentences import BuildConfig, build_shards
from lvm_jax.data.building.slices import Slice
from lvm_jax.pictures import loader
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences import corpora
from lvm_jax.sentences.sources import Sentence
from tests.data.data_sets import FakeTokenizer, snapshot

ROOT = str(pathlib.Path(__file__).resolve().parents[3])
SMALL = BuildConfig(sentences_per_shard=5, batch_size=4, num_special=3)
BUILD = """
import resource, sys, time
sys.path.insert(0, {root!r})
from tests.data import data_sets
from tests.data.building import test_build_together as test
from lvm_jax.data.building.slices import Slice

class Slow(data_sets.FakeTokenizer):
    def encode(self, images):
        time.sleep({seconds})
        return super().encode(images)

most = {most_bytes}
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
report = lambda progress: print(progress.done, flush=True)
try:
    test.build_shards(
        test.make_corpus({folder!r}), Slow(), {out!r}, test.SMALL, report, Slice.parse({part!r})
    )
except RuntimeError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(8):
        picture = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        images.write_image(root / f"{number}.png", picture)
    return str(root)


def make_corpus(folder):
    sources = {
        "single": {"kind": "single", "folder": folder},
        "colors": {
            **{"kind": "colorization", "folder": folder, "sentences_per_epoch": 20},
            **{"crop": (0.4, 0.9), "flip": True, "pairs_per_sentence": 2},
        },
    }
    return corpora.build_corpus({"sources": sources, "epochs": 2})


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    build_shards(make_corpus(folder), FakeTokenizer(), out, SMALL)
    return snapshot(out)


def start(folder, out, part="0/1", seconds=0.0, most_bytes=0):
    values = {"root": ROOT, "folder": folder, "out": str(out), "part": part}
    code = BUILD.format(**values, seconds=seconds, most_bytes=most_bytes)
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("order", [(0, 1), (2, 0, 1)])
def test_slices_write_what_one_process_writes(built, folder, tmp_path, order):
    for index in order:
        part = Slice(index=index, count=len(order))
        shards = build_shards(make_corpus(folder), FakeTokenizer(), tmp_path, SMALL, part=part)
        assert (shards is None) == (index != order[-1]), "the last one finishes"
    assert snapshot(tmp_path) == built
    # Whoever comes too late finds all done.
    late = FakeTokenizer()
    assert build_shards(make_corpus(folder), late, tmp_path, SMALL, part=part) is not None
    assert late.num_encoded == 0 and snapshot(tmp_path) == built


def test_a_slice_without_shards_still_finishes(built, folder, tmp_path, caplog):
    part = Slice(index=40, count=50)
    with caplog.at_level("WARNING"):
        assert (
            build_shards(make_corpus(folder), FakeTokenizer(), tmp_path, SMALL, part=part) is None
        )
    assert "slice 40/50 has nothing to do" in caplog.text
    build_shards(make_corpus(folder), FakeTokenizer(), tmp_path, SMALL)
    assert snapshot(tmp_path) == built


def test_slices_at_the_same_time_killed_and_resliced(built, folder, tmp_path):
    """Real processes: two slices at once, killed at random moments, then one process, then two."""
    moments = random.Random(0)
    for parts in (["0/2", "1/2"], ["0/1"], ["0/2", "1/2"]):
        # All of it would take 4 seconds.
        running = [start(folder, tmp_path, part, seconds=0.1) for part in parts]
        for process in running:
            process.stdout.readline()
        time.sleep(moments.uniform(0.1, 0.6))
        for process in running:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        assert not (tmp_path / "manifest.json").exists(), "they were to be killed half-way"
    assert sum(path.stat().st_size for path in tmp_path.glob("tokens-*")) > 0
    running = [start(folder, tmp_path, part) for part in ("0/2", "1/2")]
    for process in running:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    assert snapshot(tmp_path) == built


def test_ids_of_another_slicing_are_used_again(built, folder, tmp_path):
    class Breaks(FakeTokenizer):
        def encode(self, images):
            if self.num_encoded > 60:
                raise KeyboardInterrupt
            return super().encode(images)

    first, second = Breaks(), FakeTokenizer()
    whole = BuildConfig(sentences_per_shard=56, batch_size=4, num_special=3)
    with pytest.raises(KeyboardInterrupt):
        build_shards(make_corpus(folder), first, tmp_path, whole, part=Slice(index=0, count=2))
    shards = build_shards(make_corpus(folder), second, tmp_path, whole)
    assert first.num_encoded > 60
    unique = shards.manifest["about"]["unique_images"]
    assert first.num_encoded + second.num_encoded == unique


def test_one_slice_is_built_by_one_process(folder, tmp_path):
    held = start(folder, tmp_path, "0/2", seconds=0.05)
    held.stdout.readline()
    try:
        for part, message in (
            (Slice(index=0, count=2), "slice 0/2 is being built by another process"),
            (Slice(), "is being built by another process in another way"),
        ):
            with pytest.raises(ValueError, match=message):
                build_shards(make_corpus(folder), FakeTokenizer(), tmp_path, SMALL, part=part)
    finally:
        held.kill()
        held.communicate()


@pytest.mark.parametrize("broken", ["_clean", "ShardsWriter.finish"])
def test_a_kill_while_finishing(built, folder, tmp_path, monkeypatch, broken):
    def dies(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"lvm_jax.data.building.lifecycle.{broken}", dies)
        with pytest.raises(KeyboardInterrupt):
            build_shards(make_corpus(folder), FakeTokenizer(), tmp_path, SMALL)
    again = FakeTokenizer()
    build_shards(make_corpus(folder), again, tmp_path, SMALL)
    assert again.num_encoded == 0 and snapshot(tmp_path) == built


def test_a_full_disk_leaves_no_half_file_and_the_next_run_goes_on(folder, tmp_path):
    """A limit on the size of files fails the same calls as a disk without space."""
    first = start(folder, tmp_path / "out", most_bytes=1500)
    _, error = first.communicate(timeout=60)
    assert first.returncode == 1
    assert len(error.strip().splitlines()) == 1, error
    assert "cannot write" in error and "free space or choose another place" in error
    assert not list((tmp_path / "out").glob("*.array_record"))
    build_shards(make_corpus(folder), FakeTokenizer(), tmp_path / "out", SMALL)
    build_shards(make_corpus(folder), FakeTokenizer(), tmp_path / "whole", SMALL)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


@pytest.fixture
def damaged(tmp_path):
    """Ten pictures, of which two are no pictures."""
    root = tmp_path / "damaged"
    root.mkdir()
    for number in range(10):
        PIL.Image.new("RGB", (12, 16), (25 * number, 9, 9)).save(root / f"{number}.png")
    (root / "3.png").write_text("no picture")
    (root / "7.png").write_bytes((root / "7.png").read_bytes()[:50])
    return root


def test_sentences_with_unreadable_pictures_are_left_out(damaged, tmp_path):
    corpus = make_corpus(str(damaged))
    allowed = BuildConfig(sentences_per_shard=5, batch_size=4, num_special=3, max_rejects=2)
    shards = build_shards(corpus, FakeTokenizer(), tmp_path / "one", allowed)
    expected, dropped = [], {"3.png": [], "7.png": []}
    for index, sentence in enumerate(corpora.sentences(corpus)):
        shown = {pathlib.Path(ref.path).name for ref in sentence.images}
        for name in dropped.keys() & shown:
            about = {"index": index, "source": sentence.source, "key": sentence.key}
            dropped[name].append(about)
        if not dropped.keys() & shown:
            expected.append((sentence.source, sentence.key))
    kept = [(record.source, record.key) for record in shards.read_records(range(len(shards)))]
    assert kept == expected and len(expected) < len(corpora.sentences(corpus))
    lines = (tmp_path / "one" / "rejects.jsonl").read_text().splitlines()
    listed = {pathlib.Path(line["path"]).name: line for line in map(json.loads, lines)}
    assert {name: line["sentences"] for name, line in listed.items()} == dropped
    assert "not an image" in listed["3.png"]["reason"]
    assert listed["3.png"]["path"] == str(damaged / "3.png")
    about = shards.manifest["about"]
    assert about["rejected_images"] == 2
    assert about["rejected_sentences"] == len(corpora.sentences(corpus)) - len(expected)
    # The same in slices, although each sees only its own.
    for index in (1, 0):
        part = Slice(index=index, count=2)
        build_shards(corpus, FakeTokenizer(), tmp_path / "two", allowed, part=part)
    assert snapshot(tmp_path / "two") == snapshot(tmp_path / "one")


def test_a_video_counts_once_however_many_frames_are_missing(tmp_path):
    rejected = rejects.Rejects(tmp_path, 1)
    refs = [ImageRef(path="a.mp4", frame=frame) for frame in range(4)]
    keys = [token_cache.digest(ref.key) for ref in refs]
    for number, part in enumerate((slice(0, 3), slice(2, 4))):
        for key, ref in zip(keys[part], refs[part]):
            rejected.add(key, ref, images.ImageError(f"no frame {ref.frame}"))
        sentence = Sentence(kind="k", source="s", key=f"{number}", images=tuple(refs[part]))
        assert rejected.drop(number, sentence, keys[part])
        rejected.write_part(number)
    assert rejects.finish(tmp_path, 1) == {"rejected_images": 1, "rejected_sentences": 2}
    (line,) = map(json.loads, (tmp_path / rejects.FILE).read_text().splitlines())
    assert line["path"] == "a.mp4" and line["reason"] == "no frame 0"
    assert [sentence["index"] for sentence in line["sentences"]] == [0, 1]
    other = ImageRef(path="b.mp4", frame=0)
    with pytest.raises(images.ImageError, match="2 files cannot be read"):
        rejects.Rejects(tmp_path, 1).add(b"", other, images.ImageError("x"))


def test_more_unreadable_pictures_than_allowed(damaged, tmp_path):
    corpus = make_corpus(str(damaged))
    with pytest.raises(images.ImageError, match=r"[37]\.png: .*raise max_rejects=0"):
        build_shards(corpus, FakeTokenizer(), tmp_path / "none", SMALL)
    one = BuildConfig(sentences_per_shard=5, num_special=3, max_rejects=1)
    message = r"2 files cannot be read, more than max_rejects=1; cannot read"
    with pytest.raises(images.ImageError, match=message):
        build_shards(corpus, FakeTokenizer(), tmp_path / "one", one)
    # With the limit raised, the same directory is finished.
    more = BuildConfig(sentences_per_shard=5, num_special=3, max_rejects=2)
    assert build_shards(corpus, FakeTokenizer(), tmp_path / "one", more) is not None


def test_a_shard_and_a_corpus_without_a_whole_sentence(damaged, tmp_path):
    single = {"kind": "single", "folder": str(damaged)}
    config = BuildConfig(sentences_per_shard=1, num_special=3, max_rejects=2)
    corpus = corpora.build_corpus({"sources": [single]})
    shards = build_shards(corpus, FakeTokenizer(), tmp_path / "some", config)
    counts = [entry["num_records"] for entry in shards.manifest["shards"]]
    assert sorted(counts) == [0, 0] + [1] * 8
    shards.verify()
    assert len(shards.read(range(8))) == 8
    corpus = corpora.build_corpus({"sources": [{**single, "include": ("3", "7")}]})
    with pytest.raises(ValueError, match="every sentence needs an image that cannot be read"):
        build_shards(corpus, FakeTokenizer(), tmp_path / "none", config)


def test_image_settings_are_part_of_what_shards_are(folder, tmp_path):
    corpus = make_corpus(folder)
    squash = BuildConfig(
        sentences_per_shard=5, num_special=3, images=images.ImageConfig(resize="squash")
    )
    shards = build_shards(corpus, FakeTokenizer(), tmp_path, squash)
    assert shards.manifest["about"]["images"]["resize"] == "squash"
    record = shards.read_records([0])[0]
    whole = images.read_image(f"{folder}/{record.key}.png")
    expected = FakeTokenizer().encode(images.squash(whole, 8)[None])
    np.testing.assert_array_equal(record.ids, expected)
    with pytest.raises(ValueError, match="made from another config"):
        build_shards(corpus, FakeTokenizer(), tmp_path, SMALL)


def test_large_jpegs_give_the_same_ids_for_any_threads(tmp_path):
    """Squares of one picture need it at different sizes; none may depend on who came first."""
    rng = np.random.default_rng(0)
    for number in range(3):
        noise = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        PIL.Image.fromarray(noise).save(tmp_path / "pictures" / f"{number}.jpg")
    source = {"kind": "colorization", "folder": str(tmp_path / "pictures"), "crop": (0.1, 1.0)}
    corpus = corpora.build_corpus({"sources": [{**source, "sentences_per_epoch": 12}]})
    for name, values in {"1": {"num_threads": 1}, "8": {"num_threads": 8, "batch_size": 3}}.items():
        config = BuildConfig(sentences_per_shard=4, num_special=3, **values)
        build_shards(corpus, FakeTokenizer(), tmp_path / name, config)
    assert snapshot(tmp_path / "1") == snapshot(tmp_path / "8")


def test_pictures_are_read_while_the_device_works(folder, tmp_path, monkeypatch):
    read, waited = [], []
    load = loader.SquareLoader.load
    counted = lambda self, refs: read.append(len(refs)) or load(self, refs)
    monkeypatch.setattr(loader.SquareLoader, "load", counted)

    class Device(FakeTokenizer):
        def encode(self, images):
            # The sentences of eight batches are collected before the first is encoded.
            deadline = time.monotonic() + 20
            while not waited and sum(read) <= 8 * 4 + 4 and time.monotonic() < deadline:
                time.sleep(0.01)
            waited.append(sum(read))
            return super().encode(images)

    build_shards(
        make_corpus(folder), Device(), tmp_path, dataclasses.replace(SMALL, sentences_per_shard=50)
    )
    assert waited[0] > 8 * 4 + 4, "those of the next ones are read before it is done"


def test_batches_fill_all_devices(folder, tmp_path):
    sizes = []

    class Wide(FakeTokenizer):
        images_per_call = 12

        def encode(self, images):
            sizes.append(len(images))
            return super().encode(images)

    source = {"kind": "colorization", "folder": folder, "crop": (0.4, 0.9), "pairs_per_sentence": 5}
    corpus = corpora.build_corpus({"sources": [{**source, "sentences_per_epoch": 40}]})
    build_shards(corpus, Wide(), tmp_path, dataclasses.replace(SMALL, sentences_per_shard=1000))
    assert set(sizes[:-1]) == {12}, "what is left of some sentences waits for the next ones"


def test_the_device_works_while_records_are_written(folder, tmp_path):
    device = FakeTokenizer()
    sentences = corpora.sentences(make_corpus(folder))
    with (
        contextlib.closing(token_cache.TokenCache(tmp_path / "cache", 4)) as cache,
        tokenizing.Tokenize(
            *(device, cache, rejects.Rejects(tmp_path, 0), images.ImageConfig()),
            batch_size=4,
            num_threads=2,
        ) as made,
    ):
        records = made.records(sentences, range(len(sentences)), set(), lambda number: None)
        next(records)
        deadline = time.monotonic() + 20
        while device.num_encoded <= 2 * 8 * 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert device.num_encoded > 2 * 8 * 4, "nobody takes the second record"
        assert 1 + sum(1 for _ in records) == len(sentences)


@pytest.mark.parametrize("text", ["2/2", "1", "a/b", "-1/2", "0/0"])
def test_a_bad_slice_is_named(text):
    with pytest.raises(ValueError, match=rf"^slice={text} must be I/N"):
        Slice.parse(text)
