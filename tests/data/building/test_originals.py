"""Pictures that change between two runs of a build, though neither name nor size does."""

import os
import pathlib
import shutil

import numpy as np
import PIL.Image
import pytest

from lvm_jax.data.building.from_sentences import BuildConfig, build_shards
from lvm_jax.data.building.originals import Comparison, Originals, compare
from lvm_jax.data.building.slices import Slice
from lvm_jax.sentences import corpora
from tests.data.data_sets import BreakingTokenizer, FakeTokenizer, snapshot

SMALL = BuildConfig(sentences_per_shard=5, batch_size=4, num_special=3)
ONE_SHARD = BuildConfig(sentences_per_shard=1000, batch_size=4, num_special=3)


def draw(path, seed):
    """Pictures of one size in bytes, whatever they show."""
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(8):
        draw(root / f"{number}.bmp", number)
    return root


def make_corpus(folder):
    sources = {
        "single": {"kind": "single", "folder": str(folder)},
        "colors": {
            **{"kind": "colorization", "folder": str(folder), "sentences_per_epoch": 20},
            **{"crop": (0.4, 0.9), "flip": True, "pairs_per_sentence": 2},
        },
    }
    return corpora.build_corpus({"sources": sources, "epochs": 2})


def build(folder, out, config, tokenizer=None):
    tokenizer = tokenizer or FakeTokenizer()
    build_shards(make_corpus(folder), tokenizer, out, config)
    return tokenizer


def begin(folder, out, config, most=60):
    broken = BreakingTokenizer(most)
    with pytest.raises(KeyboardInterrupt):
        build(folder, out, config, broken)
    return broken


def test_a_changed_picture_is_tokenized_again_while_no_shard_is_there(folder, tmp_path):
    first = begin(folder, tmp_path / "out", ONE_SHARD)
    for number in range(8):
        draw(folder / f"{number}.bmp", 100 + number)
    second = begin(folder, tmp_path / "out", ONE_SHARD)
    assert first.num_encoded == second.num_encoded, "no id of an older picture is used"
    # What was changed before the last run is known by the next one, and its ids are used.
    third = build(folder, tmp_path / "out", ONE_SHARD)
    fresh = build(folder, tmp_path / "fresh", ONE_SHARD)
    assert second.num_encoded + third.num_encoded == fresh.num_encoded
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "fresh")


def _swap(folder):
    (folder / "0.bmp").rename(folder / "x")
    (folder / "1.bmp").rename(folder / "0.bmp")
    (folder / "x").rename(folder / "1.bmp")


def _replace(folder):
    draw(folder / "1.bmp", 99)


def _edit_in_place(folder):
    """As a tool that gives the file its old time back."""
    path, status = folder / "1.bmp", os.stat(folder / "1.bmp")
    with open(path, "r+b") as file:
        file.seek(-9, os.SEEK_END)
        file.write(b"changed!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [_swap, _replace, _edit_in_place])
def test_a_changed_picture_is_refused_when_shards_show_the_old_one(folder, tmp_path, change):
    begin(folder, tmp_path / "out", SMALL)
    backup = shutil.copytree(folder, tmp_path / "backup")
    before = snapshot(tmp_path / "out")
    change(folder)
    # As often as it is tried, and in every slice.
    for part in (None, None, Slice(index=1, count=2)):
        with pytest.raises(ValueError, match=r"[01]\.bmp.* put .* back, or remove out=") as error:
            build_shards(make_corpus(folder), FakeTokenizer(), tmp_path / "out", SMALL, part=part)
        assert "\n" not in str(error.value)
    assert {name: before[name] for name in before} == {
        name: data for name, data in snapshot(tmp_path / "out").items() if name in before
    }
    # Put back, it goes on, whatever the times of the files are now.
    shutil.rmtree(folder)
    shutil.copytree(backup, folder, copy_function=shutil.copyfile)
    build(folder, tmp_path / "out", SMALL)
    build(folder, tmp_path / "fresh", SMALL)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "fresh")


@pytest.mark.parametrize("config", [SMALL, ONE_SHARD])
def test_a_copied_data_set_goes_on_without_tokenizing_twice(folder, tmp_path, config):
    first = begin(folder, tmp_path / "out", config)
    copy = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(folder)
    copy.rename(folder)
    second = build(folder, tmp_path / "out", config)
    fresh = build(folder, tmp_path / "fresh", config)
    assert first.num_encoded + second.num_encoded == fresh.num_encoded
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "fresh")


def test_a_picture_that_no_run_has_read_may_change(folder, tmp_path):
    """As one that ended the last run, since it could not be read, and was mended."""
    good = (folder / "7.bmp").read_bytes()
    (folder / "7.bmp").write_bytes(bytes(len(good)))
    with pytest.raises(ValueError, match=r"7\.bmp"):
        build(folder, tmp_path / "out", BuildConfig(sentences_per_shard=1, num_special=3))
    (folder / "7.bmp").write_bytes(good)
    build(folder, tmp_path / "out", BuildConfig(sentences_per_shard=1, num_special=3))


@pytest.mark.parametrize("new", ["renamed.bmp", "0a.bmp"])
def test_a_renamed_picture_makes_other_shards(folder, tmp_path, new):
    """Names are in the records and order the sentences: nothing of an older name may stay."""
    begin(folder, tmp_path / "some", SMALL)
    first = begin(folder, tmp_path / "none", ONE_SHARD)
    (folder / "3.bmp").rename(folder / new)
    with pytest.raises(ValueError, match="holds shards made from another config, tokenizer or"):
        build(folder, tmp_path / "some", SMALL)
    second = build(folder, tmp_path / "none", ONE_SHARD)
    fresh = build(folder, tmp_path / "fresh", ONE_SHARD)
    assert snapshot(tmp_path / "none") == snapshot(tmp_path / "fresh")
    assert second.num_encoded > fresh.num_encoded - first.num_encoded


def test_a_torn_log_is_cut_off(folder, tmp_path):
    with Originals(tmp_path, Slice(), Comparison()) as originals:
        originals.note(str(folder / "0.bmp"), originals.look(str(folder / "0.bmp")))
        originals.flush()
    (log,) = tmp_path.glob("pictures-*.partial")
    log.write_bytes(log.read_bytes() + b"torn")
    with Originals(tmp_path, Slice(), Comparison()) as originals:
        originals.note(str(folder / "1.bmp"), originals.look(str(folder / "1.bmp")))
        originals.flush()
    for path in folder.iterdir():
        draw(path, 77)
    changed = compare(tmp_path, sorted(map(str, folder.iterdir())), num_threads=2).changed
    assert [pathlib.Path(path).name for path in changed] == ["0.bmp", "1.bmp"]
