"""A directory of shards: what is written is read, and what is damaged is named."""

import dataclasses
import gc
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from lvm_jax.data.shards import reader as shards_lib
from lvm_jax.data.shards.manifest import MANIFEST
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.writer import ShardsWriter, write_shards
from tests.data.data_sets import TOKENS, VOCABULARY, make_records, make_shards

NUM_IMAGES = [1, 4, 2, 16, 1] * 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shards") / "made"
    make_shards(directory, NUM_IMAGES)
    return directory


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def test_reads_what_was_written(made):
    shards = Shards(made)
    assert len(shards) == 30 and len(shards.manifest["shards"]) == 5
    assert shards.num_images.tolist() == NUM_IMAGES
    assert shards.vocabulary == VOCABULARY and shards.tokens_per_image == TOKENS
    chosen = np.random.default_rng(0).permutation(30)
    chosen = np.concatenate([chosen, chosen[:5]])
    expected = make_records(NUM_IMAGES)
    for index, record in zip(chosen, shards.read_records(chosen)):
        np.testing.assert_array_equal(record.ids, expected[index].ids)
        assert record.key == f"key{index}"
        assert shards.kinds[shards.kind_ids[index]] == record.kind
        assert shards.sources[shards.source_ids[index]] == record.source
    assert shards.read([]) == []
    shards.verify()


def test_directories_share_what_files_may_be_open(made, tmp_path):
    """In a process of its own with a limit of 64 files, of which others need some."""
    many = 40
    make_shards(tmp_path / "many", [1] * many, sentences_per_shard=1)
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from lvm_jax.data.shards import reader as shards_lib
from lvm_jax.data.shards.reader import Shards
together = [Shards(d) for d in [{str(tmp_path / "many")!r}] * 3]
for _ in range(2):
    for shards in together:
        assert len(shards.read_bytes(range({many}))) == {many}
# One after the other too, each opened when those before it have been read.
for _ in range(3):
    together.append(Shards({str(tmp_path / "many")!r}))
    assert len(together[-1].read_bytes(range({many}))) == {many}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_shard_of_another_directory_is_not_taken_for_ours(made, tmp_path):
    """ArrayRecord fills files up, so that other shards have the same size."""
    make_shards(tmp_path / "other", NUM_IMAGES, seed=1)
    name = "shard-00001.array_record"
    assert (made / name).stat().st_size == (tmp_path / "other" / name).stat().st_size
    shutil.copy(made / name, tmp_path / "other" / name)
    shards = Shards(tmp_path / "other")
    shards.read_bytes([0])
    with pytest.raises(ValueError, match=f"{name} is not the file that was written here"):
        shards.read_bytes([0, 8])


def test_records_that_disagree_with_the_index_are_named(copy):
    shards = Shards(copy)
    shards.num_images = shards.num_images[::-1]
    with pytest.raises(ValueError, match=r"shard-00001\.array_record, record 4 has not the number"):
        shards.read_bytes([11])


def test_files_of_a_directory_that_is_gone_are_closed(copy):
    shards = Shards(copy)
    shards.read_bytes(range(30))
    mine = [key for key in shards_lib._OPEN._files if key[0] == id(shards)]
    assert len(mine) == 5
    del shards
    gc.collect()
    assert not set(mine) & set(shards_lib._OPEN._files)


def test_manifest_counts(made):
    counts = Shards(made).manifest["counts"]
    assert counts["by_kind"] == {
        "pairs": {"sentences": 18, "images": 132},
        "single": {"sentences": 12, "images": 12},
    }
    assert sum(entry["images"] for entry in counts["by_source"].values()) == 144
    assert {path.suffix for path in made.iterdir()} == {".array_record", ".npy", ".json"}
    assert [path.name for path in made.glob("*.json")] == [MANIFEST]


def test_fingerprint_follows_the_ids_and_not_the_place(made, copy, tmp_path):
    assert Shards(copy).fingerprint == Shards(made).fingerprint
    other = make_shards(tmp_path / "other", NUM_IMAGES, seed=1)
    assert other.fingerprint != Shards(made).fingerprint


def test_missing_and_shortened_files_are_named(copy):
    shard = copy / "shard-00002.array_record"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"shard-00002\.array_record has \d+ bytes, the manifest"):
        Shards(copy)
    shard.unlink()
    with pytest.raises(ValueError, match=r"shard-00002\.array_record is missing"):
        Shards(copy)
    shard.write_bytes(data)
    (copy / "num_images.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"num_images\.npy has 0 bytes"):
        Shards(copy)


def test_flipped_bits_are_found(copy):
    shard = copy / "shard-00001.array_record"
    data = bytearray(shard.read_bytes())
    data[data.index(b"key9") + 6] ^= 4
    shard.write_bytes(data)
    shards = Shards(copy)
    with pytest.raises(ValueError, match=r"shard-00001\.array_record, record 2: .*mismatch"):
        shards.verify()
    with pytest.raises(ValueError, match=r"shard-00001\.array_record, record 2: .*mismatch"):
        shards.read([9])
    # Damage between records is no record's, but the checksum sees it.
    data[data.index(b"key9") + 6] ^= 4
    data[-70_000 if len(data) > 70_000 else 40] ^= 4
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"shard-00001\.array_record"):
        Shards(copy).verify()


@pytest.mark.parametrize("name", ["kinds.npy", "num_images.npy"])
def test_flipped_bit_in_the_index_is_found_when_it_is_opened(copy, name):
    path = copy / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{name} does not match its checksum"):
        Shards(copy)


def test_altered_manifests_are_refused(copy):
    path = copy / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["tokens_per_image"] = 8
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"manifest\.json was altered"):
        Shards(copy)
    path.write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(ValueError, match=r"manifest\.json has format 99, not 1"):
        Shards(copy)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"cannot read .*manifest\.json"):
        Shards(copy)
    path.unlink()
    with pytest.raises(ValueError, match=r"copy is unfinished; run python tools/build_shards"):
        Shards(copy)
    with pytest.raises(ValueError, match=r"nowhere/manifest\.json does not exist"):
        Shards(copy / "nowhere")


def test_another_tokenizer_is_refused(made):
    shards = Shards(made)
    shards.require_tokenizer("f" * 64)
    with pytest.raises(ValueError, match=r"tokenizer f{16}, not by e{16}") as caught:
        shards.require_tokenizer("e" * 64)
    assert "\n" not in str(caught.value)


def test_bad_ids_are_refused(tmp_path):
    record = make_records([2])[0]
    arguments = {
        "vocabulary": VOCABULARY,
        "tokens_per_image": TOKENS,
        "tokenizer_fingerprint": "f",
    }
    too_large = dataclasses.replace(record, ids=record.ids + np.uint16(61))
    with pytest.raises(ValueError, match=r"'key0' of source0 has ids .* codes 0\.\.60"):
        write_shards(tmp_path / "a", [too_large], **arguments)
    wrong = dataclasses.replace(record, ids=record.ids[:, :3])
    with pytest.raises(ValueError, match=r"has ids \[2, 3\], not \[images, 4\]"):
        write_shards(tmp_path / "b", [wrong], **arguments)
    assert not list((tmp_path / "a").iterdir()), "nothing half-written is left"
    with pytest.raises(ValueError, match="no sentences"):
        write_shards(tmp_path / "c", [], **arguments)


def test_unwritable_output_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "x", "/proc/nowhere"):
        with pytest.raises(ValueError, match=rf"cannot write to out={out}: "):
            ShardsWriter(
                out,
                build_key="k",
                vocabulary=VOCABULARY,
                tokens_per_image=TOKENS,
                tokenizer_fingerprint="f",
            )
