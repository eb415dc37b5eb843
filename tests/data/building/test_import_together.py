"""Slices of an import: several processes, killed or not, write what one process writes."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from lvm_jax.data.building import rejects
from lvm_jax.data.building.from_lines import import_jsonl
from lvm_jax.data.building.slices import Slice
from tests.data.building.test_from_lines import change_a_line, small_config, stop_after, write_lines

ROOT = pathlib.Path(__file__).resolve().parents[3]
IMPORT = """
import sys, time
from lvm_jax.data.building import from_lines
from lvm_jax.data.building.slices import Slice

def report(done, total):
    print(done, flush=True)
    time.sleep(0.02)

if __name__ == "__main__":
    *files, out, part, num_workers = sys.argv[1:]
    config = from_lines.ImportConfig(
        tokens_per_image=4, num_codes=61, num_special=3, shard_megabytes=150 / 2**20,
        max_bad_lines=2, num_workers=int(num_workers),
    )
    from_lines.import_jsonl(files, out, config, report, Slice.parse(part))
"""


@pytest.fixture
def files(tmp_path):
    files = [write_lines(tmp_path / f"{name}.jsonl", 300, seed=i) for i, name in enumerate("ab")]
    for file in files:
        file.write_text(file.read_text() + "bad\n")
    return files


def snapshot(directory):
    return {path.name: path.read_bytes() for path in pathlib.Path(directory).iterdir()}


def start(files, out, part, num_workers=1):
    words = [*map(str, files), str(out), part, str(num_workers)]
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", IMPORT, *words],
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=environment,
    )


def test_slices_write_what_one_process_writes(files, tmp_path):
    config = small_config(max_bad_lines=2)
    one = import_jsonl(files, tmp_path / "one", config)
    assert len(one) == 600 and one.manifest["about"]["bad_lines"] == 2
    for order in [(0, 1), (2, 0, 1)]:
        out, num_bytes = tmp_path / f"in {len(order)}", 0
        for index in order:
            calls = []
            progress = lambda done, total, calls=calls: calls.append((done, total))
            part = Slice(index=index, count=len(order))
            shards = import_jsonl(files, out, config, progress, part)
            assert (shards is None) == (index != order[-1]), "the last one finishes"
            done, total = calls[-1]
            assert done == total
            num_bytes += total
        assert snapshot(out) == snapshot(tmp_path / "one")
        assert num_bytes == sum(file.stat().st_size for file in files)
        # Whoever comes too late finds all done.
        assert import_jsonl(files, out, config, part=part) is not None
        assert snapshot(out) == snapshot(tmp_path / "one")


def test_slices_at_the_same_time_killed_and_sliced_otherwise(files, tmp_path):
    moments, out = random.Random(0), tmp_path / "out"
    for parts in (["0/2", "1/2"], ["0/1"]):
        running = [start(files, out, part, num_workers=len(parts)) for part in parts]
        for process in running:
            process.stdout.readline()
        time.sleep(moments.uniform(0, 0.2))
        for process in running:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    assert list(out.glob("*.array_record")) and not (out / "manifest.json").exists()
    running = [start(files, out, part) for part in ("0/2", "1/2")]
    for process in running:
        _, error = process.communicate(timeout=100)
        assert process.returncode == 0, error
    import_jsonl(files, tmp_path / "one", small_config(max_bad_lines=2))
    assert snapshot(out) == snapshot(tmp_path / "one")


def test_one_slice_is_imported_by_one_process(files, tmp_path):
    held = start(files, tmp_path / "out", "0/2")
    held.stdout.readline()
    os.kill(held.pid, signal.SIGSTOP)
    config = small_config(max_bad_lines=2)
    try:
        with pytest.raises(ValueError, match=r"slice 0/2 is being built by another process"):
            import_jsonl(files, tmp_path / "out", config, part=Slice(index=0, count=2))
        with pytest.raises(ValueError, match=r"another process in another way .*slices of one"):
            import_jsonl(files, tmp_path / "out", config)
        assert import_jsonl(files, tmp_path / "out", config, part=Slice(index=1, count=2)) is None
    finally:
        held.kill()
        held.communicate()


def test_bad_lines_of_all_slices_count(files, tmp_path):
    """Each slice sees one, which is allowed; together they are too many."""
    out, config = tmp_path / "out", small_config(max_bad_lines=1)
    bad = {"a.jsonl": 301, "b.jsonl": 301}
    import_jsonl(files, tmp_path / "one", small_config(max_bad_lines=2))
    number = len(list((tmp_path / "one").glob("shard-*"))) // 2  # b's bad line is in the last one
    halves = [Slice(index=0, count=2), Slice(index=1, count=2)]
    if number % 2:
        halves.reverse()
    assert import_jsonl(files, out, config, part=halves[0]) is None
    with pytest.raises(ValueError, match=r"a\.jsonl, byte \d+: .* than max_bad_lines=1 lines"):
        import_jsonl(files, out, config, part=halves[1])
    listed = map(json.loads, (out / rejects.FILE).read_text().splitlines())
    assert {line["file"]: line["line"] for line in listed} == bad
    # With the limit raised, the same directory is finished.
    import_jsonl(files, out, small_config(max_bad_lines=2), part=halves[1])
    assert snapshot(out) == snapshot(tmp_path / "one")


def test_a_file_that_changed_since_another_slice_read_it_is_refused(files, tmp_path):
    halves = [Slice(index=0, count=2), Slice(index=1, count=2)]
    import_jsonl(files, tmp_path / "out", small_config(max_bad_lines=2), part=halves[0])
    change_a_line(files[1])
    for part in halves:
        with pytest.raises(ValueError, match=r"b\.jsonl has changed since .*begin anew"):
            import_jsonl(files, tmp_path / "out", small_config(max_bad_lines=2), part=part)


def test_a_kill_while_finishing(files, tmp_path, monkeypatch):
    config = small_config(max_bad_lines=2)
    import_jsonl(files, tmp_path / "one", config)
    for broken in ("ShardsWriter.finish", "_clean"):
        with monkeypatch.context() as patch:
            patch.setattr(f"lvm_jax.data.building.lifecycle.{broken}", stop_after(1))
            with pytest.raises(KeyboardInterrupt):
                import_jsonl(files, tmp_path / broken, config)
        import_jsonl(files, tmp_path / broken, config)
        assert snapshot(tmp_path / broken) == snapshot(tmp_path / "one")
