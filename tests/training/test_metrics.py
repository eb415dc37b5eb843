import json

import pytest

from lvm_jax.training import metrics


def steps(workdir):
    return [line["step"] for line in metrics.read_metrics(workdir)]


def test_values_come_back_exactly(tmp_path):
    writer = metrics.MetricsWriter(tmp_path)
    writer.write(1, {"train/loss": 0.1 + 0.2})
    writer.close()
    (line,) = metrics.read_metrics(tmp_path)
    assert (line["step"], line["train/loss"]) == (1, 0.1 + 0.2)


def test_resuming_drops_later_and_unfinished_lines(tmp_path):
    writer = metrics.MetricsWriter(tmp_path)
    for step in range(1, 8):
        writer.write(step, {"train/loss": 1.0})
    writer.close()
    with (tmp_path / metrics.FILE).open("a") as file:
        file.write('{"step": 8, "train/lo')  # a process killed while writing
    writer = metrics.MetricsWriter(tmp_path, start_step=5)
    writer.write(6, {"train/loss": 2.0})
    writer.close()
    assert steps(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert metrics.read_metrics(tmp_path)[-1]["train/loss"] == 2.0
    for line in (tmp_path / metrics.FILE).read_text().splitlines():
        json.loads(line)


def test_lines_are_readable_while_the_run_goes_on(tmp_path):
    writer = metrics.MetricsWriter(tmp_path)
    writer.write(1, {"train/loss": 1.0})
    assert steps(tmp_path) == [1]
    writer.close()


def test_an_inactive_writer_writes_nothing(tmp_path):
    writer = metrics.MetricsWriter(tmp_path, active=False)
    writer.write(1, {"train/loss": 1.0})
    writer.close()
    assert not (tmp_path / metrics.FILE).exists()


def test_a_full_disk_is_named(tmp_path):
    (tmp_path / metrics.FILE).symlink_to("/dev/full")
    writer = metrics.MetricsWriter.__new__(metrics.MetricsWriter)
    writer._path, writer._board = tmp_path / metrics.FILE, None
    writer._file = writer._path.open("ab", buffering=0)
    with pytest.raises(OSError, match=r"cannot write .*metrics\.jsonl: No space left"):
        writer.write(1, {"train/loss": 1.0})
    writer.close()


def test_training_seconds_leave_out_what_was_not_measured():
    lines = [
        {"step": 10, "train/loss": 1.0},
        {"step": 20, "perf/sec_per_step": 0.5},
        {"step": 25, "eval/held_out/loss": 1.0},
        {"step": 40, "perf/sec_per_step": 1.0},
    ]
    assert metrics.training_seconds(lines) == 20 * 0.5 + 20 * 1.0
