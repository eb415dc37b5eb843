"""Real processes, killed without warning, go on as other numbers of processes: no row is lost.

Each process reads its rows of every global batch and notes what it got; as in training, the step
that all have finished is kept now and then, and a new start goes on from there.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lvm_jax import configs
from lvm_jax.data.feeding.data_config import DataConfig, MixtureSource
from lvm_jax.data.feeding.pipeline import Pipeline
from tests.data.data_sets import make_shards

BATCH, STEPS, CHECKPOINT_EVERY = 8, 90, 5

# Imports numpy, grain, lvm_jax's configs and data alone: a consumer needs no jax.
CHILD = """
import hashlib, json, sys, time
from lvm_jax import configs
from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.data.feeding.pipeline import Pipeline, process_rows

def main():
    values, batch, start, stop, process, num_processes, path = json.loads(sys.argv[1])
    pipeline = Pipeline(configs.build(DataConfig, values), seed=3, global_batch=batch)
    rows = process_rows(batch, process, num_processes)
    with open(path, "a") as file:
        for step, made in enumerate(pipeline.iterate(start, rows, stop_step=stop), start):
            for place in range(rows.start, rows.stop):
                row = hashlib.sha256()
                for key in sorted(made):
                    row.update(made[key][place - rows.start].tobytes())
                print(step, place, row.hexdigest(), file=file)
            file.flush()
            time.sleep(0.005)  # a step of training

if __name__ == "__main__":
    main()
"""


def make_values(root, **values):
    for seed, (name, num_images) in enumerate(
        {"one": [1, 4, 2, 16, 1, 3] * 12, "two": [2, 2, 8] * 15, "three": [16] * 9}.items()
    ):
        if not (root / name).exists():
            make_shards(root / name, num_images, seed=seed)
    return {
        "mixture": [
            {"name": "one", "shards": str(root / "one"), "weight": 2},
            {"name": "two", "shards": str(root / "two"), "weight": [[0, 1], [40, 3]]},
            {"name": "three", "shards": str(root / "three"), "weight": 0.5},
        ],
        "context": 64,
        "prefetch": 3,
        **values,
    }


class Run:
    """The processes between two starts, and the file where each notes its rows."""

    def __init__(self, values, folder, start, num_processes):
        self.paths = [folder / f"{start}-{i}-of-{num_processes}" for i in range(num_processes)]
        jobs = [
            (values, BATCH, start, STEPS, process, num_processes, str(path))
            for process, path in enumerate(self.paths)
        ]
        self.children = [
            subprocess.Popen(
                [sys.executable, "-c", CHILD, json.dumps(job)],
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for job in jobs
        ]

    def wait_for(self, step, timeout=120):
        """Lets all processes work until every one has noted `step`."""
        deadline = time.monotonic() + timeout
        while any(newest_step(path) < step for path in self.paths):
            assert time.monotonic() < deadline
            for child, path in zip(self.children, self.paths):
                assert child.poll() is None or newest_step(path) >= step, "a process gave up"
            time.sleep(0.01)

    def kill(self):
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):  # it was done already
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def finish(self):
        for child in self.children:
            assert child.wait(60) == 0


def read_notes(path):
    """(step, place) -> digest of the whole lines of a file; the last may be torn."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    fields = [line.split() for line in lines]
    return {(int(step), int(place)): digest for step, place, digest in fields}


def newest_step(path):
    """The last step that a process noted whole, -1 before the first."""
    return max((step for step, _ in read_notes(path)), default=-1)


def digests(values):
    """What one process in one go reads."""
    pipeline = Pipeline(configs.build(DataConfig, values), seed=3, global_batch=BATCH)
    rows = {}
    for step in range(STEPS):
        batch = pipeline.batch(step)
        for place in range(BATCH):
            row = hashlib.sha256()
            for key in sorted(batch):
                row.update(batch[key][place].tobytes())
            rows[step, place] = row.hexdigest()
    return rows


@pytest.mark.parametrize(
    "packing, legs",
    [
        ("sentence", [(2, {}), (4, {}), (1, {})]),
        ("stream", [(1, {"num_workers": 1}), (2, {"num_threads": 0})]),
    ],
)
def test_killed_and_resumed_on_other_numbers_of_processes(packing, legs, tmp_path):
    values = make_values(tmp_path, packing=packing)
    consumed, start = {}, 0
    for i, (num_processes, changes) in enumerate(legs):
        run = Run({**values, **changes}, tmp_path, start, num_processes)
        last = i == len(legs) - 1
        share = STEPS * (i + 1) // (len(legs) + 1)
        try:
            run.wait_for(STEPS - 1 if last else random.randint(start + 1, max(start + 2, share)))
            if last:
                run.finish()
        finally:
            run.kill()
        all_rows = {}
        for path in run.paths:
            rows = read_notes(path)
            assert not all_rows.keys() & rows.keys(), "processes read disjoint rows"
            all_rows.update(rows)
        # The newest checkpoint: rows after it were read in vain and are read again.
        reached = min(newest_step(path) for path in run.paths) + 1
        resume = reached if last else reached // CHECKPOINT_EVERY * CHECKPOINT_EVERY
        consumed.update({key: row for key, row in all_rows.items() if key[0] < resume})
        start = resume
    assert start == STEPS
    assert consumed == digests(values), "the uninterrupted run's rows, each once"
    assert len({digest for (step, _), digest in consumed.items() if step < 3}) == 3 * BATCH


def test_the_numbers_in_a_config_may_be_json(tmp_path):
    """What the children are given is what `DataConfig` means."""
    config = configs.build(DataConfig, make_values(tmp_path))
    assert config.mixture[1] == MixtureSource(
        name="two", shards=str(tmp_path / "two"), weight=((0, 1.0), (40, 3.0))
    )
    assert np.isclose(config.mixture[2].weight, 0.5)
