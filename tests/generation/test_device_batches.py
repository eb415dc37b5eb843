"""Shapes of device batches: few, large enough, and each row's own length decides its bucket."""

import numpy as np
import pytest

from lvm_jax.generation import device_batches
from lvm_jax.generation.device_batches import Segment


def test_buckets_are_few_and_at_most_half_as_long_again():
    buckets = [device_batches.bucket_length(length, 1, 4096) for length in range(1, 4097)]
    assert len(set(buckets)) < 26
    for length, bucket in enumerate(buckets, 1):
        assert length <= bucket <= max(1.5 * length, length + 1)
    assert buckets == sorted(buckets)
    images = {n: device_batches.bucket_length(1 + 256 * n, 1, 3841) for n in (1, 2, 3, 4, 6, 8, 12)}
    assert images == {n: 1 + 256 * n for n in images}
    assert device_batches.bucket_length(256, 0, 4096) == 256
    assert device_batches.bucket_length(1 + 256 * 13, 1, 3841) == 3841


@pytest.mark.parametrize("num_parts", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 16])
@pytest.mark.parametrize("num_candidates", [1, 5, 16])
def test_batches_hold_what_is_asked(num_candidates, batch_size, num_parts):
    shape = device_batches.shape(3, num_candidates, batch_size, num_parts)
    assert shape.groups * shape.candidates >= shape.asked == num_candidates
    assert num_parts > 1 or shape.prompts * shape.candidates <= batch_size
    split = shape.candidates if shape.splits_candidates else shape.prompts
    assert split % num_parts == 0


def test_a_batch_is_filled_with_its_own_rows():
    shape = device_batches.shape(3, 3, 2, 1)
    assert (shape.groups, shape.candidates, shape.prompts) == (2, 2, 1)
    shape = device_batches.shape(3, 3, 12, 1)
    assert (shape.groups, shape.candidates, shape.prompts) == (1, 3, 4)
    prompts = [np.arange(1, 4), np.arange(5, 7)]
    candidates = np.array([[0, 1, 2], [7, 8, 9]])
    batch = device_batches.fill(shape, 4, prompts, candidates, [1, 2])
    np.testing.assert_array_equal(
        batch.ids, [[1, 2, 3, 0], [5, 6, 0, 0], [1, 2, 3, 0], [5, 6, 0, 0]]
    )
    np.testing.assert_array_equal(batch.lengths, [3, 2, 3, 2])
    np.testing.assert_array_equal(batch.candidates[0], candidates[[0, 1, 0, 1]])
    np.testing.assert_array_equal(batch.seeds, [1, 2, 1, 2])
    ids_MNCG = np.moveaxis(np.asarray(batch.candidates), 0, 1)[None, :, 0, :, None]
    np.testing.assert_array_equal(shape.rows(ids_MNCG, 2)[..., 0], candidates)


@pytest.mark.parametrize("total", [1, 127, 128, 255, 511, 512, 3839])
def test_segments_make_every_step_and_read_little_that_is_empty(total):
    whole = device_batches.segments(0, total, total)
    assert len(whole) <= device_batches.MOST_SEGMENTS and whole[-1].room == total
    width = max(device_batches.SEGMENT, total / device_batches.MOST_SEGMENTS + 256)
    for parts in ([(0, total)], [(0, total // 3), (total // 3, total)]):
        filled = 0
        for start, stop in parts:
            for segment in device_batches.segments(start, stop, total):
                filled += segment.num_steps
                assert filled <= segment.room <= filled - segment.num_steps + width
        assert filled == total


def test_nothing_to_make_is_no_segment():
    assert device_batches.segments(0, 0, 0) == ()
    assert device_batches.segments(3, 5, 10) == (Segment(2, 10),)
