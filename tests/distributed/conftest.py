"""Lets the tests of this folder share toy_runs.py."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from tests.distributed.toy_runs import ToyRun


@pytest.fixture
def toy_run(tmp_path):
    """toy_run(count, ...) -> ToyRun in a directory of the test."""
    runs = []

    def start(count, *, workdir=tmp_path / "run", **options):
        runs.append(ToyRun(workdir, count, **options))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()
