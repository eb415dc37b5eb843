"""Whose a workdir is."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time

import pytest

from lvm_jax.training import in_use


def mark(workdir, age=0.0, **changes):
    """Writes a mark as this process would, but for some fields."""
    owner = dataclasses.replace(in_use.Owner.this_process(), **changes)
    path = workdir / in_use.FILE
    path.write_text(json.dumps(dataclasses.asdict(owner)))
    os.utime(path, (time.time() - age,) * 2)
    return owner


@pytest.fixture
def gone():
    """A process id that was in use a moment ago."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_claim_ends_with_its_block_however_it_ends(tmp_path):
    workdir = tmp_path / "deep" / "run"
    with in_use.claim(workdir) as owner:
        assert in_use.read(workdir) == owner
        in_use.require(workdir, owner)
    assert list(workdir.iterdir()) == []
    with pytest.raises(KeyError), in_use.claim(workdir):
        raise KeyError
    assert list(workdir.iterdir()) == []


def test_a_living_owner_is_named(tmp_path):
    with in_use.claim(tmp_path) as owner:
        message = f"workdir {tmp_path} is in use by process {os.getpid()} on {owner.host} since "
        with (
            pytest.raises(ValueError, match=re.escape(message + owner.since)),
            in_use.claim(tmp_path),
        ):
            raise AssertionError
        assert in_use.read(tmp_path) == owner


@pytest.mark.parametrize("age", [0.0, 10_000.0])
def test_here_the_process_decides(tmp_path, gone, age, caplog):
    with pytest.raises(ValueError, match="in use by"):
        mark(tmp_path, age)  # this very process lives, however long it was silent
        with in_use.claim(tmp_path):
            raise AssertionError
    for changes in ({"pid": gone}, {"begun": "12"}):  # dead; another one has its number now
        earlier = mark(tmp_path, age, **changes)
        with caplog.at_level("INFO"), in_use.claim(tmp_path) as owner:
            assert in_use.read(tmp_path) == owner != earlier
        assert f"was in use by process {earlier.pid}" in caplog.text


@pytest.mark.parametrize("elsewhere", [{"host": "other"}, {"machine": "another boot"}])
def test_elsewhere_its_silence_decides(tmp_path, elsewhere, gone):
    mark(tmp_path, age=in_use.STALE_SECONDS - 30, pid=gone, **elsewhere)
    with pytest.raises(ValueError, match=r"showed itself 15\d s ago"), in_use.claim(tmp_path):
        raise AssertionError
    mark(tmp_path, age=in_use.STALE_SECONDS + 5, pid=gone, **elsewhere)
    with in_use.claim(tmp_path):
        pass


def test_a_process_that_waits_for_its_parent_is_gone(tmp_path):
    zombie = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark(tmp_path, pid=zombie.pid, begun=in_use._begun(zombie.pid))
    with pytest.raises(ValueError, match=f"by process {zombie.pid}"), in_use.claim(tmp_path):
        raise AssertionError
    zombie.stdin.close()
    deadline = time.monotonic() + 60
    while in_use._begun(zombie.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with in_use.claim(tmp_path):
        pass
    zombie.wait()


@pytest.mark.parametrize("text", ["", "{", '{"host": "x"}', "[]"])
def test_a_mark_that_says_nothing_is_nobodys(tmp_path, text):
    (tmp_path / in_use.FILE).write_text(text)
    with in_use.claim(tmp_path) as owner:
        assert in_use.read(tmp_path) == owner


def test_who_was_taken_for_dead_does_not_go_on(tmp_path):
    with in_use.claim(tmp_path) as owner:
        mark(tmp_path, host="other", token="theirs")
        with pytest.raises(RuntimeError, match=r"taken over by process \d+ on other"):
            in_use.require(tmp_path, owner)
    assert in_use.read(tmp_path).token == "theirs"


def test_an_owner_shows_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(in_use, "_TOUCH_EVERY", 0.01)
    with in_use.claim(tmp_path):
        path = tmp_path / in_use.FILE
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 60
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match=r"workdir .*/file/run cannot be written"),
        in_use.claim(tmp_path / "file" / "run"),
    ):
        raise AssertionError
