"""Sentences that show every pair twice."""

import numpy as np
import pytest

from lvm_jax.data.shards import writer
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.records import Record
from lvm_jax.vocabulary import Vocabulary
from studies import repeats

VOCABULARY = Vocabulary(num_codes=32, num_special=3, pad_multiple=16)


@pytest.fixture
def out(tmp_path):
    """Shards of the study: pairs of two sources, and videos."""
    rng = np.random.default_rng(0)
    for split in ("train", "held_out"):
        records = [
            Record(
                kind="annotation",
                source=("depth", "animation", "emoji_mask")[number % 3],
                key=f"{split} {number}",
                ids=rng.integers(0, 32, (8, 4), np.uint16),
            )
            for number in range(30)
        ]
        writer.write_shards(
            tmp_path / "shards" / "all" / split,
            records,
            vocabulary=VOCABULARY,
            tokens_per_image=4,
            tokenizer_fingerprint="f" * 64,
        )
    return tmp_path


def test_the_first_pairs_come_again_and_nothing_else(out, monkeypatch):
    monkeypatch.setattr(repeats, "NUM_HELD_OUT", 7)
    made = repeats.write(out)
    assert list(made.values()) == [20, 7, 20, 7]
    for directory in made:
        split = "held_out" if directory.name == "held_out_shards" else "train"
        found = Shards(out / "shards" / "all" / split)
        known = {record.key: record for record in found.read_records(range(30))}
        shards = Shards(directory)
        assert shards.tokenizer_fingerprint == found.tokenizer_fingerprint
        records = shards.read_records(range(len(shards)))
        assert {record.source for record in records} == {"depth", "emoji_mask"}
        assert len({record.key for record in records}) == len(records)
        moved = 0
        for record in records:
            first = known[record.key].ids[:4]
            swapped = np.concatenate([first[2:], first[:2]])
            np.testing.assert_array_equal(record.ids[:4], first)
            moved += np.array_equal(record.ids[4:], swapped)
            assert np.array_equal(record.ids[4:], first) or np.array_equal(record.ids[4:], swapped)
        # Some in their order, some not.
        assert 0 < moved < len(records) if directory.parent.name == "shuffled" else moved == 0
    with pytest.raises(ValueError, match="repeats"):
        repeats.write(out)
