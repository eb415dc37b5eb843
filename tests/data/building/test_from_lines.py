"""JSON lines in and out to the byte, the same for any number of processes, bad lines named."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lvm_jax.data.building import from_lines, rejects
from lvm_jax.data.building.from_lines import ImportConfig, import_jsonl
from lvm_jax.data.building.jsonl import export_jsonl
from lvm_jax.data.shards.reader import Shards
from tests.data.data_sets import snapshot

TOKENS = 4
SMALL = {"tokens_per_image": TOKENS, "num_codes": 61, "num_special": 3}


def line(ids):
    text = base64.b64encode(np.asarray(ids, np.int32).tobytes()).decode()
    return json.dumps({"tokens": text}) + "\n"


def write_lines(path, count=50, seed=0):
    rng = np.random.default_rng(seed)
    lines = [line(rng.integers(0, 61, TOKENS * rng.integers(1, 9))) for _ in range(count)]
    path.write_text("".join(lines))
    return path


def small_config(**values):
    # About 400 bytes of text a shard: a few lines, and some lines cross the border.
    return ImportConfig(**{**SMALL, "shard_megabytes": 150 / 2**20, **values})


def test_round_trip_is_exact_over_several_files(tmp_path):
    files = [write_lines(tmp_path / f"{name}.jsonl", seed=i) for i, name in enumerate("ab")]
    shards = import_jsonl(files, tmp_path / "out", small_config())
    assert len(shards.manifest["shards"]) > 10 and len(shards) == 100
    assert shards.manifest["about"]["lines"] == 100
    assert shards.sources == ("a", "b") and shards.kinds == ("jsonl",)
    export_jsonl(shards, tmp_path / "back.jsonl")
    assert (tmp_path / "back.jsonl").read_bytes() == b"".join(f.read_bytes() for f in files)
    for record in shards.read_records([0, 60, 99]):
        name, _, offset = record.key.partition("@")
        text = (tmp_path / name).read_bytes()[int(offset) :].partition(b"\n")[0]
        ids = np.frombuffer(base64.b64decode(json.loads(text)["tokens"]), "<i4")
        np.testing.assert_array_equal(record.ids.ravel(), ids)
    shards.verify()


def test_a_last_line_without_end_and_a_stretch_inside_one_line(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text((line(np.arange(40) % 61) + line([1, 2, 3, 4])).rstrip("\n"))
    shards = import_jsonl([path], tmp_path / "out", small_config(shard_megabytes=20 / 2**20))
    assert [entry["num_records"] for entry in shards.manifest["shards"]].count(0) > 2
    assert [ids.ravel().tolist() for ids in shards.read([1, 0])] == [
        [1, 2, 3, 4],
        list(range(40)),
    ]


def test_any_number_of_processes_makes_the_same_bytes(tmp_path):
    path = write_lines(tmp_path / "x.jsonl")
    import_jsonl([path], tmp_path / "one", small_config())
    import_jsonl([path], tmp_path / "three", small_config(num_workers=3))
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "three")


CHILD = """
import sys
from lvm_jax.data.building import from_lines
path, out = sys.argv[1:]
report = lambda done, total: print(done, flush=True)
if __name__ == "__main__":
    config = from_lines.ImportConfig(
        tokens_per_image=4, num_codes=61, num_special=3, shard_megabytes=150 / 2**20
    )
    from_lines.import_jsonl([path], out, config, report)
