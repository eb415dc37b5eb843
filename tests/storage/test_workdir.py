"""A run whose directory is on a store: the same numbers as on a disk, and nothing is lost."""

import jax
import numpy as np
import pytest

from lvm_jax.storage.patience import StoreError
from lvm_jax.training import in_use, metrics, recovery, stopping, stored_params
from lvm_jax.training import workdir as workdir_lib
from tests.training.toy import RESOLVED, batches, losses, run, steps_on_disk


def test_a_run_on_a_store_is_the_run_on_a_disk(store, tmp_path):
    straight = run(tmp_path)
    assert run(str(store.root), num_steps=7) is not None
    assert steps_on_disk(store.root) == [5, 7]
    pieces = run(str(store.root))
    for a, b in zip(jax.tree.leaves(straight), jax.tree.leaves(pieces)):
        np.testing.assert_array_equal(a, b)
    assert losses(store.root) == losses(tmp_path)
    assert steps_on_disk(store.root) == steps_on_disk(tmp_path) == [10, 12]
    assert run(store.root) is None  # finished
    params, config = stored_params.load_params(store.root)
    np.testing.assert_array_equal(params["w"], straight["params"]["w"])
    assert config == RESOLVED
    assert not (store.root / in_use.FILE).exists()
    # Whole objects are written in their places: nothing is copied or renamed.
    copies = [
        path for _, path in store.proxy.requests if "rewriteTo" in path and store.root.name in path
    ]
    assert not copies


def test_a_run_that_dies_goes_on_after_its_checkpoint(store, tmp_path):
    def dying(start):
        for step, batch in enumerate(batches(start), start):
            if step == 8:
                raise RuntimeError("out of batches")
            yield batch

    with pytest.raises(stopping.RunError, match=rf"{store.root}/checkpoints/5; the same command"):
        run(store.root, source=dying)
    # A save that was under way when the machine went.
    (store.root / "checkpoints" / "7" / "state" / "manifest.ocdbt").write_bytes(b"half")
    assert steps_on_disk(store.root) == [5]
    run(store.root)
    run(tmp_path)
    assert losses(store.root) == losses(tmp_path)
    assert steps_on_disk(store.root) == [10, 12]
    assert not (store.root / "checkpoints" / "7").exists()


def test_a_damaged_checkpoint_is_set_aside(store):
    run(store.root, num_steps=10)
    folder = store.root / "checkpoints" / "10"
    victim = next(folder / name for name in sorted(folder.listing()) if name.startswith("state/d/"))
    data = victim.read_bytes()
    damaged = {"is missing": None, "bytes instead of": data[:-1]}
    if store.scheme == "gs":  # a listing of S3 tells no checksums
        damaged["is not what was written"] = b"x" + data[1:]
    for said, changed in damaged.items():
        victim.unlink() if changed is None else victim.write_bytes(changed)
        newest = recovery.newest_whole(store.root)
        assert newest.step == 5
        assert victim.name in newest.damaged[10] and said in newest.damaged[10]
    run(store.root)
    assert steps_on_disk(store.root) == [10, 12]
    assert (store.root / "checkpoints" / "10.damaged" / "checksums.json").exists()


def test_a_workdir_has_one_run(store, monkeypatch):
    with in_use.claim(store.root) as owner:
        assert in_use.read(store.root) == owner
        with pytest.raises(ValueError, match=f"workdir {store.root} is in use by process"):
            run(store.root)
        # Two that found no mark at the same moment: the store lets one of them make it.
        monkeypatch.setattr(in_use, "read", lambda workdir, read=in_use.read: None)
        with pytest.raises(ValueError, match=r"in_use\.json cannot be read"):
            run(store.root)
        monkeypatch.undo()
        in_use.require(store.root, owner)
    assert in_use.read(store.root) is None


def test_the_mark_of_a_run_that_is_gone_is_taken_over(store, monkeypatch):
    with in_use.claim(store.root) as owner:
        monkeypatch.setattr(in_use.Owner, "is_gone", lambda self, seconds: True)
        with in_use.claim(store.root) as other:
            with pytest.raises(RuntimeError, match="was taken over by"):
                in_use.require(store.root, owner)
            in_use.require(store.root, other)


def test_lines_are_there_after_every_checkpoint(store):
    writer = metrics.MetricsWriter(store.root)
    writer.write(1, {"train/loss": 2.0})
    assert metrics.read_metrics(store.root) == []
    writer.sync()
    assert [line["step"] for line in metrics.read_metrics(store.root)] == [1]
    writer.write(2, {"train/loss": 1.0})
    writer.close()
    again = metrics.MetricsWriter(store.root, start_step=1)
    again.write(2, {"train/loss": 1.5})
    again.close()
    assert [line["train/loss"] for line in metrics.read_metrics(store.root)] == [2.0, 1.5]


def test_another_run_is_refused(store):
    run(store.root, num_steps=2)
    with pytest.raises(ValueError, match=rf"workdir {store.root} holds another run"):
        run(store.root, resolved={**RESOLVED, "seed": 1})
    assert workdir_lib.read_config(store.root) == RESOLVED


def test_a_bucket_that_is_not_there_is_named(store):
    place = f"{store.scheme}://nowhere-{store.root.name[-8:]}/run"
    with pytest.raises((ValueError, StoreError), match=place) as error:
        run(place)
    assert "\n" not in str(error.value)
