"""Batches: a pure function of (config, seed, step), and exactly the ids of the sentences."""

import itertools
import multiprocessing

import numpy as np
import pytest

from lvm_jax.data.feeding import pipeline as pipeline_lib
from lvm_jax.data.feeding.pipeline import DataConfig, Pipeline, process_rows
from tests.data.data_sets import TOKENS, VOCABULARY, make_records, make_shards

NUM_IMAGES = [1, 4, 2, 16, 1, 3, 5] * 9
CONTEXT = 64


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shards") / "made"
    make_shards(directory, NUM_IMAGES)
    return str(directory)


def open_pipeline(directory, batch=6, seed=0, **values):
    config = DataConfig(shards=directory, **{"context": CONTEXT, **values})
    return Pipeline(config, seed=seed, global_batch=batch)


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], two[key], err_msg=key)


def whole_ids(index, records):
    return [VOCABULARY.bos, *records[index].ids.ravel().tolist(), VOCABULARY.eos]


def test_packed_rows_are_exactly_the_sentences(directory):
    """Against rows built id by id from the plan."""
    pipeline = open_pipeline(directory, shuffle=False, batch=1)
    records, seen = make_records(NUM_IMAGES), []
    for number in range(pipeline.rows_per_epoch):
        start = pipeline.parts[0].plan.ends[number - 1] if number else 0
        ids, segments, positions, kinds = [], [], [], []
        for place, index in enumerate(
            pipeline.parts[0].plan.order[start : pipeline.parts[0].plan.ends[number]], 1
        ):
            sentence = whole_ids(index, records)
            if len(sentence) == CONTEXT + 2:
                sentence = sentence[:-1]
            ids += sentence
            segments += [place] * len(sentence)
            positions += range(len(sentence))
            kinds += [records[index].kind] * len(sentence)
            seen.append(index)
        padding = CONTEXT + 1 - len(ids)
        ids += [VOCABULARY.pad] * padding
        segments += [0] * padding
        weights = [float(a == b and b > 0) for a, b in itertools.pairwise(segments)]
        batch = {key: value[0] for key, value in pipeline.batch(number).items()}
        assert batch["inputs"].tolist() == ids[:-1]
        assert batch["targets"].tolist() == ids[1:]
        assert batch["segments"].tolist() == segments[:-1]
        assert batch["weights"].tolist() == weights
        used = CONTEXT - max(padding - 1, 0) - (padding > 0)
        assert batch["positions"].tolist()[:used] == positions[:used]
        names = [pipeline.kinds[kind] for kind in batch["kinds"][batch["weights"] > 0]]
        assert names == [kind for kind, weight in zip(kinds, weights) if weight]
        assert (batch["kinds"][batch["segments"] == 0] == -1).all()
        assert batch["positions"].min() >= 0 and batch["positions"].max() < CONTEXT
    assert sorted(seen) == list(range(len(NUM_IMAGES)))
    # A whole batch holds the same rows as single ones.
    together = open_pipeline(directory, shuffle=False, batch=5).batch(1)
    for i in range(5):
        assert_equal(
            {k: v[i] for k, v in together.items()},
            {k: v[0] for k, v in pipeline.batch(5 + i).items()},
        )


def test_stream_rows_are_the_stream(directory):
    pipeline = open_pipeline(directory, packing="stream", shuffle=False, batch=1)
    records = make_records(NUM_IMAGES)
    kinds = [
        records[index].kind
        for index in pipeline.parts[0].plan.order
        for _ in whole_ids(index, records)
    ]
    stream = [id for index in pipeline.parts[0].plan.order for id in whole_ids(index, records)]
    batches = [pipeline.batch(step) for step in range(pipeline.rows_per_epoch)]
    inputs = np.concatenate([batch["inputs"][0] for batch in batches])
    targets = np.concatenate([batch["targets"][0] for batch in batches])
    weights = np.concatenate([batch["weights"][0] for batch in batches])
    segments = np.concatenate([batch["segments"][0] for batch in batches])
    assert inputs[: len(stream)].tolist() == stream
    assert (inputs[len(stream) :] == VOCABULARY.pad).all()
    assert targets[weights > 0].tolist() == stream[1:], "every id but the first is a target once"
    given = np.concatenate([batch["kinds"][0] for batch in batches])[weights > 0]
    assert [pipeline.kinds[kind] for kind in given] == kinds[1:]
    assert (segments == (np.arange(len(segments)) < len(stream))).all()
    assert all((batch["positions"] == np.arange(CONTEXT)).all() for batch in batches)