"""


def test_a_killed_import_goes_on(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", 700)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    left = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.array_record")}
    assert left and not (tmp_path / "out" / "manifest.json").exists()
    import_jsonl([path], tmp_path / "out", small_config())
    again = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in left}
    assert sum(again[name] != left[name] for name in left) <= 1, "finished shards are kept"
    import_jsonl([path], tmp_path / "straight", small_config())
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "straight")
    before = snapshot(tmp_path / "out")
    import_jsonl([path], tmp_path / "out", small_config())
    assert snapshot(tmp_path / "out") == before


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", 4000)
    big = CHILD.replace("150 / 2**20", "0.2")
    child = [sys.executable, "-c", big, str(path), str(tmp_path / "out")]
    # Files may grow to 100 kB: a shard is larger.
    limited = ["bash", "-c", 'trap "" XFSZ; ulimit -f 100; exec "$@"', "-", *child]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "WriteError: cannot write" in done.stderr and "shard-0000" in done.stderr
    assert "what was finished before is kept" in done.stderr
    assert not list((tmp_path / "out").glob("*.array_record*"))
    assert subprocess.run(child, capture_output=True, timeout=100).returncode == 0
    assert len(Shards(tmp_path / "out")) == 4000


BAD = {
    "{": "not of the form",
    '{"token": ""}': "no key 'tokens'",
    '["x"]': "not of the form",
    '{"tokens": 3}': "not of the form",
    '{"tokens": "a"}': "not of the form",
    '{"tokens": "AAAA"}': "3 bytes are not whole int32",
    line([1, 2, 3, 4, 5]).strip(): "5 ids are not a multiple of 4",
    line([]).strip(): "0 ids are not a multiple",
    line([1, 2, 3, 61]).strip(): r"ids 1\.\.61 are not codes 0\.\.60",
    line([1, 2, 3, -1]).strip(): r"ids -1\.\.3 are not codes",
    "": "not of the form",
    "[" * 100_000: "nested too deeply",
    '{"tokens": ' * 50_000: "nested too deeply",
}


def test_bad_lines_are_counted_and_listed(tmp_path):
    good = write_lines(tmp_path / "good.jsonl").read_text().splitlines()
    lines = [*good]
    places = np.linspace(2, 45, len(BAD)).astype(int)
    for place, bad in sorted(zip(places.tolist(), BAD), reverse=True):
        lines.insert(place, bad)
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"x\.jsonl, byte \d+: .*than max_bad_lines=10") as error:
        import_jsonl([path], tmp_path / "out", small_config(max_bad_lines=10))
    assert "\n" not in str(error.value)
    assert (tmp_path / "out" / rejects.FILE).exists()
    assert not (tmp_path / "out" / "manifest.json").exists()
    shards = import_jsonl([path], tmp_path / "out", small_config(max_bad_lines=len(BAD)))
    assert shards.manifest["about"]["bad_lines"] == len(BAD) and len(shards) == len(good)
    listed = (tmp_path / "out" / rejects.FILE).read_text().splitlines()
    for reject, reason in zip(map(json.loads, listed), BAD.values(), strict=True):
        assert re.search(reason, reject["reason"])
        assert lines[reject["line"] - 1] in BAD
        assert path.read_text()[reject["offset"] :].startswith(lines[reject["line"] - 1])
    export_jsonl(shards, tmp_path / "back.jsonl")
    assert (tmp_path / "back.jsonl").read_text().splitlines() == good


def test_bad_input_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.jsonl does not exist"):
        import_jsonl([tmp_path / "nowhere.jsonl"], tmp_path / "out")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"empty\.jsonl holds no line"):
        import_jsonl([tmp_path / "empty.jsonl"], tmp_path / "out")
    (tmp_path / "bad.jsonl").write_text("x\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl holds no good line"):
        import_jsonl([tmp_path / "bad.jsonl"], tmp_path / "out", small_config(max_bad_lines=1))
    path = write_lines(tmp_path / "x.jsonl", 3)
    shards = import_jsonl([path], tmp_path / "made", small_config())
    with pytest.raises(ValueError, match="holds shards made from another config"):
        import_jsonl([path], tmp_path / "made", small_config(num_codes=99))
    with pytest.raises(ValueError, match=r"without saying which tokenizer .*give this tokenizer"):
        Shards(tmp_path / "made").require_tokenizer("abc")
    with pytest.raises(RuntimeError, match=r"cannot write .*nowhere/x\.jsonl"):
        export_jsonl(shards, tmp_path / "nowhere" / "x.jsonl")
    stated = import_jsonl([path], tmp_path / "stated", small_config(tokenizer_fingerprint="abc"))
    stated.require_tokenizer("abc")


def change_a_line(path):
    """One id becomes another; the file keeps its size and its time."""
    status, data = os.stat(path), bytearray(path.read_bytes())
    start = data.index(b'"tokens": "', len(data) // 5) + len(b'"tokens": "')
    data[start : start + 2] = b"AA" if data[start : start + 2] != b"AA" else b"AQ"
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def stop_after(shards):
    """A progress that interrupts the import when so many shards are there."""
    calls = []

    def progress(*call):
        calls.append(call)
        if len(calls) == shards:
            raise KeyboardInterrupt

    return progress


def test_a_changed_file_is_not_mixed_with_the_old_one(tmp_path):
    files = [write_lines(tmp_path / f"{name}.jsonl", seed=i) for i, name in enumerate("ab")]
    old = files[0].read_bytes()
    with pytest.raises(KeyboardInterrupt):
        import_jsonl(files, tmp_path / "out", small_config(), stop_after(8))
    before = snapshot(tmp_path / "out")
    change_a_line(files[0])
    for num_workers in (1, 2):
        with pytest.raises(ValueError, match=r"a\.jsonl .*put .* back, or remove out=") as error:
            import_jsonl(files, tmp_path / "out", small_config(num_workers=num_workers))
        assert "\n" not in str(error.value)
    assert snapshot(tmp_path / "out") == {**before, ".finishing": b""}
    # Put back, or copied, it goes on.
    files[0].write_bytes(old)
    import_jsonl(files, tmp_path / "out", small_config())
    import_jsonl(files, tmp_path / "straight", small_config())
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "straight")


def test_lines_that_no_shard_is_made_of_may_change(tmp_path):
    path = write_lines(tmp_path / "x.jsonl")
    with pytest.raises(KeyboardInterrupt):
        import_jsonl([path], tmp_path / "out", small_config(), stop_after(2))
    data = path.read_bytes()
    path.write_bytes(data[:-20] + b"A" * 15 + data[-5:])
    import_jsonl([path], tmp_path / "out", small_config())
    import_jsonl([path], tmp_path / "straight", small_config())
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "straight")


def test_an_import_that_an_older_version_began_goes_on(tmp_path):
    """Its notes have neither hashes nor stamps."""
    path = write_lines(tmp_path / "x.jsonl")
    with pytest.raises(KeyboardInterrupt):
        import_jsonl([path], tmp_path / "out", small_config(), stop_after(5))
    for file in (tmp_path / "out").glob("*.partial"):
        file.unlink()
    for file in (tmp_path / "out").glob("shard-*.json"):
        notes = json.loads(file.read_text())
        del notes["about"]["sha256"], notes["about"]["stamp"]
        file.write_text(json.dumps(notes))
    import_jsonl([path], tmp_path / "out", small_config())
    import_jsonl([path], tmp_path / "straight", small_config())
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "straight")


def test_a_line_over_a_border_counts_whole(tmp_path):
    """Its end lies in the next stretch, of which no shard is made yet."""
    path = tmp_path / "x.jsonl"
    path.write_text(line(np.arange(200) % 61) + line([1, 2, 3, 4]))
    with pytest.raises(KeyboardInterrupt):
        import_jsonl([path], tmp_path / "out", small_config(), stop_after(1))
    data = path.read_bytes()
    path.write_bytes(data[:900] + b"AAAA" + data[904:])
    with pytest.raises(ValueError, match=r"x\.jsonl .*put .* back"):
        import_jsonl([path], tmp_path / "out", small_config())


def test_a_file_that_changes_after_the_import_is_named(tmp_path):
    path = write_lines(tmp_path / "x.jsonl")
    import_jsonl([path], tmp_path / "out", small_config())
    before = snapshot(tmp_path / "out")
    later = path.stat().st_mtime_ns + 10**10
    os.utime(path, ns=(later, later))
    import_jsonl([path], tmp_path / "out", small_config())
    change_a_line(path)
    with pytest.raises(ValueError, match=r"x\.jsonl has changed .*put .* back, or remove out="):
        import_jsonl([path], tmp_path / "out", small_config())
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize("blank", ["\n", "\r\n", " \t\n\n", "\n" * 100_000, "   "])
@pytest.mark.parametrize("ending", ["\n", ""])
def test_blank_lines_at_the_end_are_no_lines(tmp_path, blank, ending):
    path = write_lines(tmp_path / "x.jsonl", 20)
    import_jsonl([path], tmp_path / "clean", small_config())
    path.write_text(path.read_text().rstrip("\n") + ending + blank, newline="")
    shards = import_jsonl([path], tmp_path / "out", small_config())
    assert shards.manifest["about"]["lines"] == len(shards) == 20
    assert shards.fingerprint == Shards(tmp_path / "clean").fingerprint
    path.write_text(blank, newline="")
    with pytest.raises(ValueError, match=r"x\.jsonl holds no line"):
        import_jsonl([path], tmp_path / "blank", small_config())


def test_files_of_one_name_are_called_by_their_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = []
    for i, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        write_lines(tmp_path / folder / "x.jsonl", 10, seed=i)
        files.append(f"{folder}/x.jsonl")
    other = write_lines(tmp_path / "other.jsonl", 5, seed=2)
    (tmp_path / "b" / "x.jsonl").open("a").write("bad\n")
    shards = import_jsonl([*files, other], "out", small_config(max_bad_lines=1))
    assert shards.sources == ("a/x", "b/x", "other") and len(shards) == 25
    assert shards.read_records([10])[0].key == "b/x.jsonl@0"
    assert [about["file"] for about in shards.manifest["about"]["jsonl"]] == [*files, other.name]
    (reject,) = (tmp_path / "out" / rejects.FILE).read_text().splitlines()
    assert json.loads(reject)["file"] == "b/x.jsonl" and json.loads(reject)["line"] == 11
    with pytest.raises(ValueError, match=r"b/x\.jsonl is given 2 times"):
        import_jsonl([*files, "./b/x.jsonl"], "twice", small_config())


@pytest.mark.parametrize("num_workers", [1, 2])
def test_progress_moves_within_a_stretch(tmp_path, monkeypatch, num_workers):
    monkeypatch.setattr(from_lines, "_BYTES_PER_REPORT", 1000)
    files = [write_lines(tmp_path / f"{name}.jsonl", 5000, seed=i) for i, name in enumerate("ab")]
    calls = []
    config = small_config(shard_megabytes=10, num_workers=num_workers)
    import_jsonl(files, tmp_path / "out", config, lambda *call: calls.append(call))
    done = [call[0] for call in calls]
    total = sum(file.stat().st_size for file in files)
    assert done == sorted(done) and done[-1] == total and {call[1] for call in calls} == {total}
    # Processes are asked now and then; how often that is while they work is up to the system.
    assert len(set(done)) > (100 if num_workers == 1 else 0), "there are only two stretches"


@pytest.mark.parametrize("how", ["missing", "cut"])
def test_a_lost_shard_is_made_again(tmp_path, how):
    path = write_lines(tmp_path / "x.jsonl")
    path.write_text(path.read_text() + "bad\n")
    config = small_config(max_bad_lines=1)
    import_jsonl([path], tmp_path / "out", config)
    before = snapshot(tmp_path / "out")
    for name in ("shard-00001.array_record", sorted(tmp_path.glob("out/shard-*"))[-1].name):
        lost = tmp_path / "out" / name
        data = lost.read_bytes()
        lost.unlink()
        if how == "cut":
            lost.write_bytes(data[:-10])
        import_jsonl([path], tmp_path / "out", config)
        assert snapshot(tmp_path / "out") == before
    lost.unlink()
    with pytest.raises(ValueError, match=r"x\.jsonl has more bad lines than max_bad_lines=0"):
        import_jsonl([path], tmp_path / "out", small_config())
    assert (tmp_path / "out" / rejects.FILE).exists()
