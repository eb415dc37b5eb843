"""Mixtures, held-out splits and long sentences in batches, and what is refused."""

import dataclasses
import pickle

import numpy as np
import pytest

from lvm_jax.data.feeding import selection
from lvm_jax.data.feeding.data_config import DataConfig, MixtureSource, Split, named_mixture
from lvm_jax.data.feeding.pipeline import Pipeline
from lvm_jax.data.feeding.selection import Selection
from lvm_jax.data.shards.reader import Shards, hash_of_key
from lvm_jax.data.shards.writer import write_shards
from tests.data.data_sets import TOKENS, VOCABULARY, make_records, make_shards

NUM_IMAGES = {"one": [1, 4, 2, 16, 1, 3, 5] * 9, "two": [2, 2, 8] * 15, "three": [16] * 12}
CONTEXT = 64
WEIGHTS = {"one": 3.0, "two": ((0, 1.0), (20, 4.0)), "three": 1.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixture")
    for seed, (name, num_images) in enumerate(NUM_IMAGES.items()):
        make_shards(root / name, num_images, seed=seed)
    return root


def make_config(root, weights=WEIGHTS, **values):
    mixture = tuple(
        MixtureSource(name=name, shards=str(root / name), weight=weight)
        for name, weight in weights.items()
    )
    return DataConfig(**{"mixture": mixture, "context": CONTEXT, **values})


def open_mixture(root, batch=8, seed=0, **values):
    return Pipeline(make_config(root, **values), seed=seed, global_batch=batch)


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], two[key], err_msg=key)


@pytest.mark.parametrize("packing", ["sentence", "stream"])
def test_rows_are_those_of_the_sources(root, packing):
    """Each row against the same row of a pipeline over its source alone."""
    mixed = open_mixture(root, packing=packing)
    alone = {
        name: Pipeline(
            DataConfig(shards=str(root / name), context=CONTEXT, packing=packing),
            seed=0,
            global_batch=1,
        )
        for name in NUM_IMAGES
    }
    step_of = {
        name: {int(one.rows_of(step)[1][0]): step for step in range(one.rows_per_epoch)}
        for name, one in alone.items()
    }
    for step in (0, 3, 19, 20, 31):
        batch = mixed.batch(step)
        for place, (source, row) in enumerate(zip(*mixed.rows_of(step))):
            name = mixed.parts[source].name
            expected = alone[name].batch(step_of[name][int(row)])
            kinds = np.array([mixed.kinds.index(kind) for kind in alone[name].kinds] + [-1])
            expected["kinds"] = kinds[expected["kinds"]]
            assert_equal({k: v[place : place + 1] for k, v in batch.items()}, expected)


