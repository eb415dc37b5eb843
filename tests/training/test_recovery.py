"""What a run does about damaged checkpoints."""

import re
import shutil

import jax
import numpy as np
import pytest

from lvm_jax.training import checksums, recovery, stopping, stored_params
from lvm_jax.training import workdir as workdir_lib
from tests.training.toy import losses, run, steps_on_disk


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 12 steps with the checkpoints 10 and 12."""
    workdir = tmp_path_factory.mktemp("finished")
    run(workdir)
    return workdir


@pytest.fixture
def workdir(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def cut(folder):
    path = next((folder / "state" / "d").iterdir())
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder):
    path = next((folder / "state" / "d").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def lose(*name):
    return lambda folder: (folder.joinpath(*name)).unlink()


DAMAGES = {
    "cut": (cut, "has .* bytes instead of"),
    "flipped": (flip, r"state/d/.* is not what was written \(checksum\)"),
    "empty": (empty, "its folder is empty"),
    "no_manifest": (lose("state", "manifest.ocdbt"), "state/manifest.ocdbt is missing"),
    "no_metadata": (lose("_CHECKPOINT_METADATA"), "_CHECKPOINT_METADATA is missing"),
    "no_config": (lose("config", "metadata"), "config/metadata is missing"),
    "no_checksums": (lose(checksums.FILE), "checksums.json is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_taken(workdir, finished, damage, caplog):
    make, message = DAMAGES[damage]
    make(workdir / workdir_lib.FOLDER / "12")
    run(workdir, 14)
    (warning,) = [r.message for r in caplog.records if "not whole" in r.message]
    assert "step 12 (" in warning and warning.endswith("going on from step 10 instead")
    assert re.search(message, warning)
    assert steps_on_disk(workdir) == [10, 14]
    assert losses(workdir)[:12] == losses(finished)
    assert [step for step, _ in losses(workdir)] == list(range(1, 15))


def test_a_run_is_not_finished_by_a_damaged_checkpoint(workdir, finished):
    flip(workdir / workdir_lib.FOLDER / "12")
    final = run(workdir)
    assert final is not None and losses(workdir) == losses(finished)
    params, _ = stored_params.load_params(finished)
    np.testing.assert_array_equal(final["params"]["w"], params["w"])
    assert run(workdir) is None


def test_damaged_checkpoints_are_kept_beside_the_others(workdir):
    folder = workdir / workdir_lib.FOLDER
    for kept in ("12.damaged", "12.damaged-2"):
        flip(folder / "12")
        run(workdir)
        assert (folder / kept / "state").is_dir()
        assert workdir_lib.latest_step(workdir) == 12
    assert sorted(workdir_lib.steps(workdir)) == [10, 12]


def test_no_whole_checkpoint_is_an_error_that_names_all(workdir):
    folder = workdir / workdir_lib.FOLDER
    flip(folder / "10")
    empty(folder / "12")
    before = sorted(workdir.rglob("*"))
    for start in (lambda: run(workdir), lambda: stored_params.load_params(workdir)):
        with pytest.raises(ValueError, match=r"in .* is whole: step 12 \(its folder "):
            start()
        with pytest.raises(ValueError, match=r"; step 10 \(state/d/.*restore one from a copy"):
            start()
    assert sorted(workdir.rglob("*")) == before


def test_parameters_are_read_from_the_newest_whole_checkpoint(workdir, caplog):
    expected, _ = stored_params.load_params(workdir, step=10)
    flip(workdir / workdir_lib.FOLDER / "12")
    params, _ = stored_params.load_params(workdir)
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert "step 12 (state/d/" in caplog.text and "reading step 10 instead" in caplog.text
    with pytest.raises(
        ValueError, match=r"cannot read .*/12: state/d/.*\(checksum\); name another"
    ):
        stored_params.load_params(workdir, step=12)


def test_every_file_of_a_checkpoint_is_looked_after(workdir):
    folder = workdir / workdir_lib.FOLDER / "12"
    assert recovery.find_damage(folder) is None
    for path in filter(lambda path: path.is_file(), folder.rglob("*")):
        good = path.read_bytes()
        data = bytearray(good)
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
        assert path.relative_to(folder).as_posix() in recovery.find_damage(folder)
        path.unlink()
        # A run that is killed between two saves has not noted the last files yet.
        missing = f"{path.relative_to(folder).as_posix()} is missing"
        expected = None if path.name == "checksums_rest.json" else missing
        assert recovery.find_damage(folder) == expected
        path.write_bytes(good)
    assert recovery.find_damage(folder) is None


def test_checkpoints_from_before_checksums_are_read(workdir, finished, caplog):
    for step in ("10", "12"):
        folder = workdir / workdir_lib.FOLDER / step
        (folder / checksums.FILE).unlink()
        shutil.rmtree(folder / "totals")
        metadata = folder / "_CHECKPOINT_METADATA"
        marked = f'"{recovery.HAS_CHECKSUMS}": true'
        assert marked in metadata.read_text()
        metadata.write_text(metadata.read_text().replace(marked, ""))
    expected, _ = stored_params.load_params(finished)
    jax.tree.map(np.testing.assert_array_equal, stored_params.load_params(workdir)[0], expected)
    caplog.set_level("INFO")
    run(workdir, 14)
    assert "12 has no checksums" in caplog.text
    assert losses(workdir)[:12] == losses(finished)


def test_a_failing_run_names_a_checkpoint_that_is_whole(workdir):
    def damaging(start):
        flip(workdir / workdir_lib.FOLDER / "12")
        raise ValueError("shard 3 is damaged")
        yield

    with pytest.raises(stopping.RunError, match=r"shard 3 .*good checkpoint is .*/10; the same"):
        run(workdir, 14, source=damaging)
