"""tools/export_model.py as a user runs it: a dry run, a model, and refusals in one line."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import export_model
import lvm_jax
from lvm_jax.configs import ConfigError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*flags):
    command = [sys.executable, "tools/export_model.py", *map(str, flags)]
    return subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300
    )


def test_a_dry_run_then_a_model(trained, tmp_path, capsys):
    flags = (f"--workdir={trained}", "--average_last=2", "--dtype=bfloat16")
    dry = run(*flags, "--dry_run")
    assert dry.returncode == 0, dry.stderr
    assert "float32 -> bfloat16" in dry.stdout and "mean of steps [4, 6]" in dry.stdout
    out = str(tmp_path / "model")
    asked = {"workdir": str(trained), "average_last": 2, "dtype": "bfloat16"}
    export_model.main(export_model.Options(**asked, out=out))
    assert capsys.readouterr().out.endswith(f"wrote {out}\n")
    assert lvm_jax.load_model(out).params["head"]["kernel"].dtype == np.dtype("bfloat16")


def test_flags_that_make_no_sense_are_one_line(tmp_path):
    for options, message in (
        ({}, "out is required"),
        ({"dry_run": True, "steps": ("4", "x")}, "steps=4,x must be such as"),
    ):
        with pytest.raises(ConfigError, match=message):
            export_model.Options(workdir=str(tmp_path), **options)
    result = run(f"--workdir={tmp_path}", "--dry_run", "--step=1", "--average_last=3")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "give --step or --average_last, not both" in result.stderr
