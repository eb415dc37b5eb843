"""tools/plan.py and tools/plan_table.py as a user runs them, without compiling."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = ("--config=experiments/debug.py", "--nocompile", "--config.mesh.fsdp=1")


def run(tool, *flags):
    command = [sys.executable, f"tools/{tool}.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_a_plan_is_printed_and_written(tmp_path):
    files = f"--json={tmp_path / 'made' / 'plan.json'}", f"--html={tmp_path / 'plan.html'}"
    result = run("plan", *SMALL, "--topology=v5e-4", "--price=2", "--tokens=1b", *files)
    assert result.returncode == 0, result.stderr
    for words in ("v5e:2x2", "ESTIMATED", ": fits", "chip-hours, cost"):
        assert words in result.stdout
    plan = json.loads((tmp_path / "made" / "plan.json").read_text())
    assert plan["chips"] == 4 and plan["tokens"] == 1e9
    assert "<svg" in (tmp_path / "plan.html").read_text()


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--topology=v9-4", "no kind 'v9'"),
        ("--tokens=much", "--tokens=much is no number; write 420b"),
        ("--price=-1", "--price=-1.0 must not be negative"),
        # Before anything is compiled.
        ("--json=tools/plan.py/plan.json", "--json=tools/plan.py/plan.json cannot be written"),
        ("--html=tools", "--html=tools is a folder"),
        ("--config.mesh.data=3", "nearest mesh that does: mesh.data=4 mesh.fsdp=1"),
    ],
)
def test_what_is_wrong_is_one_line(flag, words):
    result = run("plan", *SMALL, "--topology=v5e-4", flag)
    assert result.returncode == 2 and not result.stdout
    assert words in result.stderr.strip().rpartition("\n")[2]


def test_a_table_keeps_what_it_has(tmp_path):
    flags = f"--out={tmp_path / 'plans.json'}", "--nocompile", "--sizes=100m"
    flags += (f"--recommend={tmp_path / 'recommended.json'}",)
    first = run("plan_table", *flags, "--topologies=v5e-8,v5e-2")
    assert first.returncode == 0, first.stderr
    rows = json.loads((tmp_path / "plans.json").read_text())["plans"]
    failed, planned = rows
    assert planned["fits"] and 0 < planned["serial_mfu"] <= planned["mfu"] < 1
    # A plan that cannot be made says why, and does not end the others.
    assert "no v5e slice has 2 chips" in failed["error"]
    assert (tmp_path / "plans.png").exists()
    (recommended,) = json.loads((tmp_path / "recommended.json").read_text())["rows"]
    assert recommended["mesh"] == planned["mesh"] and recommended["how"] == "estimated"
    again = run("plan_table", *flags, "--topologies=v5e-8")
    assert json.loads((tmp_path / "plans.json").read_text())["plans"] == rows
    assert "1 of" not in again.stdout


def test_a_table_of_growing_slices_says_what_is_not_flat(tmp_path):
    flags = f"--out={tmp_path / 'weak.json'}", "--nocompile", "--weak_scaling", "--sizes=100m"
    result = run("plan_table", *flags)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "weak.json").read_text())["plans"]
    assert [row["chips"] for row in rows] == [16, 32, 64, 128, 256, 512]
    assert "100m, per chip and step" in result.stdout and "all of it is flat" in result.stdout
    assert (tmp_path / "weak.png").exists()
    refused = run("plan_table", *flags, "--recommend=r.json")
    assert refused.returncode == 2 and "--recommend=r.json" in refused.stderr
