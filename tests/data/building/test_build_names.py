"""Building shards of pictures whose names are any bytes: built, rejected, resumed, shown."""

import json
import os

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.data.building import rejects
from lvm_jax.data.building.from_sentences import BuildConfig, build_shards
from lvm_jax.data.feeding import selection
from lvm_jax.data.feeding.data_config import Split
from lvm_jax.sentences import corpora
from tests.data.data_sets import BreakingTokenizer, FakeTokenizer

NOT_UTF_8 = os.fsdecode(b"caf\xe9")
NAMES = [NOT_UTF_8, "a\nb", "-x", "a+b", "a#1", "a", "b", "'\"|", "e\u0301", "y" * 251]
SMALL = BuildConfig(sentences_per_shard=3, batch_size=2, num_special=3, max_rejects=1)


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff pictures")
    for number, name in enumerate(NAMES):
        images.write_image(folder / f"{name}.png", np.full((8, 8, 3), 20 * number, np.uint8))
    pairs = {"pairs_per_sentence": 2, "sentences_per_epoch": 12}
    sources = {
        "single": {"kind": "single", "folder": str(folder)},
        "pairs": {"kind": "colorization", "folder": str(folder), **pairs},
    }
    return corpora.build_corpus({"sources": sources})


def test_any_name_is_built_and_resumed_to_the_byte(corpus, tmp_path, caplog):
    one, two = tmp_path / os.fsdecode(b"one\xe9"), tmp_path / "two"
    shards = build_shards(corpus, FakeTokenizer(), one, SMALL)
    keys = [record.key for record in shards.read_records(range(len(shards)))]
    assert set(keys[: len(NAMES)]) == set(NAMES)
    with pytest.raises(KeyboardInterrupt):
        build_shards(corpus, BreakingTokenizer(6), two, SMALL)
    build_shards(corpus, FakeTokenizer(), two, SMALL)
    for path in sorted(one.iterdir()):
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name
    shards.verify()
    assert corpora.sentences(corpus).fingerprint() == corpora.sentences(corpus).fingerprint()


def test_a_bad_file_of_any_name_is_rejected_and_named(corpus, tmp_path):
    (bad,) = [path for path in corpus.sources[0].files if path.endswith(f"{NOT_UTF_8}.png")]
    with open(bad, "wb") as file:
        file.write(b"no picture")
    shards = build_shards(corpus, FakeTokenizer(), tmp_path / "out", SMALL)
    (line,) = map(json.loads, (tmp_path / "out" / rejects.FILE).read_text().splitlines())
    assert line["path"] == bad and NOT_UTF_8 in line["sentences"][0]["key"].split("+")
    assert shards.manifest["about"]["rejected_images"] == 1
    strict = BuildConfig(sentences_per_shard=3, num_special=3)
    with pytest.raises(images.ImageError) as caught:
        build_shards(corpus, FakeTokenizer(), tmp_path / "strict", strict)
    assert f"{NOT_UTF_8}.png" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_held_out_by_itself(name, corpus, tmp_path):
    shards = build_shards(corpus, FakeTokenizer(), tmp_path / "out", SMALL)
    sides = {
        part: selection.select(shards, selection.Selection(split=Split(part=part, keys=(name,))))
        for part in ("train", "held_out")
    }
    shown = [
        {path for path in NAMES for ref in sentence.images if ref.path.endswith(f"/{path}.png")}
        for sentence in corpora.sentences(corpus)
    ]
    held_out = {i for i, names in enumerate(shown) if name in names}
    # "a+b" is a picture and two pictures: what may be meant is held out.
    both = {i for i, names in enumerate(shown) if names == {"a", "b"}} if name == "a+b" else set()
    more = {i for i, names in enumerate(shown) if "a+b" in names} if name in "ab" else set()
    assert held_out <= set(sides["held_out"].tolist()) <= held_out | both | more
    assert len(sides["train"]) + len(sides["held_out"]) == len(shards)
