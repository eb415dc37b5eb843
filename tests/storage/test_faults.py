"""Stores that refuse for a while lose nothing; those that refuse for good end in a clear line."""

import asyncio
import itertools
import os
import time

import pytest

from lvm_jax import trees
from lvm_jax.data.shards import manifest
from lvm_jax.data.shards.reader import Shards
from lvm_jax.storage import paths, patience
from lvm_jax.storage.cache import Cache
from lvm_jax.storage.patience import StoreError
from lvm_jax.tokenizer import codec
from lvm_jax.training import in_use, stopping, workdir
from tests.storage.test_shards import on_disk, require_same, uploaded, wait_for_copies  # noqa: F401
from tests.training.toy import batches, losses, run, steps_on_disk


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """The libraries wait up to half a minute between their own tries."""
    monkeypatch.setattr(asyncio, "sleep", lambda delay, *_, sleep=asyncio.sleep: sleep(delay / 50))


def every(number, *answers):
    """A rule that gives one of the answers, in turn, to every so many requests."""
    turns, answers = itertools.count(1), itertools.cycle(answers)

    def rule(method, path):
        return next(answers) if next(turns) % number == 0 else None

    return rule


def test_a_run_outlives_a_store_that_fails_now_and_then(store, tmp_path):
    with store.proxy.failing(every(11, 503, "tear", 429, 0.2)):
        run(store.root, num_steps=7)
        run(store.root, num_steps=9)
    run(tmp_path, num_steps=9)
    assert losses(store.root) == losses(tmp_path)
    assert steps_on_disk(store.root) == [7, 9]


def test_records_come_through_a_store_that_fails_now_and_then(uploaded, on_disk, tmp_path):  # noqa: F811
    with uploaded.proxy.failing(every(9, 503, "tear", 429)):
        shards = Shards(uploaded.root, Cache(folder=str(tmp_path)))
        require_same(shards, Shards(on_disk))
        wait_for_copies(shards)
    require_same(shards, Shards(on_disk))
    assert len(list(tmp_path.glob("*/shard-*"))) == 4


@pytest.mark.parametrize("answer", [503, 429, "tear"])
def test_a_store_that_stays_away_ends_in_one_line(store, monkeypatch, answer):
    monkeypatch.setenv(patience.PATIENCE_VARIABLE, "0.5")
    (store.root / "a").write_bytes(bytes(1000))
    with store.proxy.failing(lambda method, path: answer), pytest.raises(StoreError) as error:
        (store.root / "a").read_bytes()
    said = str(error.value)
    assert said.startswith(f"{store.root / 'a'}: the store did not answer well for ")
    assert "start again when it answers, or wait longer with LVM_STORE_PATIENCE=SECONDS" in said
    assert "\n" not in said
    if answer != "tear":
        assert str(answer) in said or "slow" in said.lower(), said


@pytest.mark.parametrize(
    "read",
    [
        workdir.read_config,
        codec.load_tokenizer,
        lambda folder: trees.load_safetensors(folder / "weights.safetensors"),
        lambda folder: manifest.read_json(folder / "manifest.json"),
    ],
)
def test_a_store_that_is_away_is_no_damaged_file(store, monkeypatch, read):
    monkeypatch.setenv(patience.PATIENCE_VARIABLE, "0")
    with store.proxy.failing(lambda method, path: 403), pytest.raises(StoreError, match="refuses"):
        read(store.root)


def test_missing_rights_are_named_at_once(store):
    begun = time.monotonic()
    with store.proxy.failing(lambda method, path: 403), pytest.raises(StoreError) as error:
        (store.root / "a").read_bytes()
    assert "the store refuses" in str(error.value)
    assert "give this machine credentials that may read and write there" in str(error.value)
    assert time.monotonic() - begun < 20


def test_a_run_whose_store_goes_away_says_so_and_goes_on_later(store, monkeypatch, tmp_path):
    monkeypatch.setenv(patience.PATIENCE_VARIABLE, "0.5")

    def losing(start):
        for step, batch in enumerate(batches(start), start):
            if step == 7:
                store.proxy.rule = lambda method, path: 503
            yield batch

    with (
        store.proxy.failing(store.proxy.rule),
        pytest.raises(stopping.RunError, match="cannot be looked at now; the same comm") as e,
    ):
        run(store.root, source=losing)
    assert str(store.root) in str(e.value) and "\n" not in str(e.value)
    in_use.release(store.root, os.getpid())  # of a process that has ended, the next one takes it
    run(store.root)
    run(tmp_path)
    assert losses(store.root) == losses(tmp_path)


def test_a_missing_package_is_named(monkeypatch, store):
    paths._system.cache_clear()
    package, extra = paths._EXTRAS[store.scheme]
    monkeypatch.setitem(paths._EXTRAS, store.scheme, (f"no_{package}", extra))
    with pytest.raises(StoreError, match=rf"needs no_{package}; install lvm_jax\[{extra}\]"):
        store.root.exists()
    paths._system.cache_clear()
