"""The plan suite of tools/benchmark.py as a user runs it, at a size that measures nothing."""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_every_way_of_planning_is_measured(tmp_path):
    command = [sys.executable, "tools/benchmark.py", "plan", "--sentences=5000", "--records"]
    command.append(f"--json={tmp_path / 'out.json'}")
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["results"]
    assert [row["name"] for row in rows] == ["sentence", "split", "stream"]
    for row in rows:
        assert row["sentences"] == 5000 and row["rows"] > 0 and 0.01 < row["peak_gib"] < 2
        assert row["plan_seconds"] > 0
        assert 0 < row["open_seconds"] <= row["first_batch_seconds"]
    # Rows a third as long as the longest sentence: more of them than of whole sentences.
    assert rows[1]["context"] < rows[0]["context"] and rows[1]["rows"] > rows[0]["rows"]
