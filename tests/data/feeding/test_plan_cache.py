"""Row plans are kept on disk under what they depend on; a bad cache costs time, never rows."""

import dataclasses
import json

import numpy as np

from lvm_jax.data.feeding import plan_cache
from lvm_jax.data.feeding.data_config import Split
from lvm_jax.data.feeding.plan_cache import PlanRequest, load_plan
from lvm_jax.data.feeding.selection import Selection
from tests.data.data_sets import TOKENS, make_shards

REQUEST = PlanRequest(context=64)


def test_plans_are_kept_and_mapped(tmp_path, monkeypatch):
    shards = make_shards(tmp_path / "s", [1, 4, 2, 16] * 5)
    first = load_plan(shards, REQUEST)
    made = []
    monkeypatch.setattr(plan_cache, "plan_rows", lambda *a: made.append(a))
    again = load_plan(shards, REQUEST)
    assert not made and isinstance(again.order.base, np.memmap)
    np.testing.assert_array_equal(first.order, again.order)
    np.testing.assert_array_equal(first.ends, again.ends)
    changes = (
        {"context": 65},
        {"packing": "stream"},
        {"shuffle": False},
        {"long_sentences": "split"},
        {"selection": Selection(kinds=("pairs",))},
        {"selection": Selection(split=Split(part="train", share=0.5))},
        {"selection": Selection(split=Split(part="held_out", share=0.5))},
    )
    keys = {dataclasses.replace(REQUEST, **change).key(shards) for change in ({}, *changes)}
    assert len(keys) == len(changes) + 1
    assert len(list((tmp_path / "s" / "rows").iterdir())) == 1


def test_much_padding_is_said_with_what_helps(tmp_path, caplog):
    shards = make_shards(tmp_path / "s", [8] * 40)
    with caplog.at_level("WARNING"):
        load_plan(shards, PlanRequest(context=67))
        assert not caplog.records
        # Two sentences of 8 images of 4 ids are 68 ids, and a row of 65 holds one.
        load_plan(shards, PlanRequest(context=64))
        load_plan(shards, PlanRequest(context=40))  # no context near it is better
    (said,) = caplog.messages
    assert "47.7% of the ids of its rows are padding; context=67 instead of 64" in said


def test_damaged_and_unwritable_caches_cost_only_time(tmp_path):
    shards = make_shards(tmp_path / "s", [1, 4, 2, 16] * 5)
    first = load_plan(shards, REQUEST)
    (directory,) = (tmp_path / "s" / "rows").iterdir()
    (directory / "order.npy").write_bytes((directory / "order.npy").read_bytes()[:-3])
    again = load_plan(shards, REQUEST)
    np.testing.assert_array_equal(first.order, again.order)
    # What can be read and is wrong would give other rows in silence.
    other = load_plan(shards, dataclasses.replace(REQUEST, shuffle=False))
    assert other.order.shape == first.order.shape and (other.order != first.order).any()
    order = np.load(directory / "order.npy")
    for name, array in (("order", other.order), ("order", order * 0), ("ends", first.ends[:-1])):
        np.save(directory / f"{name}.npy", array)
        again = load_plan(shards, REQUEST)
        np.testing.assert_array_equal(again.order, order)
        assert again.num_rows == first.num_rows
    for name, text in (
        ("order.npy", ""),
        ("order.npy", "\x93NUMPY\x01\x00v\x00{'descr': '<u4"),
        ("plan.json", json.dumps({"key": REQUEST.key(shards), "arrays": []})),
        ("plan.json", json.dumps({"key": REQUEST.key(shards), "arrays": {}})),
        ("plan.json", json.dumps({"key": "another"})),
        ("plan.json", "null"),
        ("plan.json", ""),
    ):
        (directory / name).write_text(text)
        again = load_plan(shards, REQUEST)
        np.testing.assert_array_equal(first.order, again.order)
    (tmp_path / "file").write_text("")
    again = load_plan(shards, REQUEST, cache=str(tmp_path / "file"))
    np.testing.assert_array_equal(first.order, again.order)
    assert shards.tokens_per_image == TOKENS
