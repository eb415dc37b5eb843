import io
import pathlib
import re
import sys
import types

import pytest
import tqdm

from lvm_jax import progress_bar

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(progress_bar, "time", clock)
    return clock


def work(clock, seconds):
    """Five steps, a log line after each."""
    with progress_bar.Bar(total=7, initial=2, desc="compiling", mininterval=0, miniters=1) as bar:
        for step in range(5):
            clock.now += seconds
            bar.update(1)
            bar.set_description("training")
            tqdm.tqdm.write(f"line {step}", file=sys.stderr)


@pytest.mark.parametrize("seconds, shown", [(1, [7]), (16, [4, 6, 7]), (60, [3, 4, 5, 6, 7])])
def test_a_log_file_gets_whole_lines_and_none_twice(monkeypatch, clock, seconds, shown):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    work(clock, seconds)
    text = sys.stderr.getvalue()
    assert "\r" not in text and text.endswith("\n")
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("line")] == [f"line {n}" for n in range(5)]
    bars = [line for line in lines if not line.startswith("line")]
    assert [int(bar.split("/7 ")[0].split()[-1]) for bar in bars] == shown


def test_what_takes_long_is_said_to_go_on(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar.Bar(total=3) as bar:
        for stage in ("reads", "compiles"):
            clock.now += 40
            bar.set_description(stage)
    lines = sys.stderr.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == ["reads", "compiles"]


def test_nothing_done_is_nothing_to_say(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    progress_bar.Bar(total=3, initial=3).close()
    progress_bar.Bar(total=3, disable=True).close()
    assert sys.stderr.getvalue() == ""


def test_a_bar_moves_on_a_terminal(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", Terminal())
    work(clock, 1)
    text = sys.stderr.getvalue()
    assert text.count("\r") > 5 and "training: 100%" in text and text.endswith("\n")


def test_nothing_else_moves_on_a_line():
    """Another bar would draw into log files."""
    sources = [path for folder in ("lvm_jax", "tools") for path in (ROOT / folder).rglob("*.py")]
    makers = [path.name for path in sources if re.search(r"\btqdm\(|\btrange\(", path.read_text())]
    assert makers == []