def test_dtypes(directory):
    for packing in ("sentence", "stream"):
        batch = open_pipeline(directory, packing=packing).batch(0)
        for key, value in batch.items():
            dtypes = {"weights": np.float32, "kinds": np.int16}
            assert value.dtype == dtypes.get(key, np.int32), key
            assert value.shape == (6, CONTEXT) and value.flags.c_contiguous


@pytest.mark.parametrize("packing", ["sentence", "stream"])
def test_batch_is_a_pure_function_of_the_step(directory, packing):
    one, two = (open_pipeline(directory, packing=packing, seed=3) for _ in range(2))
    forwards = [one.batch(step) for step in range(8)]
    for step in (7, 0, 3):
        assert_equal(two.batch(step), forwards[step])
    other = open_pipeline(directory, packing=packing, seed=4).batch(0)
    assert (other["inputs"] != forwards[0]["inputs"]).any()


@pytest.mark.parametrize("num_threads", [0, 1, 3])
@pytest.mark.parametrize("start", [0, 5])
def test_iterating_equals_asking_by_step(directory, num_threads, start):
    pipeline = open_pipeline(directory, num_threads=num_threads, prefetch=2)
    batches = pipeline.iterate(start)
    for step in range(start, start + 6):
        assert_equal(next(batches), pipeline.batch(step))
    batches.close()
    assert len(list(pipeline.iterate(3, stop_step=7))) == 4


@pytest.mark.parametrize("packing", ["sentence", "stream"])
@pytest.mark.parametrize("prefetch", [1, 3, 8])
def test_how_many_steps_are_read_at_once_changes_nothing(directory, packing, prefetch):
    """Up to `prefetch` of them; neither the start, the stop nor the rows have to fit that."""
    pipeline = open_pipeline(directory, packing=packing, prefetch=prefetch)
    rows = slice(2, 5)
    batches = list(pipeline.iterate(2, rows=rows, stop_step=9))
    assert len(batches) == 7
    for step, batch in enumerate(batches, 2):
        assert_equal(batch, pipeline.batch(step, rows))


def test_as_many_batches_are_ahead_as_asked_for():
    for threads, prefetch, batch_size in itertools.product(
        (1, 2, 4), (1, 2, 3, 8, 16), (1, 8, 512)
    ):
        config = DataConfig(shards="x", num_threads=threads, prefetch=prefetch)
        together, ahead = pipeline_lib._steps_at_once(config, batch_size)
        assert ahead >= threads  # grain uses no more threads than it keeps batches
        assert together * ahead <= max(prefetch, threads)
    at_once = DataConfig(shards="x", num_threads=0)
    assert pipeline_lib._steps_at_once(at_once, 8) == (1, 1)  # nothing is made before it is asked


