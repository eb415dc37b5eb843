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
    assert repeats.write(out) == {"shards": 20, "held_out_shards": 7}
    for split, name in (("train", "shards"), ("held_out", "held_out_shards")):
        found = Shards(out / "shards" / "all" / split)
        known = {record.key: record for record in found.read_records(range(30))}
        made = Shards(out / "repeats" / name)
        assert made.tokenizer_fingerprint == found.tokenizer_fingerprint
        records = made.read_records(range(len(made)))
        assert {record.source for record in records} == {"depth", "emoji_mask"}
        assert len({record.key for record in records}) == len(records)
        for record in records:
            before = known[record.key].ids
            np.testing.assert_array_equal(record.ids, np.concatenate([before[:4], before[:4]]))
    with pytest.raises(ValueError, match="repeats"):
        repeats.write(out)
