"""Altered clips end as frames or as errors; `fuzz_clips.py` does the same at any length."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_altered_clips_are_read_or_refused():
    """In a process of its own, as decoders of C may end theirs."""
    pytest.importorskip("av")
    command = [sys.executable, "-m", "tests.frames.fuzz_clips", "--rounds=40", "--seed=1"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 11
    for line in lines:
        numbers = [int(word) for word in line.replace(",", "").split() if word.isdigit()]
        altered, read, refused, otherwise = numbers
        assert altered == read + refused == 40 and min(read, refused) > 0 and otherwise == 0
