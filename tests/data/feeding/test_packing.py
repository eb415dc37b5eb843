"""Row plans: every sentence once, no row too long, little padding."""

import tracemalloc

import numpy as np
import pytest

from lvm_jax.data.feeding import packing as packing_lib
from lvm_jax.data.feeding import rows
from lvm_jax.data.feeding.packing import plan_rows

MIXED = np.random.default_rng(0).choice([1, 2, 3, 5, 8, 16], 4000, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])


def slots(plan):
    """The sentences of each row."""
    return np.split(plan.order, plan.ends[:-1])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("tokens,context", [(256, 4096), (4, 64), (4, 65), (4, 67), (16, 1000)])
def test_whole_sentences_share_rows(tokens, context, shuffle):
    num_images = MIXED.astype(np.uint16)
    plan = plan_rows(num_images, tokens, context, "sentence", shuffle)
    np.testing.assert_array_equal(np.sort(plan.order), np.arange(len(num_images)))
    lengths = rows.sentence_lengths(num_images, tokens, context, "sentence")
    used = np.array([lengths[row].sum() for row in slots(plan)])
    assert used.max() <= context + 1 and (used > 0).all()
    # No plan can beat rows without padding; whole images leave gaps of up to one image.
    best = lengths.sum() / (context + 1)
    assert plan.num_rows <= 1.08 * best + 1


def test_padding_of_a_mixed_corpus():
    """Below 1% wherever BOS and EOS of several sentences find room beside sixteen images."""
    num_images = np.random.default_rng(3).choice([1, 2, 4, 8, 16], 50_000).astype(np.uint16)
    for context, most in ((4128, 0.01), (4096, 0.057)):
        plan = plan_rows(num_images, 256, context)
        used = rows.sentence_lengths(num_images, 256, context, "sentence").sum()
        assert 1 - used / (plan.num_rows * (context + 1)) < most
    # At 4096 a row with two sentences holds fifteen images at most: 4,096 + 2 * 2 > 4,097 ids.
    several = np.diff(plan.ends, prepend=0) > 1
    images = np.add.reduceat(
        num_images[plan.order].astype(int), plan.ends - np.diff(plan.ends, prepend=0)
    )
    assert images[several].max() == 15 and (images[several] == 15).mean() > 0.99


def test_only_a_full_row_drops_its_end():
    lengths = rows.sentence_lengths(np.array([15, 16, 17]), 4, 64, "sentence")
    assert lengths.tolist() == [62, 65, 70]
    assert rows.sentence_lengths(np.array([16]), 4, 65, "sentence").tolist() == [66]
    assert rows.sentence_lengths(np.array([16]), 4, 64, "stream").tolist() == [66]


def test_packing_beats_first_fit_decreasing():
    rng = np.random.default_rng(1)
    for _ in range(5):
        num_images = rng.integers(1, 17, 500)
        plan = plan_rows(num_images, 256, 4096)
        lengths = rows.sentence_lengths(num_images, 256, 4096, "sentence")
        bins = []
        for length in np.sort(lengths)[::-1]:
            place = next((i for i, used in enumerate(bins) if used + length <= 4097), None)
            if place is None:
                bins.append(length)
            else:
                bins[place] += length
        assert plan.num_rows <= len(bins)


def test_many_lengths_and_one_sentence():
    num_images = np.random.default_rng(2).integers(1, 1001, 3000)
    plan = plan_rows(num_images, 4, 4000)
    np.testing.assert_array_equal(np.sort(plan.order), np.arange(3000))
    lengths = rows.sentence_lengths(num_images, 4, 4000, "sentence")
    used = np.array([lengths[row].sum() for row in slots(plan)])
    assert used.max() <= 4001 and used.mean() / 4001 > 0.97
    assert plan_rows(np.array([3]), 4, 64).num_rows == 1
    assert plan_rows(np.array([1]), 4, 64, "stream").num_rows == 1


def test_shuffling_mixes_sources_into_rows():
    num_images = np.full(1000, 2)
    ordered = slots(plan_rows(num_images, 4, 64, shuffle=False))
    mixed = slots(plan_rows(num_images, 4, 64, shuffle=True))
    assert max(np.ptp(row) for row in ordered) < 10
    assert np.median([np.ptp(row) for row in mixed]) > 400