def test_every_source_is_read_epoch_by_epoch(root):
    mixed = open_mixture(root)
    seen = {name: [] for name in NUM_IMAGES}
    for step in range(40):
        if step in (1, 20, 33):
            for part in mixed.parts:
                expected = len(seen[part.name]) / part.plan.num_rows
                assert mixed.epochs(step)[part.name] == pytest.approx(expected)
        for source, row in zip(*mixed.rows_of(step)):
            seen[mixed.parts[source].name].append(row)
    for part in mixed.parts:
        size, rows = part.plan.num_rows, seen[part.name]
        epochs = [rows[i * size : (i + 1) * size] for i in range(len(rows) // size)]
        assert len(epochs) >= 2, part.name
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert epochs[0] != epochs[1]
    shares = np.array([len(seen[name]) for name in NUM_IMAGES]) / (40 * 8)
    # 20 steps of 3 : 1 : 1 and 20 of 3 : 4 : 1.
    expected = (np.array([3, 1, 1]) / 5 + np.array([3, 4, 1]) / 8) / 2
    np.testing.assert_allclose(shares, expected, atol=0.02)


def test_processes_and_worker_processes_see_the_same_batches(root):
    mixed = open_mixture(root)
    parts = [mixed.batch(5, rows=slice(i, i + 2)) for i in (0, 2, 4, 6)]
    together = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    assert_equal(together, mixed.batch(5))
    assert_equal(pickle.loads(pickle.dumps(mixed)).batch(7), mixed.batch(7))
    with_workers = open_mixture(root, num_workers=2, prefetch=2)
    for step, batch in enumerate(with_workers.iterate(3, stop_step=8), 3):
        assert_equal(batch, mixed.batch(step))
    assert step == 7


def test_kinds_and_sources_choose_sentences(root):
    shards = Shards(root / "one")
    mixture = {
        "single": {"kinds": ["single"], "weight": 1},
        "rest": {"kinds": ["pairs"], "sources": ["source0", "source2"]},
    }
    values = named_mixture({"shards": str(root / "one"), "mixture": mixture}, "config.data")
    sources = tuple(
        MixtureSource(**{k: tuple(v) if isinstance(v, list) else v for k, v in source.items()})
        for source in values["mixture"]
    )
    config = DataConfig(shards=str(root / "one"), mixture=sources, context=CONTEXT)
    pipeline = Pipeline(config, seed=0, global_batch=2)
    for part, kind, names in zip(
        pipeline.parts, ("single", "pairs"), (set(shards.sources), {"source0", "source2"})
    ):
        kinds = np.array(shards.kinds)[shards.kind_ids]
        source_names = np.array(shards.sources)[shards.source_ids]
        expected = (kinds == kind) & np.isin(source_names, [*names])
        np.testing.assert_array_equal(np.sort(part.plan.order), np.flatnonzero(expected))
    assert pipeline.parts[0].shards is pipeline.parts[1].shards


def test_a_pattern_holds_out_every_sentence_with_such_a_picture(tmp_path):
    keys = ["cat", "dog+cat", "dog", "dog+bird", "concat"]
    records = [
        dataclasses.replace(record, key=key)
        for record, key in zip(make_records([1, 2, 1, 2, 1]), keys)
    ]
    arguments = {"tokens_per_image": TOKENS, "tokenizer_fingerprint": "f"}
    shards = write_shards(tmp_path / "s", records, vocabulary=VOCABULARY, **arguments)
    for pattern, expected in (("cat", [0, 1]), ("source1/c*", [1, 4]), ("dog+bird", [3])):
        split = Split(part="held_out", keys=(pattern,))
        assert selection.select(shards, Selection(split=split)).tolist() == expected


def test_a_split_is_by_key_and_the_rest_is_trained_on(tmp_path):
    records = make_records([1 + i % 3 for i in range(300)])
    arguments = {"tokens_per_image": TOKENS, "tokenizer_fingerprint": "f"}
    write_shards(tmp_path / "s", records, vocabulary=VOCABULARY, **arguments)
    shards = Shards(tmp_path / "s")
    sides = {
        part: selection.select(
            shards, Selection(split=Split(part=part, share=0.3, keys=("key*7", "source2/key2*")))
        )
        for part in ("train", "held_out")
    }
    np.testing.assert_array_equal(np.sort(np.concatenate([*sides.values()])), np.arange(300))
    for index, record in enumerate(records):
        number = record.key.removeprefix("key")
        held_out = hash_of_key(record.key) < 0.3 * 2**32 or (
            number[-1] == "7" or (number[0] == "2" and record.source == "source2")
        )
        assert (index in sides["held_out"]) == held_out
    assert 0.2 < len(sides["held_out"]) / 300 < 0.5
    # Golden: the side of a key is the same for ever.
    assert [hash_of_key(key) for key in ("", "cat", "cat-01")] == [75017173, 680032786, 1177089913]
    config = DataConfig(shards=str(tmp_path / "s"), context=CONTEXT, split=Split())
    ids = {}
    for part in ("train", "held_out", "all"):
        split = Split(part=part, share=0.3)
        pipeline = Pipeline(dataclasses.replace(config, split=split), seed=0, global_batch=1)
        ids[part] = set(pipeline.parts[0].plan.order.tolist())
    assert ids["train"] | ids["held_out"] == ids["all"] and not ids["train"] & ids["held_out"]


def test_long_sentences_are_split_at_images(tmp_path):
    num_images = [3, 24, 16, 1, 40]
    make_shards(tmp_path / "s", num_images)
    config = DataConfig(shards=str(tmp_path / "s"), context=CONTEXT, shuffle=False)
    with pytest.raises(ValueError, match=r"sentence 4 has 40 .*long_sentences='split'"):
        Pipeline(config, seed=0, global_batch=1)
    split = dataclasses.replace(config, long_sentences="split")
    pipeline = Pipeline(split, seed=0, global_batch=1)
    parts = []
    for step in range(pipeline.rows_per_epoch):
        batch = {key: value[0] for key, value in pipeline.batch(step).items()}
        ids = np.append(batch["inputs"], batch["targets"][-1])
        starts = np.flatnonzero(ids == VOCABULARY.bos)
        assert (batch["positions"][starts] == 0).all()
        for part in np.split(ids, starts)[1:]:
            codes = part[part < VOCABULARY.num_codes]
            assert len(codes) <= CONTEXT and part[len(codes) + 1 :].tolist()[:1] in (
                [VOCABULARY.eos],
                [] if len(codes) == CONTEXT else None,
            )
            parts.append(codes.tolist())
    expected = []
    for record in make_records(num_images):
        codes = record.ids.ravel().tolist()
        expected += [codes[i : i + CONTEXT] for i in range(0, len(codes), CONTEXT)]
    assert sorted(parts) == sorted(expected)
    # Where nothing is too long, nothing changes but the key of the plan.
    make_shards(tmp_path / "short", NUM_IMAGES["one"])
    short = dataclasses.replace(config, shards=str(tmp_path / "short"))
    either = [dataclasses.replace(short, long_sentences=way) for way in ("refuse", "split")]
    assert_equal(*(Pipeline(c, seed=0, global_batch=4).batch(1) for c in either))
    with pytest.raises(ValueError, match=r"context=3 is too small: .*at least 160$"):
        Pipeline(dataclasses.replace(split, context=3), seed=0, global_batch=1)


def test_dependencies_name_what_changed(root):
    base = open_mixture(root).dependencies()
    changes = {
        "mixture": {"weights": {**WEIGHTS, "one": 2.0}},
        "split": {"split": Split(part="train", share=0.1)},
        "long_sentences": {"long_sentences": "split"},
    }
    for key, values in changes.items():
        other = open_mixture(root, **values).dependencies()
        assert [name for name in base if base[name] != other[name]] == [key]
    turned = dict(reversed(WEIGHTS.items()))
    other = open_mixture(root, weights=turned).dependencies()
    assert [name for name in base if base[name] != other[name]] == ["mixture_order"]
    # A step begins with another row; the order of the rows is the same while weights are constant.
    assert open_mixture(root, batch=4).dependencies() != base
    constant = {"weights": {**WEIGHTS, "two": 1.0}}
    one, two = (open_mixture(root, batch=b, **constant) for b in (4, 8))
    np.testing.assert_array_equal(
        np.concatenate([one.batch(2)["inputs"], one.batch(3)["inputs"]]), two.batch(1)["inputs"]
    )


def source(**values):
    return {"mixture": (MixtureSource(**{"name": "a", "shards": "x", **values}),)}


@pytest.mark.parametrize(
    "values, message",
    [
        (lambda: {}, r"neither shards nor a mixture; set shards=DIR"),
        (lambda: source(weight=-1.0), r"^weight=-1\.0 must not be negative"),
        (lambda: source(weight=float("nan")), r"^weight=nan must not be"),
        (lambda: source(weight=0.0), r"weights of all sources sum to nothing at step 0"),
        (lambda: source(weight=((0, 1.0), (9, 0.0))), r"sum to nothing at step 9"),
        (lambda: source(weight=((5, 1.0),)), r"begin with step 0"),
        (lambda: source(weight=((0, 1.0), (0, 2.0))), r"growing steps"),
        (lambda: source(shards=""), r"mixture\.a has no shards; set its shards=DIR"),
        (lambda: source(name=""), r"name='' must be text"),
        (lambda: {"mixture": source()["mixture"] * 2}, r"2 sources are called 'a'"),
        (lambda: {"shards": "x", "split": Split(part="train")}, r"'train' holds nothing out"),
        (lambda: {"shards": "x", "split": Split(share=1.0)}, r"^share=1\.0 must lie in"),
        (lambda: {"shards": "x", "num_workers": -1}, r"^num_workers=-1 must not be"),
        (lambda: named_mixture({"mixture": {}}, "config.data"), r"config\.data\.mixture is empty"),
        (lambda: named_mixture({"mixture": 5}, "d"), r"d\.mixture=5 must be a list or a mapping"),
        (lambda: named_mixture({"mixture": {"a": 1}}, "d"), r"d\.mixture=.* of name to source"),
    ],
)
def test_bad_values_are_refused_in_one_line(values, message):
    with pytest.raises(ValueError, match=message) as error:
        DataConfig(**values())
    assert "\n" not in str(error.value)


def test_sources_that_do_not_fit_are_refused(root, tmp_path):
    sentences = make_records([1] * 8)
    write = lambda name, **values: write_shards(
        tmp_path / name,
        sentences,
        **{
            "vocabulary": VOCABULARY,
            "tokens_per_image": TOKENS,
            "tokenizer_fingerprint": "f" * 64,
            **values,
        },
    )
    write("tokenizer", tokenizer_fingerprint="e" * 64)
    write("vocabulary", vocabulary=dataclasses.replace(VOCABULARY, num_codes=99))
    one = MixtureSource(name="one", shards=str(root / "one"))
    for name, message in {
        "tokenizer": r"one .* and other .* cannot be mixed: tokenizer_fingerprint is fff",
        "vocabulary": r"cannot be mixed: vocabulary is .*61.* and .*99",
    }.items():
        other = MixtureSource(name="other", shards=str(tmp_path / name))
        with pytest.raises(ValueError, match=message):
            Pipeline(DataConfig(mixture=(one, other), context=64), seed=0, global_batch=2)
    make_shards(tmp_path / "few", [16, 16])
    few = MixtureSource(name="few", shards=str(tmp_path / "few"), weight=1.0)
    config = DataConfig(mixture=(one, few), context=64)
    with pytest.raises(ValueError, match=r"mixture\.few gives 2 rows .* takes 4 of the .*=8 rows"):
        Pipeline(config, seed=0, global_batch=8)
    Pipeline(config, seed=0, global_batch=8, allow_repeats=True).batch(0)
    with pytest.raises(ValueError, match=r"^global_batch=100 exceeds the \d+ rows that the"):
        Pipeline(config, seed=0, global_batch=100)
    for values, message in (
        (
            {"kinds": ("singel",)},
            r"^mixture\.one\.kinds='singel' is not in .*; did you mean 'single'",
        ),
        (
            {"sources": ("x",)},
            r"^mixture\.one\.sources='x' is not in .*; it has source0, source1, source2",
        ),
    ):
        bad = DataConfig(mixture=(dataclasses.replace(one, **values),), context=64)
        with pytest.raises(ValueError, match=message):
            Pipeline(bad, seed=0, global_batch=1)
    nothing = Split(part="held_out", keys=("nothing",))
    with pytest.raises(ValueError, match=r"has no sentence of split=.*nothing"):
        Pipeline(make_config(root, split=nothing), seed=0, global_batch=1)


def test_golden_mixture(root):
    # Written down once: resumed runs depend on it, whatever library version runs them.
    mixed = open_mixture(root, seed=11)
    sources, rows = mixed.rows_of(21)
    assert (sources.tolist(), rows.tolist()) == (
        [2, 1, 0, 1, 1, 0, 1, 0],
        [4, 8, 0, 14, 2, 14, 3, 2],
    )
    assert mixed.batch(21)["inputs"][:, 1:5].tolist() == [
        [21, 51, 0, 15],
        [11, 36, 0, 20],
        [44, 35, 34, 58],
        [38, 22, 25, 46],
        [27, 15, 11, 19],
        [52, 40, 2, 54],
        [23, 15, 30, 56],
        [51, 28, 39, 45],
    ]


def test_kinds_are_those_that_sources_take(root):
    mixed = open_mixture(root)
    assert sorted(mixed.kinds) == ["pairs", "single"]
    mixture = tuple(
        MixtureSource(name=kind, shards=str(root / "one"), kinds=(kind,))
        for kind in ("pairs", "single")
    )
    for source in mixture:
        one = Pipeline(DataConfig(mixture=(source,), context=CONTEXT), seed=0, global_batch=2)
        assert one.kinds == (source.name,)
    both = Pipeline(DataConfig(mixture=mixture, context=CONTEXT), seed=0, global_batch=4)
    sources, _ = both.rows_of(3)
    for row, source in enumerate(sources):
        weights, kinds = (both.batch(3)[key][row] for key in ("weights", "kinds"))
        assert {both.kinds[kind] for kind in kinds[weights > 0]} == {both.parts[source].name}
