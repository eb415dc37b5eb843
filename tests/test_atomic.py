import os
import pickle
import subprocess
import sys

import pytest

from lvm_jax import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_and_json(tmp_path):
    atomic.write_text(tmp_path / "a.txt", "größer\n")
    assert (tmp_path / "a.txt").read_bytes() == "größer\n".encode()
    atomic.write_json(tmp_path / "b.json", {"a": [1]})
    assert (tmp_path / "b.json").read_text() == '{\n  "a": [\n    1\n  ]\n}\n'
    atomic.write_json(tmp_path / "b.json", {"a": [1]}, indent=None)
    assert (tmp_path / "b.json").read_text() == '{"a": [1]}\n'
    assert names(tmp_path) == ["a.txt", "b.json"]


def test_file_has_its_name_only_when_whole(tmp_path):
    path = tmp_path / "a.bin"
    with atomic.writing(path) as partial:
        partial.write_bytes(b"whole")
        assert names(tmp_path) == ["a.bin.partial"]
    assert names(tmp_path) == ["a.bin"] and path.read_bytes() == b"whole"


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_failure_keeps_the_older_file_and_no_partial(tmp_path, error):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    with pytest.raises(type(error)) as caught, atomic.writing(path) as partial:
        partial.write_text("ne")
        raise error
    assert caught.value is error
    assert names(tmp_path) == ["a.txt"] and path.read_text() == "old"


def test_killed_process_leaves_the_older_file_and_the_next_one_succeeds(tmp_path):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    die = (
        "import os, sys; from lvm_jax import atomic\n"
        "with atomic.writing(sys.argv[1]) as partial:\n"
        "    partial.write_text('ne'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", die, path], check=False).returncode == 9
    assert names(tmp_path) == ["a.txt", "a.txt.partial"] and path.read_text() == "old"
    atomic.write_text(path, "new")
    assert names(tmp_path) == ["a.txt"] and path.read_text() == "new"


def test_full_disk_is_one_line_that_names_the_file(tmp_path):
    path = tmp_path / "a.json"
    atomic.write_json(path, 1)
    (tmp_path / "a.json.partial").symlink_to("/dev/full")
    wanted = r"^cannot write .*/a\.json: No space left on device; free space .* is kept$"
    with pytest.raises(RuntimeError, match=wanted) as caught:
        atomic.write_json(path, 2)
    assert isinstance(caught.value, OSError), "callers may say what the file was for"
    assert caught.value.strerror == "No space left on device"
    assert names(tmp_path) == ["a.json"] and path.read_text() == "1\n"
    # An error may have to come out of a worker process.
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_folders_are_made_on_request(tmp_path):
    with pytest.raises(atomic.WriteError, match=r"cannot write .*gone/a: No such file"):
        atomic.write_text(tmp_path / "gone" / "a", "")
    assert names(tmp_path) == []
    atomic.write_text(tmp_path / "made" / "here" / "a", "", parents=True)
    assert names(tmp_path / "made" / "here") == ["a"]
    with pytest.raises(atomic.WriteError, match=r"cannot write .*a/b: (File exists|Not a dir)"):
        atomic.write_text(tmp_path / "made" / "here" / "a" / "b", "", parents=True)


def test_error_of_a_library_keeps_its_reason(tmp_path):
    error = atomic.write_error(tmp_path / "a", RuntimeError("disk quota exceeded; at x.cc:12"))
    assert str(error).startswith(f"cannot write {tmp_path}/a: disk quota exceeded; free space")
    with pytest.raises(atomic.WriteError) as caught, atomic.writing(tmp_path / "b"):
        raise error
    assert caught.value is error


def test_a_name_may_be_as_long_as_names_can_be(tmp_path):
    name = "ä" * 127 + "."
    atomic.write_text(tmp_path / name, "whole")
    assert names(tmp_path) == [name] and (tmp_path / name).read_text() == "whole"


def test_names_in_texts_keep_their_bytes(tmp_path):
    atomic.write_text(tmp_path / "a", os.fsdecode(b"caf\xe9\n"))
    assert (tmp_path / "a").read_bytes() == b"caf\xe9\n"