def test_stream_covers_every_id_once():
    num_images = MIXED[:200].astype(np.uint16)
    plan = plan_rows(num_images, 4, 64, "stream")
    total = int((num_images.astype(int) * 4 + 2).sum())
    assert plan.num_rows == -(-(total - 1) // 64)
    pieces = plan.pieces(np.arange(plan.num_rows), num_images, 4)
    assert pieces.takes.min() >= 1
    per_row = np.add.reduceat(pieces.takes, np.cumsum(pieces.counts) - pieces.counts)
    assert (per_row[:-1] == 65).all() and per_row[-1] == total - 64 * (plan.num_rows - 1)


def test_a_sentence_longer_than_a_row():
    with pytest.raises(ValueError, match=r"^context=60 .*sentence 1 has 16.*least 64"):
        plan_rows(np.array([2, 16]), 4, 60)
    assert plan_rows(np.array([2, 16]), 4, 64).num_rows == 2
    assert plan_rows(np.array([2, 16]), 4, 60, "stream").num_rows == 2


def test_golden_plan():
    plan = plan_rows(np.array([1, 4, 2, 16, 1, 4, 2, 16, 1, 4]), 4, 64)
    assert [row.tolist() for row in slots(plan)] == [[3], [7], [9, 5, 4, 2, 6], [1, 0, 8]]


def test_ten_million_sentences_plan_quickly():
    num_images = np.random.default_rng(0).integers(1, 17, 10_000_000).astype(np.uint16)
    plan = plan_rows(num_images, 256, 4096)
    used = rows.sentence_lengths(num_images, 256, 4096, "sentence").sum()
    assert used / (plan.num_rows * 4097) > 0.93
    counts = np.bincount(plan.order, minlength=len(num_images))
    assert counts.min() == counts.max() == 1


def split_simply(num_images, selected, most):
    """(sentence, first image, images) of every unit, one by one."""
    return [
        (sentence, first, min(int(num_images[sentence]) - first, most))
        for sentence in (range(len(num_images)) if selected is None else selected.tolist())
        for first in range(0, int(num_images[sentence]), most)
    ]


@pytest.mark.parametrize("part", [3, 1 << 16])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("choose", [False, True])
def test_split_sentences_are_packed_as_sentences_of_their_own(choose, shuffle, part, monkeypatch):
    monkeypatch.setattr(packing_lib, "_PART", part)
    rng = np.random.default_rng(0)
    for _ in range(20):
        tokens, most = int(rng.integers(1, 9)), int(rng.integers(1, 20))
        context = tokens * most + int(rng.integers(tokens))
        # One is longer than a row for certain; some may be empty, and have no unit then.
        num_images = rng.integers(0, 4 * most, int(rng.integers(2, 200))).astype(np.uint16)
        num_images[0] = rng.integers(most + 1, 200 * most)
        selected = np.flatnonzero(rng.random(len(num_images)) < 0.5).astype(np.uint32)
        selected = np.union1d(np.uint32([0]), selected) if choose else None
        plan = plan_rows(num_images, tokens, context, "sentence", shuffle, "split", selected)
        units = np.array(split_simply(num_images, selected, most))
        whole = plan_rows(units[:, 2].astype(np.uint16), tokens, context, "sentence", shuffle)
        expected = units[whole.order]
        for values, column, dtype in (
            (plan.order, 0, np.uint32),
            (plan.firsts, 1, np.uint16),
            (plan.images, 2, np.uint16),
        ):
            assert values.dtype == dtype
            np.testing.assert_array_equal(values, expected[:, column])
        np.testing.assert_array_equal(plan.ends, whole.ends)


def test_golden_split_plan():
    num_images = np.array([3, 24, 16, 1, 40, 0, 7], np.uint16)
    plan = plan_rows(num_images, 4, 64, long_sentences="split")
    assert [row.tolist() for row in slots(plan)] == [[4], [2], [4], [1], [1, 6], [4, 3, 0]]
    assert plan.firsts.tolist() == [16, 0, 0, 0, 16, 0, 32, 0, 0]
    assert plan.images.tolist() == [16, 16, 16, 16, 8, 7, 8, 1, 3]


@pytest.mark.parametrize("choose", [False, True])
@pytest.mark.parametrize(
    "packing, images", [("sentence", 5), ("sentence", 16), ("stream", 16)], ids=str
)
def test_planning_holds_little_more_than_the_plan(packing, images, choose):
    num_images = np.random.default_rng(0).choice([1, 2, 4, 8, 16], 2_000_000).astype(np.uint16)
    selected = np.arange(len(num_images), dtype=np.uint32) if choose else None
    tracemalloc.start()
    try:
        plan = plan_rows(num_images, 256, images * 256, packing, True, "split", selected)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (plan.firsts is not None) == (images == 5)
    arrays = [plan.order, plan.ends, plan.firsts, plan.images]
    held = sum(array.nbytes for array in arrays if array is not None)
    beside = 4 * len(plan.order) + (num_images.nbytes if choose else 0)
    assert peak < held + beside + (8 << 20)


def test_more_than_uint32_can_number_is_refused(monkeypatch):
    assert np.iinfo(np.uint32).max == packing_lib._MOST_NUMBERS - 1
    monkeypatch.setattr(packing_lib, "_MOST_NUMBERS", 9)
    for packing in ("sentence", "stream"):
        with pytest.raises(
            ValueError, match=r"^10 sentences are more than the 9 that one row plan"
        ):
            plan_rows(np.ones(10, np.uint16), 4, 64, packing)
    num_images = np.array([3, 1, 2, 4], np.uint16)  # 2 + 1 + 1 + 2 parts of two images
    assert len(plan_rows(num_images, 4, 8, long_sentences="split").order) == 6
    with pytest.raises(ValueError, match=r"^10 parts of .* larger context than 4$"):
        plan_rows(num_images, 4, 4, long_sentences="split")
