"""Nested dicts and their files: every round trip is exact, every damage is found."""

import os

import numpy as np
import pytest

from lvm_jax import trees


@pytest.fixture
def tree():
    rng = np.random.default_rng(0)
    return {
        "b": {"kernel": rng.normal(size=(3, 4)).astype(np.float32), "bias": np.zeros(4)},
        "a": rng.integers(0, 9, size=5),
    }


def test_flatten_and_back(tree):
    flat = trees.flatten(tree)
    assert list(flat) == ["a", "b/bias", "b/kernel"]
    assert trees.first_differences(tree, trees.unflatten(flat)) == []
    assert trees.count_parameters(tree) == 12 + 4 + 5


def test_flatten_refuses_names_it_could_not_give_back():
    with pytest.raises(ValueError, match="'a/b'"):
        trees.flatten({"a/b": 1})


def test_differences_say_what_differs(tree):
    other = {"b": {"kernel": np.zeros((4, 3), np.float32), "bias": np.zeros(4, np.int8)}, "c": [0]}
    other["c"] = np.zeros(1)
    lines = trees.first_differences(tree, other)
    assert lines == [
        "a is missing",
        "b/bias is int8, not float64",
        "b/kernel has shape (4, 3), not (3, 4)",
        "c is unexpected",
    ]
    assert trees.first_differences(tree, other, most=1) == ["a is missing", "and 3 more"]


def test_fingerprint_changes_with_any_value_name_or_shape(tree):
    first = trees.fingerprint(tree)
    assert first == trees.fingerprint({key: tree[key] for key in reversed(tree)})
    changed = {**tree, "a": tree["a"].copy()}
    changed["a"][2] += 1
    renamed = {"b": tree["b"], "z": tree["a"]}
    reshaped = {**tree, "b": {**tree["b"], "kernel": tree["b"]["kernel"].T.copy()}}
    assert len({first, *map(trees.fingerprint, (changed, renamed, reshaped))}) == 4


def test_safetensors_round_trip_is_exact(tree, tmp_path):
    path = tmp_path / "weights.safetensors"
    trees.save_safetensors(path, tree)
    loaded = trees.load_safetensors(path)
    assert trees.fingerprint(loaded) == trees.fingerprint(tree)
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "no partial file may stay"


def test_weights_that_cannot_be_written_name_the_file(tree, tmp_path):
    with pytest.raises(OSError, match=r"cannot write .*gone/w\.safetensors: .*No such file.*kept$"):
        trees.save_safetensors(tmp_path / "gone" / "w.safetensors", tree)


@pytest.mark.parametrize("content", [None, b"not a tensor file", b""])
def test_unreadable_weights_name_the_file(content, tmp_path):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read weights .*weights\.safetensors"):
        trees.load_safetensors(path)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o027, 0o077])
def test_the_umask_decides_who_may_read(tree, mask, tmp_path):
    path = tmp_path / "weights"
    # What a killed process left has whatever mode it got.
    (tmp_path / "weights.partial").touch(mode=0o600)
    before = os.umask(mask)
    try:
        trees.save_safetensors(path, tree)
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