def test_epochs_use_every_row_in_new_orders(directory):
    pipeline = open_pipeline(directory, batch=4)
    size = pipeline.rows_per_epoch
    steps = -(-2 * size // 4)
    rows = [row.tobytes() for s in range(steps) for row in pipeline.batch(s)["inputs"]]
    first, second = rows[:size], rows[size : 2 * size]
    assert sorted(first) == sorted(second) and first != second
    assert len(set(first)) == size


@pytest.mark.parametrize("num_processes", [1, 2, 3, 6])
def test_processes_read_disjoint_rows_and_together_all(directory, num_processes):
    pipeline = open_pipeline(directory)
    parts = [
        next(pipeline.iterate(4, rows=process_rows(6, process, num_processes)))
        for process in range(num_processes)
    ]
    together = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    assert_equal(together, pipeline.batch(4))


def _rows_of_process(directory, process, num_processes, start, stop):
    pipeline = open_pipeline(directory)
    rows = process_rows(6, process, num_processes)
    return [batch["inputs"] for batch in pipeline.iterate(start, rows=rows, stop_step=stop)]


def test_other_processes_see_the_same_rows(directory):
    """Steps 0-2 on two processes, then 3-5 on three: as if one had run through."""
    context = multiprocessing.get_context("spawn")
    jobs = [(directory, p, 2, 0, 3) for p in range(2)] + [(directory, p, 3, 3, 6) for p in range(3)]
    with context.Pool(2) as pool:
        rows = pool.starmap(_rows_of_process, jobs)
    batches = [np.concatenate(parts) for parts in zip(*rows[:2])]
    batches += [np.concatenate(parts) for parts in zip(*rows[2:])]
    pipeline = open_pipeline(directory)
    for step, batch in enumerate(batches):
        np.testing.assert_array_equal(batch, pipeline.batch(step)["inputs"])


def test_a_batch_that_does_not_divide_or_fit(directory):
    with pytest.raises(ValueError, match=r"^global_batch=10 .* 4 processes; use 8 or 12"):
        process_rows(10, 0, 4)
    size = open_pipeline(directory).rows_per_epoch
    message = rf"^global_batch={size + 1} exceeds the {size} rows .*; use at most {size}"
    with pytest.raises(ValueError, match=message):
        open_pipeline(directory, batch=size + 1)
    config = DataConfig(shards=directory, context=CONTEXT)
    Pipeline(config, seed=0, global_batch=size + 1, allow_repeats=True)
    with pytest.raises(ValueError, match=r"^global_batch=0 must be at least 1"):
        open_pipeline(directory, batch=0)


@pytest.mark.parametrize(
    "values,message",
    [
        ({"context": 0}, r"^context=0"),
        ({"context": 40}, r"^context=40 is too small"),
        ({"num_threads": -1}, r"^num_threads=-1 must not be negative"),
        ({"prefetch": 0}, r"^prefetch=0"),
    ],
)
def test_bad_values_name_their_key(directory, values, message):
    with pytest.raises(ValueError, match=message):
        open_pipeline(directory, **values)


def test_fingerprint_names_what_changed(directory, tmp_path):
    base = open_pipeline(directory)
    assert open_pipeline(directory, num_threads=0).fingerprint == base.fingerprint
    changed = {
        "seed": open_pipeline(directory, seed=1),
        "batch_size": open_pipeline(directory, batch=2),
        "packing": open_pipeline(directory, packing="stream"),
        "context": open_pipeline(directory, context=70),
        "shuffle": open_pipeline(directory, shuffle=False),
    }
    make_shards(tmp_path / "other", NUM_IMAGES, seed=9)
    changed["shards"] = open_pipeline(str(tmp_path / "other"))
    for name, pipeline in changed.items():
        before, after = base.dependencies(), pipeline.dependencies()
        assert [key for key in before if before[key] != after[key]] == [name]
        assert pipeline.fingerprint != base.fingerprint


def test_golden_batch(directory):
    # Written down once: resumed runs depend on it, whatever library version runs them.
    batch = open_pipeline(directory, seed=11).batch(2)
    assert batch["inputs"][:, :6].tolist() == [
        [61, 52, 40, 2, 54, 27],
        [61, 59, 30, 6, 30, 53],
        [61, 44, 35, 34, 58, 39],
        [61, 0, 59, 8, 53, 48],
        [61, 47, 29, 5, 15, 5],
        [61, 51, 28, 39, 45, 33],
    ]


def test_damage_met_while_training_is_named(directory, tmp_path):
    make_shards(tmp_path / "s", NUM_IMAGES)
    shard = tmp_path / "s" / "shard-00001.array_record"
    data = bytearray(shard.read_bytes())
    for index in range(7, 14):
        data[data.index(f"key{index}".encode()) + len(f"key{index}") + 2] ^= 1
    shard.write_bytes(data)
    pipeline = open_pipeline(str(tmp_path / "s"))
    with pytest.raises(ValueError, match=r"shard-00001\.array_record, record \d"):
        list(pipeline.iterate(0, stop_step=10))
    assert pipeline.tokens_per_image == TOKENS
