import io
import json
import struct

import pytest
from tensorboardX.proto import event_pb2

from lvm_jax.training import boards, metrics


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
    file = metrics.JsonLines(tmp_path / metrics.FILE)
    with pytest.raises(OSError, match=r"cannot write .*metrics\.jsonl: No space left"):
        file.write({"step": 1, "train/loss": 1.0})
    file.close()


def test_training_seconds_leave_out_what_was_not_measured():
    lines = [
        {"step": 10, "train/loss": 1.0},
        {"step": 20, "perf/sec_per_step": 0.5},
        {"step": 25, "eval/held_out/loss": 1.0},
        {"step": 40, "perf/sec_per_step": 1.0},
    ]
    assert metrics.training_seconds(lines) == 20 * 0.5 + 20 * 1.0


def write_steps(workdir, first, last, **options):
    writer = metrics.MetricsWriter(workdir, start_step=first - 1, **options)
    for step in range(first, last + 1):
        writer.write(step, {"train/loss": step / 8})
    return writer


@pytest.mark.parametrize(
    "tail", [b'{"step": 8, "train/lo', b"\xff\xfe\x00", b'{"step": 8}\xc3', b"7"]
)
def test_a_resumed_run_mends_the_tail_and_says_so(tmp_path, tail, caplog):
    write_steps(tmp_path, 1, 7).close()
    path = tmp_path / metrics.FILE
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert steps(tmp_path) == list(range(1, 8))
    write_steps(tmp_path, 8, 8).close()
    assert f"{path}: its last line, 8, is unfinished" in caplog.text
    assert path.read_bytes().startswith(whole) and steps(tmp_path) == list(range(1, 9))


@pytest.mark.parametrize("bad", [b"\xff\xff", b'{"step": 3, {"step": 4}', b"[1]", b"{}", b"\r\x00"])
def test_a_damaged_line_in_the_middle_is_named(tmp_path, bad, caplog):
    write_steps(tmp_path, 1, 7).close()
    path = tmp_path / metrics.FILE
    lines = path.read_bytes().split(b"\n")
    lines[2] = bad
    path.write_bytes(b"\n".join(lines))
    assert steps(tmp_path) == [1, 2, 4, 5, 6, 7]
    assert f"{path}: line 3 is damaged and left out: " in caplog.text
    caplog.clear()
    write_steps(tmp_path, 8, 8).close()
    assert f"{path}: line 3 is damaged" in caplog.text
    assert steps(tmp_path) == [1, 2, 4, 5, 6, 7, 8]


class Nearly(io.FileIO):
    """A file that takes a few bytes at a time, and none after so many in all."""

    room = 10**6

    def write(self, data):
        if self.room == 0:
            raise OSError(28, "No space left on device")
        taken = super().write(data[: min(7, self.room)])
        self.room -= taken
        return taken


@pytest.mark.parametrize("room", [10**6, 0, 1, 40])
def test_lines_are_whole_or_not_there(tmp_path, room):
    writer = write_steps(tmp_path, 1, 3)
    before = (tmp_path / metrics.FILE).read_bytes()
    writer._file._file = Nearly(tmp_path / metrics.FILE, "ab")
    writer._file._file.room = room
    if room == 10**6:
        writer.write(4, {"train/loss": 0.5})
        assert steps(tmp_path) == [1, 2, 3, 4]
    else:
        with pytest.raises(OSError, match=r"cannot write .*metrics\.jsonl: No space left"):
            writer.write(4, {"train/loss": 0.5})
        assert (tmp_path / metrics.FILE).read_bytes() == before
    writer.close()


def points(workdir):
    """step -> loss of all points in TensorBoard's event files; a step that comes twice fails."""
    points = {}
    for path in sorted((workdir / "tensorboard").iterdir()):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (size,) = struct.unpack_from("<Q", data, place)
            event = event_pb2.Event.FromString(data[place + 12 : place + 12 + size])
            place += 12 + size + 4
            for value in event.summary.value:
                assert (value.tag, event.step in points) == ("train/loss", False)
                points[event.step] = value.simple_value
    return points


def test_tensorboard_has_every_step_once_after_a_kill(tmp_path):
    opened = lambda: [boards.TensorBoard(tmp_path / boards.TENSORBOARD_FOLDER)]
    killed = write_steps(tmp_path, 1, 140, boards=opened)  # its last points are not yet written
    write_steps(tmp_path, 101, 160, boards=opened).close()
    assert points(tmp_path) == {step: step / 8 for step in range(1, 161)}
    assert steps(tmp_path) == list(range(1, 161))
    del killed
