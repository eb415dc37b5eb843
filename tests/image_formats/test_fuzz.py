"""Altered files end as pixels or as errors; `fuzz_pictures.py` does the same at any length."""

import pathlib
import subprocess
import sys

import pytest

from tests import fuzzing
from tests.image_formats import fuzz_pictures

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_altered_files_are_read_or_refused():
    """In a process of its own, as decoders of C may end theirs."""
    command = [
        sys.executable,
        "-m",
        "tests.image_formats.fuzz_pictures",
        "--rounds=150",
        "--seed=1",
    ]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(fuzz_pictures.valid_files())
    for line in lines:
        numbers = [int(word) for word in line.replace(",", "").split() if word.isdigit()]
        altered, read, refused, otherwise = numbers
        assert altered == read + refused == 150 and min(read, refused) > 0 and otherwise == 0


def test_what_ends_otherwise_is_kept(tmp_path, capsys):
    def outcome(path):
        if path.read_bytes() != b"altered":
            return "read"
        raise KeyError("unforeseen")

    whole, how = fuzz_pictures.valid_files()["BMP"], {"rounds": 3, "seed": 0, "folder": tmp_path}
    with pytest.raises(KeyError, match="unforeseen"):
        fuzzing.fuzz("BMP", whole, outcome, lambda data, random_: b"altered", **how)
    assert "BMP: round 0 of seed 0 ended otherwise; it is kept" in capsys.readouterr().out
    assert (tmp_path / "0.bmp").read_bytes() == b"altered"
