"""Shards on a store: the rows of a disk, from the cache or record by record."""

import dataclasses
import hashlib
import os

import numpy as np
import pytest

from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.writer import write_shards
from lvm_jax.storage.cache import Cache, CachedDirectory
from lvm_jax.vocabulary import Vocabulary

NUM_SHARDS = 4


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """400 sentences of one to four images of 16 ids, in four files."""
    rng = np.random.default_rng(0)
    sentences = (
        Record(
            kind="k", source="s", key=str(i), ids=rng.integers(0, 64, (1 + i % 4, 16), np.uint16)
        )
        for i in range(400)
    )
    folder = tmp_path_factory.mktemp("shards")
    write_shards(
        folder,
        sentences,
        vocabulary=Vocabulary(num_codes=64),
        tokens_per_image=16,
        tokenizer_fingerprint="toy",
        sentences_per_shard=100,
    )
    return folder


@pytest.fixture
def uploaded(store, on_disk):
    (store.root / "shards").upload_all(on_disk)
    return dataclasses.replace(store, root=store.root / "shards")


def wait_for_copies(shards):
    shards._stored._filler._thread.join()


def copies(cache):
    return sorted(path.name for path in cache.root.glob("*/shard-*"))


def require_same(shards, other):
    order = np.random.default_rng(1).permutation(len(other))
    assert shards.read_bytes(order) == other.read_bytes(order)


def test_records_are_those_of_the_disk(uploaded, on_disk, tmp_path):
    cache = Cache(folder=str(tmp_path))
    shards, other = Shards(str(uploaded.root), cache), Shards(on_disk)
    assert shards.fingerprint == other.fingerprint
    np.testing.assert_array_equal(shards.num_images, other.num_images)
    # Before anything is copied, and while it is.
    require_same(shards, other)
    wait_for_copies(shards)
    assert len(copies(cache)) == NUM_SHARDS
    num_requests = len(uploaded.proxy.requests)
    require_same(shards, other)
    again = Shards(str(uploaded.root), cache)
    require_same(again, other)
    opening = uploaded.proxy.requests[num_requests:]
    assert not [path for _, path in opening if "shard-" in path]  # the manifest and a listing
    shards.verify()


def test_what_exceeds_the_limit_is_read_record_by_record(uploaded, on_disk, tmp_path):
    size = os.path.getsize(on_disk / "shard-00000.array_record")
    cache = Cache(folder=str(tmp_path), gib=2.5 * size / 2**30)
    shards, other = Shards(str(uploaded.root), cache), Shards(on_disk)
    for _ in range(2):
        require_same(shards, other)
        wait_for_copies(shards)
        assert len(copies(cache)) == 2


def test_room_is_made_of_what_nobody_reads(uploaded, on_disk, tmp_path):
    cache = Cache(folder=str(tmp_path), gib=1)
    old, used = (
        CachedDirectory(cache, uploaded.root.parent / name, "1") for name in ("old", "used")
    )
    for directory in (old, used):
        directory.local("shard-00000.array_record").write_bytes(bytes(1000))
    old.close()
    assert used.make_room(2**30 - 1500)
    assert not old.folder.exists() and used.folder.exists()
    assert not used.make_room(2**30 - 500)
    assert used.folder.exists()


def test_one_process_of_a_machine_copies(uploaded, tmp_path):
    directory = CachedDirectory(Cache(folder=str(tmp_path)), uploaded.root, "1")
    with directory.filling() as alone:
        assert alone
        with directory.filling() as other:
            assert not other
    with directory.filling() as alone:
        assert alone


def test_a_copy_that_is_not_what_was_written_is_not_kept(uploaded, on_disk, tmp_path):
    directory = CachedDirectory(Cache(folder=str(tmp_path)), uploaded.root, "1")
    content = (on_disk / "keys.npy").read_bytes()
    with pytest.raises(ValueError, match=r"keys\.npy does not match its checksum"):
        directory.fetch("keys.npy", len(content), "0" * 64)
    assert not [name for name in os.listdir(directory.folder) if "keys" in name]
    path = directory.fetch("keys.npy", len(content), hashlib.sha256(content).hexdigest())
    assert path.read_bytes() == content


def test_batches_are_those_of_the_disk(uploaded, on_disk, tmp_path):
    config = DataConfig(shards=str(on_disk), context=64, plan_cache=str(tmp_path / "plans"))
    stored = DataConfig(shards=str(uploaded.root), context=64, store_cache=str(tmp_path))
    pipeline, other = (Pipeline(c, seed=3, global_batch=8) for c in (stored, config))
    assert pipeline.fingerprint == other.fingerprint
    for batch, expected, _ in zip(pipeline.iterate(), other.iterate(), range(5)):
        for key in expected:
            np.testing.assert_array_equal(batch[key], expected[key])
    assert list(tmp_path.glob("*/rows/*/plan.json"))


def test_a_shard_that_is_missing_or_cut_short_is_named(uploaded, on_disk, tmp_path):
    victim, cache = uploaded.root / "shard-00002.array_record", Cache(folder=str(tmp_path))
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{victim} has \d+ bytes, the manifest says"):
        Shards(uploaded.root, cache)
    victim.unlink()
    with pytest.raises(ValueError, match=f"{victim} is missing"):
        Shards(uploaded.root, cache)
    with pytest.raises(ValueError, match=r"does not exist; .*tools.build_shards"):
        Shards(uploaded.root / "nowhere", cache)
